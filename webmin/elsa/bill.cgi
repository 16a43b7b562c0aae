#!/usr/bin/perl
# bill.cgi: what a month cost, by user, group, job or tag.
use strict;
use warnings;
our (%text);

require './elsa-lib.pl';
ReadParse();

my @KEYS = ("user", "group", "job", "tag");
my %NAMES = ( 'user' => [ "user" ], 'group' => [ "group" ], 'job' => [ "job_id", "name" ],
	      'tag' => [ "tag" ] );
my @FIGURES = ("charge", "currency", "processes", "cpu_hours", "memory_gib_hours", "read_bytes",
	       "write_bytes");

my ($by) = grep { $_ eq asked("by") } @KEYS;
$by ||= "user";
my $key = $by eq "tag" && asked("key") ne "" ? "tag:".asked("key") : $by;
my $month = asked("month") ne "" ? asked("month") : "this";
my @chosen = ("--by=$key", "--month=$month", "--limit=".limit());
my ($report, $problem) = report("bill", @chosen);

ui_print_header(undef, $text{'bill_title'}, "", "bill", undef, undef);
print ui_form_start("bill.cgi", "get");
print ui_table_start($text{'bill_choose'}, undef, 2);
print ui_table_row($text{'bill_by'}, ui_select("by", $by, [ map { [ $_, $text{"bill_$_"} ] } @KEYS ]));
print ui_table_row($text{'bill_key'}, ui_textbox("key", asked("key"), 20));
print ui_table_row($text{'bill_month'}, ui_textbox("month", $month, 20));
print ui_table_end();
print ui_form_end([ [ undef, $text{'window_show'} ] ]);

if ($report) {
	print table(rows($report, 'rows'), [ @{$NAMES{$by}}, @FIGURES ], $report->{'units'} || { });
	print about($report, "elsa-report", "bill", @chosen);
	}
else {
	print problem($problem);
	}
ui_print_footer("", $text{'index_title'});
