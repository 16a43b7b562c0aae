#!/usr/bin/perl
# job.cgi: one job: what it cost, in total and by command; for managers forms that change it.
use strict;
use warnings;
our (%access, %text);

require './elsa-lib.pl';
ReadParse();

my @FIGURES = ("job_id", "name", "kind", "owner", "state", "created_at", "closed_at",
	       "close_reason", "started_at", "ended_at", "wall_s", "processes", "running", "cpu_s",
	       "user_s", "system_s", "job_peak_kib", "job_peak_by", "rss_kib", "read_bytes",
	       "write_bytes", "exit_status", "uncertain", "inferred", "part_life", "complete",
	       "tags");
my @COLUMNS = ("command", "processes", "running", "elapsed_s", "cpu_s", "user_s", "system_s",
	       "rss_kib", "read_bytes", "write_bytes", "uncertain");

my $which = asked("job");
my @chosen = (options("since", "until"), "--limit=".limit());
my ($report, $problem) = $which eq "" ? (undef, $text{'job_enone'})
				      : report("job", @chosen, "--", $which);
my $job = $report && ref($report->{'job'}) eq 'HASH' ? $report->{'job'} : undef;
$problem = $text{'run_ejson'} if ($report && !$job);

ui_print_header(undef, $text{'job_title'}, "", "job", undef, undef);
if ($job) {
	my $units = $report->{'units'} || { };
	print ui_table_start(shown($job->{'name'}), "width=100%", 4);
	foreach my $name (@FIGURES) {
		print ui_table_row(heading($name), value($job, $name, $units));
		}
	print ui_table_end();
	}
else {
	print problem($problem);
	}

print ui_form_start("job.cgi", "get");
print ui_hidden("job", $which);
print ui_table_start($text{'window_title'}, undef, 4);
print window_fields();
print ui_table_end();
print ui_form_end([ [ undef, $text{'window_show'} ] ]);

if ($job) {
	print ui_subheading($text{'job_commands'});
	print table(rows($job, 'commands'), \@COLUMNS, $report->{'units'} || { });
	print about($report, "elsa-report", "job", @chosen, "--", $which);
	print_forms($job) if ($access{'manage'} && $job->{'state'} eq "open" && $job->{'kind'} eq "manual");
	}
ui_print_footer("", $text{'index_title'});

# print_forms(&job): nobody can change what an automatic job has in it, and nothing a closed one
sub print_forms
{
my ($job) = @_;
my $id = int($job->{'job_id'});
print ui_form_start("save_job.cgi", "post");
print ui_hidden("job", $id);
print ui_table_start($text{'change_title'}, undef, 2);
print ui_table_row($text{'change_pids'}, ui_textbox("pids", "", 40));
print ui_table_row($text{'change_tree'}, ui_yesno_radio("tree", 0));
print ui_table_end();
print ui_form_end([ [ "add", $text{'change_add'} ], [ "remove", $text{'change_remove'} ] ]);
print ui_form_start("save_job.cgi", "post");
print ui_hidden("job", $id);
print ui_form_end([ [ "close", $text{'change_close'} ] ]);
}
