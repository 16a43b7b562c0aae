"""Every column that a report can show: its name for programs, its heading and unit for people, and
what it means. Measures come from their registry (elsa/measures.py); all other columns are here.

The key is the column's name in the views of sql/, in csv and in json; values are what the view
gave, None where unknown. Only tables format them. `make sql` writes docs/columns.md from here;
docs/schema.md says the same for people who query with sqlite3.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from elsa import durations
from elsa.decode import tty
from elsa.formats import exit_word, hundredths, local_time, size, tag_list
from elsa.measures import MEASURES, OF_MEMBERS, Measure, Unit
from elsa.text import printable

UNKNOWN = "-"
SIZES = ("B", "K", "M", "G", "T")
UNITS = ("auto", "raw", *SIZES)


class Column(NamedTuple):
    """One column of one or more reports."""

    key: str
    heading: str
    unit: str
    format: Callable[[Any], str]
    """A known value as a table shows it."""
    doc: str
    right: bool = True
    """Numbers stand to the right, text to the left."""
    machine: Callable[[Any], Any] = lambda value: value
    """A known value as json carries it."""
    size: int = 0
    """How many bytes 1 of it is, where it is a size."""
    metric: bool = False
    """It is a figure, of which the largest is of most interest; ids and names are none."""

    @property
    def heading_unit(self) -> str:
        """The unit below the heading; none where every cell has its own."""
        return "" if self.unit in ("s", "bytes/s") else self.unit

    @property
    def machine_unit(self) -> str:
        """The unit of the values that programs get; empty for what has none."""
        if self.key in _MEASURES:
            return _MEASURES[self.key].unit
        return self.unit or {1: "bytes", 1024: "KiB"}.get(self.size, "")

    def text(self, value: Any, units: str = "auto") -> str:  # noqa: ANN401 (whatever a view gives)
        """A cell of a table: in the units that suit it, in a unit of SIZES, or raw."""
        if value is None:
            return UNKNOWN
        if units == "raw":
            return printable(value)
        if self.size and units in SIZES:
            digits = 0 if units == "B" else 2
            return f"{value * self.size / 1024 ** SIZES.index(units):.{digits}f}{units}"
        return self.format(value)


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'}{durations.text(abs(value))}"


def yes_no(value: int) -> str:
    """A flag."""
    return "yes" if value else "no"


def _text(key: str, heading: str, doc: str) -> Column:
    return Column(key, heading, "", printable, doc, right=False)


def _id(key: str, heading: str, doc: str) -> Column:
    return Column(key, heading, "", lambda value: str(int(value)), doc)


def _count(key: str, heading: str, doc: str, unit: str = "") -> Column:
    return _id(key, heading, doc)._replace(unit=unit, metric=True)


def _seconds(key: str, heading: str, doc: str) -> Column:
    return Column(key, heading, "s", durations.text, doc, metric=True)


def _integral(key: str, heading: str, doc: str) -> Column:
    return Column(key, heading, "MB s", hundredths, doc, metric=True)


def _nanoseconds(key: str, heading: str, doc: str) -> Column:
    return Column(key, heading, "s", lambda value: durations.text(value / 1e9), doc, metric=True)


def _bytes(key: str, heading: str, doc: str) -> Column:
    return Column(key, heading, "", size, doc, size=1, metric=True)


def _bytes_s(key: str, heading: str, doc: str) -> Column:
    return _bytes(key, heading, doc)._replace(unit="bytes/s")


def _kib(key: str, heading: str, doc: str) -> Column:
    return Column(key, heading, "", lambda value: size(value * 1024), doc, size=1024, metric=True)


def _time(key: str, heading: str, doc: str) -> Column:
    return Column(key, heading, "", local_time, doc, right=False)


def _money(key: str, heading: str, doc: str) -> Column:
    return Column(key, heading, "", str, doc, machine=str, metric=True)


def _hours(key: str, heading: str, doc: str, unit: str) -> Column:
    return Column(key, heading, unit, lambda value: f"{value:.3f}", doc, metric=True)


def _flag(key: str, heading: str, doc: str) -> Column:
    return Column(key, heading, "", yes_no, doc, right=False)


def _usual(figure: str, doc: str) -> tuple[Column, Column]:
    """The columns that compare a run with the runs before it."""
    return (
        _seconds(f"{figure}_usual_s", f"usual {figure}", f"median {doc} of up to 20 runs before"),
        Column(
            f"{figure}_more_percent",
            f"{figure} +",
            "%",
            lambda value: f"{value:+.1f}",
            f"how much more {doc} than usual",
            metric=True,
        ),
    )


_OF_UNIT: dict[Unit, Callable[[str, str, str], Column]] = {
    "": _count,
    "1/100 s": partial(_count, unit="1/100 s"),
    "us": partial(_count, unit="us"),
    "ns": _nanoseconds,
    "s": _seconds,
    "MB s": _integral,
    "bytes": _bytes,
    "KiB": _kib,
}


def _measure(measure: Measure) -> Column:
    return _OF_UNIT[measure.unit](measure.name, measure.heading, measure.doc)


_OF_GROUP = {
    "group_cpu_s": _seconds(
        "group_cpu_s", "group cpu", "CPU time that the job's control group counted itself"
    ),
    "group_peak_bytes": _bytes(
        "group_peak_bytes",
        "group peak",
        "most memory at any moment of all processes together, by the job's control group",
    ),
    "group_read_bytes": _bytes(
        "group_read_bytes", "group read", "read from storage, by the job's control group"
    ),
    "group_write_bytes": _bytes(
        "group_write_bytes", "group written", "written to storage, by the job's control group"
    ),
}
OF_GROUP = tuple(_OF_GROUP)
"""What the job's control group counted itself."""

