# log_parser.pl: what Webmin's log of actions says of this module's.
use strict;
use warnings;
our (%text);

require './elsa-lib.pl';

# parse_webmin_log(user, script, action, type, object, &params, [long])
sub parse_webmin_log
{
my (undef, undef, $action, undef, $object) = @_;
return $text{"log_$action"} ? text("log_$action", "<tt>".shown($object)."</tt>") : undef;
}

1;
