"""The registry of measures: what is added up over processes, each measure once.

From here come the counter columns of the tables (elsa/store/schema.py), every sum
(elsa/store/aggregates.py, and the views of sql/ through scripts/sql.py), what is read from
taskstats (elsa/matching/usage_matcher.py, elsa/jobd/counter_reader.py), the columns of reports
(elsa/report/render/columns.py), and the tables of measures in docs/. docs/architecture.md shows how
to add a measure.

A measure adds up integers (nanoseconds where a report shows seconds), so that the parts of a whole
add up to it exactly, in any order. Only the integrals of memory are floats, which are exact up to
2**53 MB us.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

LONGEST_TICK_NS = 10_000_000
"""What the kernel's tick is taken for where it is not known: the longest that is common. (The views
say the same.)
"""


def tick(tick_ns: int | None) -> str:
    """The length of the kernel's tick in words; None is one that is not known."""
    words = (
        f"{(tick_ns or LONGEST_TICK_NS) / 1e6:.3g} ms at"
        f" {1e9 / (tick_ns or LONGEST_TICK_NS):.0f} Hz"
    )
    return words if tick_ns else f"{words}, assumed"


Unit = Literal["", "s", "ns", "us", "1/100 s", "bytes", "KiB", "MB s"]
Fold = Literal["sum", "float", "count", "max", "min", "union"]
Source = Literal["counted", "acct", "taskstats", "both"]


class Measure(NamedTuple):
    """One measure of a process, or of many."""

    name: str
    """Its column in views, csv and json."""
    unit: Unit = ""
    """What programs get it in; "" is a number of things."""
    heading: str = ""
    """Its column's heading in tables for people; none where only rollups keep the measure."""
    doc: str = ""
    """What it means."""
    source: Source = "counted"
    """What says it: struct acct_v3, struct taskstats, or both, of which taskstats counts where both
    are known; or it is counted in the warehouse.
    """
    field: str = ""
    """The field of the kernel's struct, as elsa/decode names it."""
    column: str = ""
    """Its column in table usage; unless it is a peak, in table usage_so_far too."""
    delay: bool = False
    """It is counted only while kernel.task_delayacct is 1."""
    in_intervals: bool = False
    """What living processes use of it is stored by interval, in table usage_interval."""
    of_group: bool = False
    """taskstats says it of a whole process that still runs, not of each thread alone."""
    fold: Fold = "sum"
    """How it adds up over processes: a sum of integers or of floats, how many, the largest, the
    smallest, or the union of bits of which each row has one.
    """
    each: str = ""
    """What a row `u` of process_usage adds, in SQL: its column, where this is "". In counts: NULL
    for a row that does not count.
    """
    scale: int = 1
    """How many of `each` make 1 of the measure."""
    stored: str = ""
    """The rollups' column for it, in the unit of `each`, where that is not the measure's own."""

    @property
    def operand(self) -> str:
        """What a row `u` of process_usage adds."""
        return self.each or f"u.{self.name}"

    @property
    def rolled(self) -> str:
        """The rollups' column."""
        return self.stored or self.name


def _count(name: str, each: str, heading: str = "", doc: str = "") -> Measure:
    return Measure(name, "", heading, doc, fold="count", each=each)


def _if(condition: str) -> str:
    return f"case when {condition} then 1 end"


def _process_if(condition: str) -> str:
    """The same of rows that stand for a process, not for what it used in an interval."""
    return f"case when {condition} then u.process_id end"


def _recorded(name: str, unit: Unit, heading: str, doc: str) -> Measure:
    return Measure(name, unit, heading, doc, "acct", name.removesuffix("_ticks"))


def _seconds(name: str, heading: str, doc: str, each: str, stored: str) -> Measure:
    return Measure(
        name, "s", heading, doc, "both", "utime, stime", each=each, scale=10**9, stored=stored
    )


def _counter(name: str, unit: Unit, heading: str, doc: str, field: str = "") -> Measure:
    return Measure(name, unit, heading, doc, "taskstats", field or name, name)


def _io(name: str, heading: str, doc: str) -> Measure:
    return _counter(name, "bytes", heading, doc)._replace(in_intervals=True)


def _time(name: str, unit: Unit, heading: str, doc: str, field: str = "") -> Measure:
    return _counter(name, unit, heading, doc, field)._replace(of_group=True)


def _delay(name: str, heading: str, doc: str, field: str = "") -> Measure:
    return _time(name, "ns", heading, doc, field)._replace(delay=True)


def _faults(name: str, field: str, heading: str, doc: str) -> Measure:
    return Measure(name, "", heading, doc, "both", field, column=field, in_intervals=True)


def _peak(name: str, heading: str, doc: str) -> Measure:
    return _counter(name, "KiB", heading, doc, f"hiwater_{name}")._replace(fold="max")


def _integral(name: str, heading: str, doc: str) -> Measure:
    integral = f"{name}_mb_us"
    return Measure(
        f"{name}_mb_s",
        "MB s",
        heading,
        doc,
        "taskstats",
        integral,
        integral,
        fold="float",
        each=f"u.{integral} * 1.0",
        scale=10**6,
        stored=integral,
    )


