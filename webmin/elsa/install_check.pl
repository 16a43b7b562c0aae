# install_check.pl: whether elsa is on this host.
use strict;
use warnings;
our (%config);

require './elsa-lib.pl';

# is_installed(mode): with mode 1: 2 if elsa is there, with mode 0: 1; else 0
sub is_installed
{
my ($mode) = @_;
return 0 if (!has_command($config{'report_program'}));
return $mode ? 2 : 1;
}

1;
