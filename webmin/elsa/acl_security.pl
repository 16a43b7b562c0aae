# acl_security.pl: what each Webmin user may do in this module.
use strict;
use warnings;
our (%text, %in);

require './elsa-lib.pl';

# acl_security_form(&acl)
sub acl_security_form
{
my ($acl) = @_;
my $user = defined($acl->{'user'}) ? $acl->{'user'} : "";
print ui_table_row($text{'acl_user'},
	ui_radio("user_same", $user eq "" ? 1 : 0,
		[ [ 1, $text{'acl_same'} ],
		  [ 0, $text{'acl_this'}." ".ui_user_textbox("user", $user) ] ]), 3);
print ui_table_row($text{'acl_manage'}, ui_yesno_radio("manage", $acl->{'manage'} ? 1 : 0), 3);
}

# acl_security_save(&acl)
sub acl_security_save
{
my ($acl) = @_;
my $user = $in{'user_same'} ? "" : $in{'user'};
$in{'user_same'} || defined(getpwnam($user)) || error(text('run_euser', shown($user)));
$acl->{'user'} = $user;
$acl->{'manage'} = $in{'manage'} ? 1 : 0;
}

1;
