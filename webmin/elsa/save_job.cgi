#!/usr/bin/perl
# save_job.cgi: create or close a job, add processes to it or remove them. By POST only, for managers
# only; jobd decides again what the Unix user may do.
use strict;
use warnings;
our (%access, %in, %text);

require './elsa-lib.pl';
error_setup($text{'save_failed'});
($ENV{'REQUEST_METHOD'} || "") eq "POST" || error($text{'save_epost'});
$access{'manage'} || error($text{'save_ecannot'});
ReadParse();

my ($action) = grep { defined($in{$_}) } ("add", "remove", "close");
$action = "create" if (asked("action") eq "create");
$action || error($text{'save_eaction'});
my $job = asked("job");
$action eq "create" || $job =~ /^\d{1,18}$/ || error($text{'save_ejob'});

if ($action eq "close" && !$in{'confirm'}) {
	ui_print_header(undef, $text{'change_close'}, "");
	print ui_confirmation_form("save_job.cgi", text('close_sure', $job), [ [ "job", $job ], [ "close", 1 ] ],
				   [ [ "confirm", $text{'change_close'} ] ]);
	ui_print_footer("job.cgi?job=$job", $text{'job_title'});
	exit(0);
	}

my ($said, $problem) = change_job($action eq "create" ? created() : ($action, changed()));
defined($said) || error(shown($problem));
webmin_log($action, "job", $action eq "create" ? asked("name") : $job, \%in);

$job = $said if ($action eq "create" && $said =~ /^\d+$/);
ui_print_header(undef, $text{"save_$action"}, "");
print "<p>".($action eq "create" ? text('create_done', shown($job)) : shown($said))."</p>\n";
ui_print_footer("job.cgi?job=".urlize($job), $text{'job_title'}, "", $text{'index_title'});

# created(): the words of elsa-job create
sub created
{
asked("name") ne "" || error($text{'save_ename'});
my @tags = grep { /\S/ } split(/[\r\n]+/, asked("tags"));
return ("create", (map { "--tag=$_" } @tags), "--", asked("name"));
}

# changed(): what follows elsa-job add, remove or close
sub changed
{
return ("--", $job) if ($action eq "close");
my @pids = split(/[\s,]+/, asked("pids"));
@pids && !(grep { !/^\d{1,10}$/ } @pids) || error($text{'save_epids'});
return ($action eq "add" && asked("tree") ? ("--tree") : ( ), "--", $job, @pids);
}
