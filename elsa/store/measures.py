"""What is added up over processes, once: the one list behind every sum of reports and rollups, over
rows `u` of process_usage.

Sums are made of integers (nanoseconds where a report shows seconds), so that the parts of a whole
add up to it exactly, in any order. 64 bits hold 292 years of nanoseconds, which 256 busy CPUs use
in 14 months, and SQLite's sum() fails beyond. So the halves of the integers are summed apart and
put together: an integer as long as it fits 64 bits, else the nearest double. Where sums are stored
they are exact whatever their size (elsa/store/sums.py). Memory integrals are summed as floats,
which are exact up to 2**53 MB us. The views of sql/ are made from this list too (scripts/sql.py).
"""

from __future__ import annotations

from typing import NamedTuple

COUNTERS = (
    *(
        "read_chars",
        "write_chars",
        "read_syscalls",
        "write_syscalls",
        "read_bytes",
        "write_bytes",
        "cancelled_write_bytes",
    ),
    *("nvcsw", "nivcsw"),
    *(
        "cpu_delay_ns",
        "blkio_delay_ns",
        "swapin_delay_ns",
        "reclaim_delay_ns",
        "thrashing_delay_ns",
        "compact_delay_ns",
    ),
)
"""What taskstats counts beside CPU time and memory."""


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


class Aggregate(NamedTuple):
    """One aggregate in SQL."""

    fold: str
    """sum, float (a sum of floats), max, min, count, number (a sum of counts), or union: of bits,
    where each row has one.
    """
    text: str
    """Over what: an expression."""

    @property
    def halves(self) -> tuple[str, str]:
        """A sum in two that cannot overflow: of what is above 32 bits, in units of 2**32, and of
        the rest.
        """
        operand = f"({self.text})" if " " in self.text else self.text
        return f"sum({operand} >> 32)", f"sum({operand} & 4294967295)"

    @property
    def sql(self) -> str:
        """The whole of it."""
        high, low = self.halves
        return f"{high} * 4294967296 + {low}" if self.fold == "sum" else self.plain

    @property
    def plain(self) -> str:
        """The same in half the time, but SQLite gives up with an "integer overflow" where a sum is
        too large.
        """
        known = {"float": "sum({})", "number": "coalesce(sum({}), 0)", "union": "sum(distinct {})"}
        return known.get(self.fold, f"{self.fold}({{}})").format(self.text)


class Measure(NamedTuple):
    """One figure of many processes."""

    each: str
    """What one row adds; in counts, an expression that is NULL for what does not count."""
    fold: str = "sum"
    """As in Aggregate."""
    scale: int = 1
    """How many of `each` make 1 of the figure."""
    stored: str = ""
    """The rollups' column for it, in the unit of `each`, where that is not the figure's own."""

    @property
    def over_rows(self) -> Aggregate:
        """The aggregate over rows of a view, in the unit of `each`."""
        return Aggregate(self.fold, self.each)

    def over_parts(self, column: str) -> Aggregate:
        """The aggregate over rows that hold aggregates of parts."""
        return Aggregate("number" if self.fold == "count" else self.fold, column)

    def sql(self, share: str | None = None) -> str:
        """The figure; with a share, the part of each sum that falls into a window."""
        if share is None or self.fold not in ("sum", "float"):
            return self._scaled(self.over_rows.sql)
        total = f"round(sum(({self.each}) * {share}))"
        if self.scale == 1:
            return (
                f"case when {total} < 9223372036854775807 then cast({total} as integer) else"
                f" {total} end"
            )
        return self._scaled(total)

    def of_parts(self, key: str) -> str:
        """The same over rows `u` that hold sums of parts."""
        return self._scaled(self.over_parts(f"u.{self.stored or key}").sql)

    def _scaled(self, total: str) -> str:
        if self.scale == 1:
            return total
        return f"({total}) / {self.scale:.0e}".replace("e+0", "e")


