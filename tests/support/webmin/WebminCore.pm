# WebminCore.pm: as much of Webmin's interface as the module uses, for tests without Webmin. Names,
# parameters and what is escaped are those of Webmin 2 (web-lib-funcs.pl and ui-lib.pl).
package WebminCore;
use strict;
no warnings;
use Exporter 'import';
use JSON::PP ();
our (%in, %text, %config, $remote_user, $failed);
our @EXPORT = qw(init_config get_module_acl ReadParse html_escape urlize text error error_setup
	convert_from_json switch_to_unix_user has_command webmin_log ui_print_header ui_print_footer
	ui_link ui_links_row ui_form_start ui_form_end ui_table_start ui_table_end ui_table_row
	ui_columns_start ui_columns_row ui_columns_end ui_textbox ui_textarea ui_user_textbox ui_hidden
	ui_select ui_radio ui_yesno_radio ui_subheading ui_confirmation_form %in);
sub pairs { my %h; open(my $f, '<', $_[0]); while (<$f>) { chomp; $h{$1} = $2 if (/^([^=#]+)=(.*)$/) } %h }
sub init_config {
	%text = ((yes => 'Yes', no => 'No', index => 'Webmin index'), pairs('lang/en'));
	%config = (pairs('config'), pairs("$ENV{'WEBMIN_CONFIG'}/config"));
	$remote_user = $ENV{'REMOTE_USER'};
	my ($to) = caller();
	eval "\%${to}::$_ = \%$_" for ('text', 'config');
	eval "\$${to}::remote_user = \$remote_user";
	}
sub get_module_acl { my %acl = (pairs('defaultacl'), pairs("$ENV{'WEBMIN_CONFIG'}/$remote_user.acl"));
	return $acl{'_safe'} ? (%acl, pairs('safeacl')) : %acl }
sub ReadParse { my $q = $ENV{'QUERY_STRING'};
	if ($ENV{'REQUEST_METHOD'} eq 'POST') { read(STDIN, $q, $ENV{'CONTENT_LENGTH'}) }
	for (split(/&/, $q)) { my ($k, $v) = split(/=/, $_, 2); tr/+/ / for ($k, $v);
		s/%(..)/pack("c", hex($1))/ge for ($k, $v);
		$in{$k} = defined($in{$k}) ? "$in{$k}\0$v" : $v } }
sub html_escape { my ($t) = @_; my %to = ('&' => '&amp;', '<' => '&lt;', '>' => '&gt;',
	'"' => '&quot;', "'" => '&#39;', '=' => '&#61;'); $t =~ s/([&<>"'=])/$to{$1}/g; $t }
sub urlize { my ($t) = @_; $t =~ s/([^A-Za-z0-9])/sprintf("%%%2.2X", ord($1))/ge; $t }
sub text { my $t = $text{$_[0]}; $t =~ s/\$(\d+)/$1 < @_ ? $_[$1] : '$'.$1/ge; $t }
sub error_setup { $failed = "$_[0]: " }
sub error { print "Content-type: text/html\n\n<h3 class='error'>$failed@_</h3>\n"; exit(1) }
sub convert_from_json { JSON::PP->new->utf8->decode($_[0]) }
sub has_command { -x $_[0] && !-d _ ? $_[0] : undef }
sub webmin_log { open(my $f, '>>', "$ENV{'WEBMIN_CONFIG'}/log"); print $f join(" ", @_[0 .. 2]), "\n" }
sub switch_to_unix_user { my ($u) = @_; ($(, $)) = ($u->[3], "$u->[3] $u->[3]"); POSIX::setuid($u->[2]) }
sub ui_print_header { print "Content-type: text/html\n\n<html><h1>$_[1]</h1>\n" }
sub ui_print_footer { while (my ($to, $name) = splice(@_, 0, 2)) { print "<a href='$to'>$name</a>\n" } print "</html>\n" }
sub ui_link { "<a href='$_[0]'>$_[1]</a>" }
sub ui_links_row { join(" | ", @{$_[0]}) }
sub ui_form_start { "<form action='".html_escape($_[0])."' method='".($_[1] eq 'post' ? 'post' : 'get')."'>\n" }
sub ui_form_end { join("", map { "<input type='submit' name='$_->[0]' value='$_->[1]'>" } @{$_[0]})."</form>\n" }
sub ui_table_start { "<table><caption>$_[0]</caption>\n" }
sub ui_table_end { "</table>\n" }
sub ui_table_row { "<tr><th>$_[0]</th><td>$_[1]</td></tr>\n" }
sub ui_columns_start { "<table><tr>".join("", map { "<th>$_</th>" } @{$_[0]})."</tr>\n" }
sub ui_columns_row { "<tr class='row'>".join("", map { "<td>$_</td>" } @{$_[0]})."</tr>\n" }
sub ui_columns_end { "</table>\n" }
sub quote { my ($t) = @_; $t =~ s/&/&amp;/g; $t =~ s/"/&quot;/g; $t =~ s/</&lt;/g; $t =~ s/>/&gt;/g; $t }
sub ui_textbox { "<input name=\"$_[0]\" value=\"".quote($_[1])."\">" }
sub ui_textarea { "<textarea name=\"$_[0]\">".html_escape($_[1])."</textarea>" }
sub ui_user_textbox { ui_textbox(@_) }
sub ui_hidden { "<input type='hidden' name=\"$_[0]\" value=\"".quote($_[1])."\">" }
sub ui_select { my ($n, $v, $o) = @_; "<select name='$n'>".join("", map { "<option value='$_->[0]'".
	($_->[0] eq $v ? " selected" : "").">$_->[1]" } @$o)."</select>" }
sub ui_radio { my ($n, $v, $o) = @_; join("", map { "<input type='radio' name='$n' value='$_->[0]'".
	($_->[0] eq $v ? " checked" : "").">$_->[1]" } @$o) }
sub ui_yesno_radio { ui_radio($_[0], $_[1], [ [ 1, 'Yes' ], [ 0, 'No' ] ]) }
sub ui_subheading { "<h3>@_</h3>\n" }
sub ui_confirmation_form { my ($cgi, $message, $hidden, $buttons) = @_;
	ui_form_start($cgi, 'post').join("", map { ui_hidden(@$_) } @$hidden)."<b>$message</b>".ui_form_end($buttons) }
1;
