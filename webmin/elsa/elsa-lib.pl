# elsa-lib.pl: what the pages share: running elsa as a Unix user, reading its JSON, showing values.
# Pages know no figures of their own: everything shown comes from `elsa-report --format json`.
use strict;
use warnings;
BEGIN { push(@INC, ".."); };
use WebminCore;
use Config ();
use Cwd ();
use IO::Select;
use POSIX ();
use Time::Local ();

init_config();
our (%access, %config, %in, %text, $remote_user);
%access = get_module_acl();

# More output than this is no page.
my $MOST_BYTES = 32 * 1024 * 1024;

# asked(name): what the request has under a name, once, without control characters
sub asked
{
my ($name) = @_;
my ($value) = split(/\0/, defined($in{$name}) ? $in{$name} : "", 2);
$value = "" if (!defined($value));
$value =~ tr/\x01-\x09\x0b\x0c\x0e-\x1f\x7f//d;
$value =~ s/^\s+|\s+$//g;
return $value;
}

# options(name, ...): what the request asks for, as options. A value is in one word with its option,
# so that no value is taken for an option.
sub options
{
return map { "--$_=".asked($_) } grep { asked($_) ne "" } @_;
}

# report(name, argument, ...): what elsa-report prints as a hash, or undef and what went wrong
sub report
{
my ($name, @arguments) = @_;
my ($out, $problem) = run_elsa($config{'report_program'}, $name, "--format=json", @arguments);
return (undef, $problem) if (defined($problem));
my $report = eval { convert_from_json($out) };
return ref($report) eq 'HASH' ? ($report, undef) : (undef, $text{'run_ejson'});
}

# change_job(command, argument, ...): what elsa-job says, or undef and what went wrong
sub change_job
{
my ($command, @arguments) = @_;
my ($out, $problem, $notes) = run_elsa($config{'job_program'}, $command, @arguments);
return (undef, $problem) if (defined($problem));
return last_line($out) ne "" ? last_line($out) : last_line($notes);
}

# run_elsa(program, argument, ...): stdout, the problem (undef if all went well) and stderr of a
# program that runs as the Unix user of this Webmin user, without a shell
sub run_elsa
{
my ($program, @arguments) = @_;
my ($user, $refused) = unix_user();
return (undef, $refused) if (!$user);
my $path = Cwd::abs_path($program || "");
return (undef, text('run_emissing', $program || "")) if (!$path || !-f $path);
return (undef, text('run_eunsafe', $path)) if (!safe_program($path, $user->[2]));
local $SIG{'CHLD'} = 'DEFAULT';
my ($pid, $out, $err) = start_as($user, $path, @arguments);
return (undef, text('run_estart', $path)) if (!$pid);
my ($texts, $stopped) = read_both($pid, $out, $err);
waitpid($pid, 0);
my $status = $?;
return (undef, $stopped) if ($stopped);
return ($texts->[0], undef, $texts->[1]) if ($status == 0);
my $said = last_line($texts->[1]);
return (undef, $said ne "" ? $said : text('run_estatus', $path, $status & 127 || $status >> 8));
}

# unix_user(): the Unix user that elsa runs as, as from getpwnam, or undef and why there is none.
# Never root for want of another.
sub unix_user
{
my $name = $access{'user'} ? $access{'user'} : $remote_user;
my @user = defined($name) && $name ne "" ? getpwnam($name) : ( );
return @user ? (\@user, undef) : (undef, text('run_euser', defined($name) ? $name : ""));
}

# safe_program(path, uid): whether nobody but root and that user can change the program. Else
# somebody who may only configure this module could have others run what he likes.
sub safe_program
{
my ($path, $uid) = @_;
while (1) {
	my ($mode, $owner) = (stat($path))[2, 4];
	return 0 if (!defined($mode) || $owner != 0 && $owner != $uid);
	return 0 if ($mode & 022 && !(-d _ && $mode & 01000));
	return 1 if ($path eq "/");
	$path =~ s/\/[^\/]*$//;
	$path = "/" if ($path eq "");
	}
}

# start_as(&user, path, argument, ...): the pid of the program, its stdout and its stderr
sub start_as
{
my ($user, $path, @arguments) = @_;
pipe(my $out, my $out_end) && pipe(my $err, my $err_end) || return;
my $pid = fork();
return if (!defined($pid));
if ($pid) {
	return ($pid, $out, $err);
	}
# By descriptors, since Webmin's server ties STDIN and STDOUT. Whatever happens: no page goes on here.
eval {
	POSIX::setpgid(0, 0);
	my $null = POSIX::open("/dev/null", POSIX::O_RDONLY());
	POSIX::dup2($null, 0);
	POSIX::dup2(fileno($out_end), 1);
	POSIX::dup2(fileno($err_end), 2);
	if (become($user)) {
		%ENV = ( 'PATH' => "/usr/local/bin:/usr/bin:/bin",
			 'LANG' => "C.UTF-8",
			 'USER' => $user->[0],
			 'LOGNAME' => $user->[0],
			 'HOME' => $user->[7],
			 $config{'db'} ? ( 'ELSA_DB' => $config{'db'} ) : ( ),
			 $config{'socket'} ? ( 'ELSA_SOCKET' => $config{'socket'} ) : ( ),
			 $ENV{'TZ'} ? ( 'TZ' => $ENV{'TZ'} ) : ( ) );
		$SIG{'PIPE'} = 'DEFAULT';
		chdir("/");
		no warnings 'exec';
		exec({ $path } $path, @arguments);
		}
	my $said = text('run_ebecome', $path, $user->[0])."\n";
	POSIX::write(2, $said, length($said));
	};
POSIX::_exit(126);
}