MEASURES = {
    "processes": Measure("u.process_id", "count"),
    "running": Measure("case when u.state = 'running' then 1 end", "count"),
    "records": Measure("u.acct_id", "count"),
    "without_record": Measure(
        "case when u.state = 'ended' and u.acct_id is null then 1 end", "count"
    ),
    "uncertain": Measure("case when u.record = 'uncertain' then 1 end", "count"),
    "unjoined": Measure("case when u.process_id is null then u.acct_id end", "count"),
    "elapsed_s": Measure("(u.elapsed_ns + 500) / 1000", scale=1_000_000, stored="elapsed_us"),
    **{
        key: Measure(f"u.{key}")
        for key in ("etime_ticks", "utime_ticks", "stime_ticks", "minflt", "majflt")
    },
    "with_usage": Measure("case when u.provenance = 'taskstats' then 1 end", "count"),
    "with_ticks": Measure("case when u.provenance = 'acct' then 1 end", "count"),
    "without_usage": Measure("case when u.provenance is null then 1 end", "count"),
    "usage_partial": Measure("case when u.usage_complete = 0 then 1 end", "count"),
    # Time on a CPU is measured up to the last tick or switch of a thread: of less only samples
    # tell.
    "sampled": Measure(
        "case when u.provenance = 'taskstats' and coalesce(u.run_ns, 0) < u.tick_ns then 1 end",
        "count",
    ),
    "user_s": Measure("u.user_ns", scale=1_000_000_000, stored="user_ns"),
    "system_s": Measure("u.system_ns", scale=1_000_000_000, stored="system_ns"),
    "cpu_s": Measure("u.user_ns + u.system_ns", scale=1_000_000_000, stored="cpu_ns"),
    **{
        key: Measure(f"u.{key}")
        for key in ("minor_faults", "major_faults", "threads", "run_ns", "utime_us", "stime_us")
    },
    **{key: Measure(f"u.{key}", "max") for key in ("rss_kib", "vm_kib")},
    **{
        f"{key}_mb_s": Measure(f"u.{key}_mb_us * 1.0", "float", 1_000_000, stored=f"{key}_mb_us")
        for key in ("coremem", "virtmem")
    },
    **{key: Measure(f"u.{key}") for key in COUNTERS},
}
OF_MEMBERS = {
    "inferred": Measure("case when u.how = 'inferred' then 1 end", "count"),
    "part_life": Measure("case when u.part_life = 1 then 1 end", "count"),
    "part_life_whole": Measure("case when u.part_life_whole = 1 then 1 end", "count"),
}
"""Of the processes of jobs only."""

# What only the rollups keep: who saw the processes, and the span of a job as in job_usage.
_WITNESSES = {
    "seen_by_both": Measure(
        "case when u.record = 'exact' and u.origin <> 'acct' then 1 end", "count"
    ),
    "still_running": Measure(
        "case when u.state = 'running' and u.acct_id is null then 1 end", "count"
    ),
    "only_by_acct": Measure("case when u.origin = 'acct' or u.record = 'own' then 1 end", "count"),
}
_SPAN = {
    "living": Measure("case when u.state = 'running' and u.until_ns is null then 1 end", "count"),
    "usage_missing": Measure(
        "case when u.state = 'ended' and u.threads is null then 1 end", "count"
    ),
    "start_ns": Measure(
        "case when u.since_ns > u.start_ns then u.since_ns else u.start_ns end", "min"
    ),
    "end_ns": Measure("coalesce(u.until_ns, u.end_ns)", "max"),
    "started_ns": Measure(
        "case when u.since_ns > u.start_ns then u.started_ns + u.since_ns - u.start_ns else"
        " u.started_ns end",
        "min",
    ),
    "ended_ns": Measure("coalesce(u.until_ns + u.started_ns - u.start_ns, u.ended_ns)", "max"),
    "exit_status": Measure("case when u.how = 'launched' then u.exit_status end", "max"),
}
ROLLED = MEASURES | _WITNESSES
"""What a row of the rollups holds."""
ROLLED_OF_JOB = ROLLED | OF_MEMBERS | _SPAN
"""What a row of a job's rollup holds."""

_COMPARED = "case when u.provenance = 'taskstats' and u.acct_id is not null then {} end"
OF_AUDIT = {
    "processes": MEASURES["processes"],
    "records": MEASURES["records"],
    "first_ns": Measure("u.ended_ns", "min"),
    "last_ns": Measure("u.ended_ns", "max"),
    "minutes": Measure("1 << (u.ended_ns / 60000000000 % 60)", "union"),
    "compared": Measure(_COMPARED.format(1), "count"),
    "compared_ns": Measure(_COMPARED.format("u.user_ns + u.system_ns")),
    "compared_ticks": Measure(_COMPARED.format("u.utime_ticks + u.stime_ticks")),
}
"""What the audit adds up by class: how many, from when to when, in which minutes of the hour (a bit
each), and, of those processes whose CPU time both witnesses tell, that time by either."""


def columns(measures: dict[str, Measure]) -> dict[str, Aggregate]:
    """The columns that rollups have for these measures, each with its aggregate over rows `u` of a
    view.
    """
    return {measure.stored or key: measure.over_rows for key, measure in measures.items()}


def parts(measures: dict[str, Measure]) -> dict[str, str]:
    """The same columns, each with what one row `u` of a view adds to it."""
    return {
        measure.stored or key: f"({measure.each}) is not null"
        if measure.fold == "count"
        else measure.each
        for key, measure in measures.items()
    }


def of_parts(measures: dict[str, Measure]) -> dict[str, Aggregate]:
    """The same columns, each with its aggregate over rows that hold parts."""
    return {
        name: measure.over_parts(name)
        for name, measure in ((measure.stored or key, measure) for key, measure in measures.items())
    }


REAL = tuple(name for name, aggregate in columns(MEASURES).items() if aggregate.fold == "float")
"""The columns that are floats."""
