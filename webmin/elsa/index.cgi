#!/usr/bin/perl
# index.cgi: jobs, chosen by filters and a window; for managers a form that creates one.
use strict;
use warnings;
our (%access, %text);

require './elsa-lib.pl';
ReadParse();

my @COLUMNS = ("job_id", "name", "kind", "owner", "state", "started_at", "processes", "running",
	       "wall_s", "cpu_s", "job_peak_kib", "read_bytes", "write_bytes", "exit_status",
	       "complete");
my @KINDS = ("manual", "automatic", "service", "scope", "session", "user", "cron", "container",
	     "machine", "slurm", "ci", "other");
my @STATES = ("open", "closed", "running", "completed", "failed");

my @chosen = options("job", "user", "kind", "state", "tag", "since", "until");
push(@chosen, "--limit=".limit());
my @fetched = ("--columns=".join(",", @COLUMNS, "exit_code", "exit_signal"));
my ($report, $problem) = report("jobs", @chosen, @fetched);

ui_print_header(undef, $text{'index_title'}, "", "intro", 1, 1);
print ui_links_row([ ui_link("bill.cgi", $text{'bill_title'}) ]);

print ui_form_start("index.cgi", "get");
print ui_table_start($text{'index_filters'}, undef, 4);
foreach my $name ("job", "user", "tag") {
	print ui_table_row($text{"index_$name"}, ui_textbox($name, asked($name), 20));
	}
print ui_table_row($text{'index_kind'}, choice("kind", @KINDS));
print ui_table_row($text{'index_state'}, choice("state", @STATES));
print window_fields();
print ui_table_end();
print ui_form_end([ [ undef, $text{'window_show'} ] ]);

if ($report) {
	print table(rows($report, 'rows'), \@COLUMNS, $report->{'units'} || { }, \&link_job);
	print about($report, "elsa-report", "jobs", @chosen);
	}
else {
	print problem($problem);
	}

if ($access{'manage'}) {
	print ui_form_start("save_job.cgi", "post");
	print ui_hidden("action", "create");
	print ui_table_start($text{'create_title'}, undef, 2);
	print ui_table_row($text{'create_name'}, ui_textbox("name", "", 30));
	print ui_table_row($text{'create_tags'}, ui_textarea("tags", "", 3, 40));
	print ui_table_end();
	print ui_form_end([ [ undef, $text{'create_button'} ] ]);
	}
ui_print_footer("/", $text{'index'});

# choice(name, word, ...): a menu, with any of the words or none
sub choice
{
my ($name, @words) = @_;
return ui_select($name, asked($name), [ [ "", $text{'index_any'} ], map { [ $_, $_ ] } @words ]);
}

# link_job(&row, column, cell): its number and name lead to the job, in the same window
sub link_job
{
my ($row, $column, $cell) = @_;
return $cell if ($column ne "job_id" && $column ne "name" || !defined($row->{'job_id'}));
my $to = "job.cgi?job=".urlize($row->{'job_id'});
foreach my $name ("since", "until") {
	$to .= "&amp;$name=".urlize(asked($name)) if (asked($name) ne "");
	}
return "<a href='$to'>$cell</a>";
}