# become(&user): whether this process is that user now, and can become root no more
sub become
{
my ($user) = @_;
my ($uid, $gid) = @$user[2, 3];
return 1 if ($< == $uid && $> == $uid);
switch_to_unix_user($user);
return $< == $uid && $> == $uid && int($() == $gid && int($)) == $gid && !POSIX::setuid(0);
}

# read_both(pid, stdout, stderr): both texts, and why the program was stopped, if it was
sub read_both
{
my ($pid, @handles) = @_;
my @texts = ("", "");
my $limit = int($config{'time_limit'} || 0) || 20;
my $deadline = time() + $limit;
my $select = IO::Select->new(@handles);
while ($select->count()) {
	my $left = $deadline - time();
	my @ready = $left > 0 ? $select->can_read($left) : ( );
	if (!@ready && time() >= $deadline) {
		stop($pid);
		return (\@texts, text('run_etime', $limit));
		}
	foreach my $handle (@ready) {
		my $text = \$texts[$handle == $handles[0] ? 0 : 1];
		$select->remove($handle) if (!sysread($handle, $$text, 65536, length($$text)));
		if (length($$text) > $MOST_BYTES) {
			stop($pid);
			return (\@texts, $text{'run_emuch'});
			}
		}
	}
return (\@texts, undef);
}

# stop(pid): end a program and all that it started: it may tidy up for a second
sub stop
{
my ($pid) = @_;
kill('TERM', -$pid);
for (my $tries = 0; $tries < 10 && kill(0, -$pid); $tries++) {
	last if (waitpid($pid, POSIX::WNOHANG()) == $pid);
	select(undef, undef, undef, 0.1);
	}
kill('KILL', -$pid);
}

# last_line(text): the line in which elsa says what went wrong or what was done, without its name
sub last_line
{
my ($text) = @_;
my @lines = grep { /\S/ } split(/\n/, defined($text) ? $text : "");
return "" if (!@lines);
$lines[-1] =~ s/^elsa-[a-z]+: //;
utf8::decode($lines[-1]);
return $lines[-1];
}

# shown(text): any text as harmless HTML; what could move a cursor or turn text around is spelled out
sub shown
{
my ($text) = @_;
return "-" if (!defined($text));
$text = "$text";
utf8::decode($text) if (!utf8::is_utf8($text));
# the same as elsa spells out: all but a blank that is no letter, mark, digit or sign
$text =~ s/((?! )[\p{C}\p{Z}])/spelled(ord($1))/ge;
utf8::encode($text);
return html_escape($text);
}

# spelled(code): a character as elsa spells it out
sub spelled
{
my ($code) = @_;
return sprintf($code < 0x100 ? "\\x%02x" : $code < 0x10000 ? "\\u%04x" : "\\U%08x", $code);
}

# value(&row, column, &units): a cell, by the unit that elsa names; "-" where it is not known
sub value
{
my ($row, $column, $units) = @_;
return exit_value($row) if ($column eq "exit_status");
my $value = $row->{$column};
return "-" if (!defined($value));
if (ref($value) eq 'HASH') {
	return join("<br>", map { shown("$_=$value->{$_}") } sort(keys(%$value)));
	}
return $value ? $text{'yes'} : $text{'no'} if ($column =~ /complete$/);
return shown(local_time($value)) if ($column =~ /_at$/);
my $unit = $units->{$column} || "";
return shown($value) if ($value !~ /^-?[\d.]+(e[-+]?\d+)?$/i);
return duration($value) if ($unit eq "s");
return size($value) if ($unit eq "bytes");
return size($value * 1024) if ($unit eq "KiB");
return sprintf("%.3f", $value) if ($unit =~ /h$/);
return shown($value);
}

# exit_value(&row): how a job's command ended: its exit code, or the signal that killed it
sub exit_value
{
my ($row) = @_;
return "-" if (!defined($row->{'exit_status'}));
return int($row->{'exit_code'}) if (!$row->{'exit_signal'});
my @names = split(/ /, $Config::Config{'sig_name'});
my $name = $names[$row->{'exit_signal'}];
return defined($name) ? "SIG".$name : text('value_signal', int($row->{'exit_signal'}));
}