def _named(*measures: Measure) -> dict[str, Measure]:
    return {measure.name: measure for measure in measures}


_OF_TASKSTATS_ALONE = _named(
    _io("read_chars", "chars read", "bytes that reads returned, from anywhere"),
    _io("write_chars", "chars written", "bytes given to writes"),
    _counter(
        "read_syscalls",
        "",
        "reads",
        "read system calls, at least: the kernel cuts down those of each thread to a multiple"
        " of 1024",
    ),
    _counter("write_syscalls", "", "writes", "write system calls, likewise"),
    _io("read_bytes", "read", "bytes read from storage"),
    _io("write_bytes", "written", "bytes to be written to storage"),
    _counter(
        "cancelled_write_bytes",
        "bytes",
        "cancelled",
        "of the written bytes, those that a truncation spared storage",
    ),
    _time("nvcsw", "", "waits", "voluntary context switches"),
    _time("nivcsw", "", "preempted", "involuntary context switches"),
    _time("cpu_delay_ns", "ns", "cpu delay", "ready to run, but waiting for a CPU"),
    _delay("blkio_delay_ns", "block I/O delay", "waiting for block I/O"),
    _delay("swapin_delay_ns", "swap delay", "waiting for swapped pages"),
    _delay("reclaim_delay_ns", "reclaim delay", "reclaiming memory", "freepages_delay_ns"),
    _delay("thrashing_delay_ns", "thrashing delay", "waiting for pages that were just thrown out"),
    _delay("compact_delay_ns", "compaction delay", "compacting memory"),
    _delay("irq_delay_ns", "irq delay", "held up while the CPU handled interrupts"),
)

_ANY = _named(
    _count("processes", "u.process_id", "procs", "processes, one for each life of a pid"),
    _count("running", _process_if("u.state = 'running'"), "run", "of these, how many still run"),
    _count("records", "u.acct_id", "records", "accounting records counted"),
    _count(
        "without_record",
        _process_if("u.state = 'ended' and u.acct_id is null"),
        "no record",
        "ended processes without an accounting record: their CPU time and faults are unknown",
    ),
    _count(
        "uncertain",
        _if("u.record = 'uncertain'"),
        "uncertain",
        "records whose join is not certain, as events were lost",
    ),
    _count(
        "unjoined",
        "case when u.process_id is null then u.acct_id end",
        "unjoined",
        "records that are joined to no process: they count here, but in no job",
    ),
    Measure(
        "elapsed_s",
        "s",
        "elapsed",
        "from start to end, summed over processes",
        each="(u.elapsed_ns + 500) / 1000",
        scale=10**6,
        stored="elapsed_us",
    ),
    _recorded("etime_ticks", "1/100 s", "etime", "elapsed time as the accounting records have it"),
    _recorded("utime_ticks", "1/100 s", "utime", "user CPU time"),
    _recorded("stime_ticks", "1/100 s", "stime", "system CPU time"),
    _recorded("minflt", "", "minflt", "minor page faults, by the accounting record"),
    _recorded("majflt", "", "majflt", "major page faults, likewise"),
    _count(
        "with_usage",
        _if("u.provenance = 'taskstats'"),
        "by taskstats",
        "processes whose usage is from taskstats",
    ),
    _count(
        "with_ticks",
        _if("u.provenance = 'acct'"),
        "by ticks",
        "processes, and unjoined records, of which only the accounting record is known:"
        " CPU time is cut down to 1/100 s, memory and I/O are unknown",
    ),
    _count(
        "without_usage",
        _if("u.provenance is null"),
        "unmeasured",
        "processes of which no usage is known, including those that run",
    ),
    _count(
        "usage_partial",
        _if("u.usage_complete = 0"),
        "partial",
        "processes of which statistics of threads were lost: their faults, memory and I/O are"
        " lower bounds",
    ),
    # Time on a CPU is measured up to the last tick or switch of a thread: a shorter one is sampled.
    _count(
        "sampled",
        _if("u.provenance = 'taskstats' and u.below_tick = 1"),
        "sampled",
        "processes with taskstats that ran shorter than a tick of the kernel: their CPU time is"
        " sampled, not measured",
    ),
    _seconds(
        "user_s",
        "user",
        "user CPU time, by taskstats where it is known, else by the accounting record; how"
        " far it may be off is said below the table",
        "u.user_ns",
        "user_ns",
    ),
    _seconds("system_s", "system", "system CPU time, likewise", "u.system_ns", "system_ns"),
    _seconds("cpu_s", "cpu", "user + system CPU time", "u.user_ns + u.system_ns", "cpu_ns"),
    _faults(
        "minor_faults",
        "minflt",
        "minor faults",
        "page faults without I/O, by taskstats where it is known, else by the accounting record",
    ),
    _faults("major_faults", "majflt", "major faults", "page faults with I/O, likewise"),
    Measure("threads", "", "threads", "threads that are in the sums", "taskstats"),
    _time(
        "run_ns",
        "ns",
        "on cpu",
        "time on a CPU, measured by the scheduler to the last tick or switch of each thread",
        "cpu_run_virtual_ns",
    ),
    _time("utime_us", "us", "utime", "user CPU time by taskstats"),
    _time("stime_us", "us", "stime", "system CPU time by taskstats"),
    _peak("rss_kib", "peak", "the most memory that was resident at once, in one process"),
    _peak("vm_kib", "peak vm", "the most virtual memory, in one process"),
    _integral("coremem", "resident", "resident memory summed over CPU time"),
    _integral("virtmem", "virtual", "virtual memory summed over CPU time"),
)
MEASURES = _ANY | _OF_TASKSTATS_ALONE
"""Of processes, and of records that are joined to none."""