_MEASURES = MEASURES | OF_MEMBERS
_ALL = (
    _id("job_id", "job", "the job's id, never used again"),
    _text("name", "name", "the job's name"),
    _text("owner", "owner", "who made the job, by name on this host; by uid on another"),
    _id("owner_uid", "owner uid", "uid of who made the job"),
    _text("state", "state", "open or closed for a job, running or ended for a process"),
    _time("created_at", "created", "when the job was made"),
    _time("closed_at", "closed", "when the job was closed"),
    _text(
        "close_reason",
        "closed by",
        "request, ended (its last process), reboot, disabled (auto_jobs was turned off), or"
        " defined: it was made after the fact",
    ),
    _time("started_at", "started", "start of the process, or of the job's first"),
    _time(
        "ended_at", "ended", "end of the process, or of the job's last; unknown while anything runs"
    ),
    _text("hour", "hour", "hour of this host's clock, with its distance from UTC"),
    _text("day", "day", "day of this host's clock"),
    _time("since_at", "since", "start of the step of a timeline"),
    _time("until_at", "until", "end of the step, and start of the next"),
    _id("rank", "rank", "place of the series, 1 has the most; none: all others together"),
    Column(
        "cpus",
        "cpus",
        "",
        hundredths,
        "CPUs used on average in the step; at a moment by the processes that lived then, each on"
        " average over its time in the interval",
        metric=True,
    ),
    _kib(
        "resident_kib",
        "resident",
        "most resident memory of all living processes together, at the start of the step or at a"
        " reading in it, or of those that lived at a moment: an upper bound, as shared pages count"
        " once for each process, except in the timeline of a job that was read as a whole",
    ),
    _bytes_s("read_bytes_s", "read/s", "bytes read from storage per second, as for cpus"),
    _bytes_s(
        "write_bytes_s", "written/s", "bytes to be written to storage per second, as for cpus"
    ),
    _seconds("silent_s", "silent", "time of the step in which jobd did not run"),
    _text("month", "month", "month of this host's clock"),
    _text(
        "tree",
        "command",
        "the command in its place in the tree; x 120: so many siblings that are alike",
    ),
    _id("depth", "depth", "how many processes stand above it"),
    _count("times", "times", "how many siblings that are alike are shown as one"),
    _text(
        "job_names", "jobs", "the jobs that it was in at that moment, or when it started or ended"
    ),
    _text("job_ids", "job ids", "the ids of these jobs"),
    _count("alive", "alive", "processes that lived at that moment"),
    _count(
        "active",
        "active",
        "processes that lived at some time in the window, period or interval, also those that ended"
        " later; in hours, days, months, commands, users and groups only if named (`--columns"
        " +active`), since every process is read; unknown where processes have been pruned",
    ),
    Column(
        "share_percent",
        "share",
        "%",
        hundredths,
        "of the CPU time that is shown",
        metric=True,
    ),
    _seconds(
        "estimated_s",
        "estimated",
        "CPU time that was not read while it was used, but spread over a lifetime",
    ),
    *map(_measure, _MEASURES.values()),
    _count("gaps", "gaps", "known losses of events while the job lived"),
    _count("usage_gaps", "usage gaps", "known losses of statistics of threads while the job lived"),
    _flag(
        "complete", "complete", "whether all processes ended and nothing is missing or uncertain"
    ),
    _flag("usage_complete", "usage complete", "whether taskstats reported every thread that ended"),
    _text("provenance", "by", "who tells its CPU time: taskstats, or acct (ticks only)"),
    _seconds(
        "wall_s",
        "wall",
        "last end - first start, without the time in which the machine slept or its clock was set",
    ),
    _seconds("total_cpu_s", "total", "CPU time of the process and all below it"),
    _bytes("io_bytes", "i/o", "bytes read from and written to storage"),
    _bytes("total_io_bytes", "total i/o", "the same of the process and all below it"),
    _count("swaps", "swaps", "always 0 on Linux"),
    _kib("mem_kib", "mem", "virtual memory at the end"),
    _id("exe_dev", "exe device", "device of the executable, as stat tells it"),
    _id("exe_inode", "exe inode", "inode number of the executable"),
    _text(
        "cmdline",
        "command line",
        "the arguments, quoted as for a shell, secrets replaced; one that was cut ends in `…`, as"
        " no whole one does",
    ),
    _text(
        "exe",
        "executable",
        "path of the executable; of a process that ended before /proc could be read, as it was"
        " given to execve",
    ),
    _text("cwd", "directory", "working directory after it executed"),
    _text("cgroup", "cgroup", "control group"),
    _id("loginuid", "login uid", "uid of the login that it descends from"),
    _id("session", "session", "pid of its session's leader"),
    Column(
        "sbu",
        "sbu",
        "",
        hundredths,
        "billing units: 1 for a CPU second, 1 for a GiB of memory resident for a CPU second",
        metric=True,
    ),
    _seconds(
        "taskstats_s", "by taskstats", "CPU time by taskstats, of the processes that both tell of"
    ),
    _seconds(
        "acct_s",
        "by acct",
        "CPU time of the same by their accounting records, in whole ticks of 1/100 s",
    ),
    _seconds("lost_s", "lost", "the difference: what cutting down to ticks lost"),
    Column(
        "lost_percent",
        "lost",
        "%",
        hundredths,
        "the difference in percent of the CPU time by taskstats",
        metric=True,
    ),
    Column(
        "measure",
        "measure",
        "",
        lambda key: COLUMNS[key].heading,
        "which figure; for programs the name of its column",
        right=False,
    ),
    _text(
        "side", "runs of", "which runs: as they were named, or those before the last, and the last"
    ),
    _count(
        "runs",
        "runs",
        "how many jobs have the name, kind, owner and host; in a comparison: of how many runs the"
        " figure is known",
    ),
    _kib(
        "job_peak_kib",
        "job peak",
        "the most memory of all processes of the job together at one moment; never less than that"
        " of the largest process",
    ),
    _text(
        "job_peak_by",
        "peak by",
        "how it is known: measured (by the job's control group); sampled: the most that readings"
        " showed, by pss (shared memory counts once), rss (for each process: an upper bound) or"
        " group (by the control group, up to a reading before the end); largest: nothing of"
        " this showed as much as the largest process alone had: a lower bound",
    ),
    _kib("rss_before_kib", "peak before", "peak memory of the run before"),
    Column(
        "rss_grown_kib",
        "grown",
        "",
        lambda value: ("-" if value < 0 else "+") + size(abs(value) * 1024),
        "how much the peak memory grew since the run before",
        size=1024,
        metric=True,
    ),
    _seconds("cpu_before_s", "cpu then", "CPU time of the run before"),
    Column(
        "cpu_grown_s",
        "more cpu",
        "s",
        _signed,
        "how much more CPU time than the run before",
        metric=True,
    ),
    *_usual("cpu", "CPU time"),
    *_usual("wall", "wall time"),
    _count("jobs", "jobs", "how many jobs are of the kind"),
    _text("p50", "p50", "the median over the runs, in the unit of the measure")._replace(
        right=True
    ),
    _text("p95", "p95", "the 95th percentile over the runs")._replace(right=True),
    _text("least", "least", "the smallest of the runs")._replace(right=True),
    _text("most", "most", "the largest of the runs")._replace(right=True),
    Column(
        "change_percent",
        "change",
        "%",
        lambda value: f"{value:+.1f}",
        "how the median differs from that of the first side",
        metric=True,
    ),
    _text(
        "verdict",
        "verdict",
        "worse or better: outside all runs of the first side, by more than 5 %; else same",
    ),
    _seconds("base_cpu_s", "cpu before", "CPU time per run on the first side"),
    _seconds("new_cpu_s", "cpu after", "CPU time per run on the last side"),
    Column("more_cpu_s", "more", "s", _signed, "the difference", metric=True),
    Column(
        "base_processes",
        "procs before",
        "",
        lambda value: f"{value:g}",
        "processes per run on the first side",
        metric=True,
    ),
    Column(
        "new_processes",
        "procs after",
        "",
        lambda value: f"{value:g}",
        "processes per run on the last side",
        metric=True,
    ),
    Column(
        "exit_status",
        "exit",
        "",
        exit_word,
        "how it ended, unknown where nothing tells, a job as the process launched in it: tables"
        " show the exit code or the signal that killed, programs get the wait status of wait(2):"
        " 256 x code + signal, + 128 for a dumped core",
    ),
    _id("exit_code", "code", "exit code, unknown of a process that a signal killed"),
    _id("exit_signal", "signal", "number of the signal that killed, 0 for none"),
    *_OF_GROUP.values(),
    Column("tags", "tags", "", tag_list, "the job's tags", right=False, machine=json.loads),
    _id("process_id", "process", "the incarnation's id in the warehouse"),
    _id("acct_id", "record id", "the accounting record's id in the warehouse"),
    _text(
        "host",
        "host",
        "name of the host; in commands, kinds, hours, days, months and bills by job of several"
        " hosts only if named (`--columns +host`): then each host has rows of its own",
    ),
    _id("boot_id", "boot", "the boot's id in the warehouse"),
    _id("pid", "pid", "process id, of the thread group"),
    _id("event_id", "event id", "the event's id in the warehouse"),
    _text("event", "event", "fork, exec or exit, as the kernel reported it"),
    _time("at", "time", "when it happened"),
    _id("tid", "tid", "id of the thread that was started, that executed or that ended"),
    _id("cpu", "cpu", "on which CPU it happened"),
    _id("ppid", "ppid", "pid of the parent at birth; where that is unknown, at the end"),
    _id("parent_process_id", "parent", "the parent's incarnation"),
    _text("command", "command", "command name as the kernel has it, at most 15 bytes"),
    Column(
        "forked_only",
        "fork",
        "",
        lambda value: "*" if value else "",
        "* (for programs 1) for a process that never called exec",
        right=False,
    ),
    _flag("superuser", "su", "used superuser privilege"),
    _flag("dumped_core", "core", "dumped core"),
    _flag("killed", "killed", "killed by a signal"),
    _text(
        "flags",
        "flags",
        "lastcomm's letters: S used superuser privilege, F never called exec, D dumped core, X was"
        " killed by a signal",
    ),
    _flag(
        "estimate",
        "estimate",
        "yes (for programs 1): figures were cut to the window by time (`--clip`), they were not"
        " measured there",
    ),
    _text("user", "user", "name of the real uid on its host, or the number where no name is known"),
    _id("uid", "uid", "real user id"),
    _text(
        "group", "group", "name of the real gid on its host, or the number where no name is known"
    ),
    _id("gid", "gid", "real group id"),
    Column(
        "tty",
        "tty",
        "",
        tty.word,
        "controlling terminal; for programs major << 8 | minor, 0 for none",
        right=False,
    ),
    _text(
        "how", "how", "added, inherited, launched, inferred or defined: how it came into the job"
    ),
    _text("origin", "origin", "how the process became known"),
    _text("end_source", "end by", "how its end became known"),
    _flag(
        "ended_inferred",
        "end inferred",
        "whether its end was inferred from the order of the accounting file, as only its record"
        " tells it, and the kernel cut the elapsed time there",
    ),
    _text(
        "class",
        "class",
        "both, uncertain, only_connector, only_acct, running, pending, ambiguous or self: which"
        " source saw it",
    ),
    _text("what", "what", "the class, or the kind of a known loss, in words"),
    _text("cause", "cause", "why one source did not see it, or why its join is uncertain"),
    _seconds("difference_s", "difference", "what the sum over the processes lacks"),
    _text(
        "not_compared", "not compared", "why the group and its processes cannot be compared, if so"
    ),
    _text("why", "likely cause", "the cause in words"),
    _time("first_ended_at", "first end", "end of the first of them"),
    _time("last_ended_at", "last end", "end of the last of them"),
    _id("gap_id", "gap", "the known loss's id in the warehouse"),
    _text(
        "kind",
        "kind",
        "of a job: manual (made by hand or after the fact), or of an automatic job what it is:"
        " service, scope, session, user (unit), cron, container, machine, slurm, ci or other;"
        " none: what was in no automatic job; of a loss its cause: boot, shutdown, crash,"
        " down, overrun, sequence, backlog, replaced, taskstats or file; silence: it continues",
    ),
    _seconds("duration_s", "duration", "from start to end"),
    _count("logins", "logins", "how often somebody was logged in in that time"),
    _seconds("connected_s", "connected", "for how long, added up over logins"),
    _count("open_logins", "open", "logins that still go on"),
    _count("inexact_logins", "no logout", "logins whose end is not known exactly: no logout"),
    _count("lost", "lost", "how many events or records, where that is known"),
    _text("path", "file", "the accounting file"),
    _id("from_position", "from byte", "first byte that is missing"),
    _id("to_position", "to byte", "first byte after it that is good again"),
    _text("note", "note", "what else is known of it"),
    _text("tag", "tag", "value of the tag that was asked for, or KEY=VALUE of all tags"),
    _money("charge", "charge", "what it costs: the sum of the charges by kind"),
    _text("currency", "in", "currency of the charges, as the tariff has it"),
    _money("charge_processes", "for processes", "charge for processes that ended"),
    _money("charge_cpu", "for cpu", "charge for CPU time"),
    _money("charge_memory", "for memory", "charge for resident memory over CPU time"),
    _money("charge_read", "for reading", "charge for bytes read from storage"),
    _money("charge_written", "for writing", "charge for bytes written to storage"),
    _hours("cpu_hours", "cpu", "CPU time that is charged", "h"),
    _hours("memory_gib_hours", "memory", "resident memory over CPU time that is charged", "GiB h"),
    _count(
        "without_io",
        "no I/O",
        "processes, and records that are joined to none, of which neither memory nor I/O is known:"
        " that is not charged",
    ),
    _count(
        "uncharged",
        "uncharged",
        "processes, and records that are joined to none, that ended when no tariff was valid",
    ),
    _text(
        "record",
        "record",
        "how its accounting record was joined: exact, uncertain, own, pending, ambiguous",
    ),
)
COLUMNS: dict[str, Column] = {column.key: column for column in _ALL}