# duration(seconds), as elsa's tables have it
sub duration
{
my ($seconds) = @_;
return "-".duration(-$seconds) if ($seconds < 0);
return sprintf("%.2f s", $seconds) if (sprintf("%.2f", $seconds) < 60);
my $whole = sprintf("%.0f", $seconds);
my ($hours, $minutes) = (int($whole / 3600), int($whole / 60) % 60);
return sprintf("%dm%02ds", $minutes, $whole % 60) if (!$hours);
return sprintf("%dh%02dm%02ds", $hours, $minutes, $whole % 60) if ($hours < 24);
return sprintf("%dd%02dh%02dm", $hours / 24, $hours % 24, $minutes);
}

# size(bytes), as elsa's tables have it
sub size
{
my ($bytes) = @_;
return sprintf("%.0f B", $bytes) if ($bytes < 1024);
foreach my $unit ("KiB", "MiB", "GiB", "TiB") {
	$bytes /= 1024;
	return sprintf("%.1f %s", $bytes, $unit) if ($bytes < 1024 || $unit eq "TiB");
	}
}

# local_time(text): a time in UTC, as elsa writes it, on this host's clock
sub local_time
{
my ($text) = @_;
$text =~ /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d))?(?:\.\d+)?Z$/ || return $text;
my $time = eval { Time::Local::timegm($6 || 0, $5, $4, $3, $2 - 1, $1) };
return defined($time) ? POSIX::strftime("%Y-%m-%d %H:%M:%S", localtime($time)) : $text;
}

# heading(column)
sub heading
{
my ($column) = @_;
return $text{"column_$column"} if ($text{"column_$column"});
$column =~ s/_/ /g;
return shown($column);
}

# table(&rows, &columns, &units, &link): rows as HTML; link makes a cell's HTML into a link
sub table
{
my ($rows, $columns, $units, $link) = @_;
return "<p>$text{'value_none'}</p>\n" if (!@$rows);
my @tags = map { $units->{$_} || /^(job_id|processes|running|exit_status|charge.*)$/ ? "align=right"
										     : "" } @$columns;
my $html = ui_columns_start([ map { heading($_) } @$columns ], 100, 0, \@tags);
foreach my $row (@$rows) {
	next if (ref($row) ne 'HASH');
	my @cells = map { my $cell = value($row, $_, $units);
			  $link ? $link->($row, $_, $cell) : $cell } @$columns;
	$html .= ui_columns_row(\@cells, \@tags);
	}
return $html.ui_columns_end();
}

# rows(&report, key): the rows of a report; none if it has none
sub rows
{
my ($report, $key) = @_;
return ref($report->{$key}) eq 'ARRAY' ? $report->{$key} : [ ];
}

# about(&report, command, argument, ...): what a report is about, how complete it is, its notes, and
# the command that prints it
sub about
{
my ($report, @command) = @_;
splice(@command, 2, 0, "--db=$config{'db'}") if ($config{'db'});
my $window = ref($report->{'window'}) eq 'HASH' ? $report->{'window'} : { };
my ($since, $until) = map { defined($_) ? shown(local_time($_)) : undef } @$window{'since', 'until'};
my @lines = (defined($since) && defined($until) ? text('about_window', $since, $until) :
	     defined($since) ? text('about_since', $since) :
	     defined($until) ? text('about_until', $until) : $text{'about_always'});
if (defined($report->{'complete'})) {
	push(@lines, $report->{'complete'} ? $text{'about_complete'}
					   : text('about_incomplete', int($report->{'gaps'} || 0)));
	}
push(@lines, map { shown($_) } @{rows($report, 'notes')});
push(@lines, text('about_command', "<tt>".shown(join(" ", map { quoted($_) } @command))."</tt>"));
return "<ul class='elsa_about'>\n".join("", map { "<li>$_</li>\n" } @lines)."</ul>\n";
}

# quoted(word): a word of a command for people to copy; nothing here runs in a shell
sub quoted
{
my ($word) = @_;
return $word if ($word =~ /^[A-Za-z0-9_@%+=:,.\/-]+\z/);
utf8::encode($word) if (utf8::is_utf8($word));
if (shown($word) ne html_escape($word)) {
	# A terminal would take this for keys that were pressed.
	$word =~ s/([^\x20-\x7e]|[\\'])/sprintf("\\x%02x", ord($1))/ge;
	return "\$'$word'";
	}
$word =~ s/'/'\\''/g;
return "'$word'";
}

# problem(text): what went wrong, in elsa's words
sub problem
{
my ($text) = @_;
return "<p class='elsa_problem' role='alert'><b>".shown($text)."</b></p>\n";
}

# window_fields(): the fields of a form that choose a window
sub window_fields
{
return ui_table_row($text{'window_since'}, ui_textbox("since", asked('since'), 20)).
       ui_table_row($text{'window_until'}, ui_textbox("until", asked('until'), 20));
}

# limit(): rows in a table at most
sub limit
{
return int($config{'rows'} || 0) > 0 ? int($config{'rows'}) : 200;
}

1;