OF_MEMBERS = _named(
    _count(
        "inferred",
        _if("u.how = 'inferred'"),
        "inferred",
        "processes whose membership was inferred: their fork was not received",
    ),
    _count(
        "part_life",
        _if("u.part_life = 1"),
        "part life",
        "processes that were in the job for a part of their life",
    ),
    _count(
        "part_life_whole",
        _if("u.part_life_whole = 1"),
        "charged whole",
        "of these, those charged for their whole life, as their counters were not read when"
        " they entered or left",
    ),
)
"""Of the processes of jobs only."""

# What only the rollups keep: which sources saw the processes, and the span of a job as in
# job_usage.
_SOURCES = _named(
    _count("seen_by_both", _if("u.record = 'exact' and u.origin <> 'acct'")),
    _count("still_running", _process_if("u.state = 'running' and u.acct_id is null")),
    _count("only_by_acct", _if("u.origin = 'acct' or u.record = 'own'")),
)
_SPAN = _named(
    _count("living", _process_if("u.state = 'running' and u.until_ns is null")),
    _count("left_before_end", "u.until_ns"),
    _count("usage_missing", _process_if("u.state = 'ended' and u.threads is null")),
    Measure(
        "start_ns",
        fold="min",
        each="case when u.since_ns > u.start_ns then u.since_ns else u.start_ns end",
    ),
    Measure("end_ns", fold="max", each="coalesce(u.until_ns, u.end_ns)"),
    Measure(
        "started_ns",
        fold="min",
        each="case when u.since_ns > u.start_ns then u.started_ns + u.since_ns - u.start_ns else"
        " u.started_ns end",
    ),
    Measure(
        "ended_ns",
        fold="max",
        # A row of an interval says when it was read, not when its process ended.
        each="case when u.process_id is not null then"
        " coalesce(u.until_ns + u.started_ns - u.start_ns, u.ended_ns) end",
    ),
    Measure("exit_status", fold="max", each="case when u.how = 'launched' then u.exit_status end"),
)
ROLLED = MEASURES | _SOURCES
"""What a row of the rollups holds."""
ROLLED_OF_JOB = ROLLED | OF_MEMBERS | _SPAN
"""What a row of a job's rollup holds."""

_COMPARED = "case when u.provenance = 'taskstats' and u.acct_id is not null then {} end"
OF_AUDIT = _named(
    MEASURES["processes"],
    MEASURES["records"],
    Measure("first_ns", fold="min", each="u.ended_ns"),
    Measure("last_ns", fold="max", each="u.ended_ns"),
    Measure("minutes", fold="union", each="1 << (u.ended_ns / 60000000000 % 60)"),
    _count("compared", _COMPARED.format(1)),
    Measure("compared_ns", each=_COMPARED.format("u.user_ns + u.system_ns")),
    Measure("compared_ticks", each=_COMPARED.format("u.utime_ticks + u.stime_ticks")),
)
"""What the audit adds up by class: how many, from when to when, in which minutes of the hour (a bit
each), and, of those processes whose CPU time both sources report, that time by either."""

DIVIDED = tuple(
    measure
    for measure in MEASURES.values()
    if measure.fold == "sum" and measure.source != "acct" and measure.name != "threads"
)
"""What is divided among the jobs that a process was in one after the other. All else is of the
whole process in each of them.
"""

BY_USE = tuple(
    measure
    for measure in DIVIDED
    if measure.in_intervals or measure.name in ("user_s", "system_s", "cpu_s", "run_ns")
)
"""What of it counts when it was used; all else counts when the process ended or left the job."""

OF_TASKSTATS_ALONE = tuple(_OF_TASKSTATS_ALONE)
"""What taskstats counts beside CPU time and memory."""
COUNTERS = tuple(
    measure for measure in MEASURES.values() if measure.column and measure.fold != "max"
)
"""What tables usage and usage_so_far have a column of, in that order: delays come last."""
IN_INTERVALS = tuple(measure for measure in COUNTERS if measure.in_intervals)
"""What table usage_interval has a column of, besides CPU time and resident memory."""
PEAKS = tuple(measure for measure in MEASURES.values() if measure.column and measure.fold == "max")
"""What table usage has a column of besides."""
DELAYS = tuple(measure.name for measure in MEASURES.values() if measure.delay)
"""What is known only where kernel.task_delayacct is 1."""
