"""What is added up over processes, once: the one list behind every sum of the reports, over rows `u` of elsa.report.query.rows.

Sums are made of integers (nanoseconds where a report shows seconds), so that the parts of a whole add up to it exactly, in any order.
Elapsed time is summed in microseconds, since daemons by the hundred live for years and 64 bits hold 292 years of nanoseconds; memory
integrals as floats, which are exact up to 2**53 MB us and then no longer, rather than overflow.
The views command_usage, user_usage, job_command_usage, job_user_usage and job_usage make the same sums; tests hold them equal.
"""

from __future__ import annotations

from typing import NamedTuple

from elsa.report.times import Window

COUNTERS = (
    *("read_chars", "write_chars", "read_syscalls", "write_syscalls", "read_bytes", "write_bytes", "cancelled_write_bytes"),
    *("nvcsw", "nivcsw"),
    *("cpu_delay_ns", "blkio_delay_ns", "swapin_delay_ns", "reclaim_delay_ns", "thrashing_delay_ns", "compact_delay_ns"),
)
"""What taskstats counts beside CPU time and memory."""


class Measure(NamedTuple):
    """One figure of many processes."""

    each: str
    """What one row adds: an integer expression; in counts, an expression that is NULL for what does not count."""
    fold: str = "sum"
    """sum, max or count."""
    scale: int = 1
    """How many of `each` make 1 of the figure."""

    def sql(self, share: str | None = None) -> str:
        """The aggregate; with a share, the part of each sum that falls into a window."""
        if self.fold != "sum":
            return f"{self.fold}({self.each})"
        total = f"sum({self.each})" if share is None else f"cast(round(sum(({self.each}) * {share})) as integer)"
        return total if self.scale == 1 else f"{total} / {float(self.scale)}"


MEASURES = {
    "processes": Measure("u.process_id", "count"),
    "running": Measure("case when u.state = 'running' then 1 end", "count"),
    "records": Measure("u.acct_id", "count"),
    "without_record": Measure("case when u.state = 'ended' and u.acct_id is null then 1 end", "count"),
    "uncertain": Measure("case when u.record = 'uncertain' then 1 end", "count"),
    "unjoined": Measure("case when u.process_id is null then u.acct_id end", "count"),
    "elapsed_s": Measure("(u.elapsed_ns + 500) / 1000", scale=1_000_000),
    **{key: Measure(f"u.{key}") for key in ("etime_ticks", "utime_ticks", "stime_ticks", "minflt", "majflt")},
    "with_usage": Measure("case when u.provenance = 'taskstats' then 1 end", "count"),
    "with_ticks": Measure("case when u.provenance = 'acct' then 1 end", "count"),
    "without_usage": Measure("case when u.provenance is null then 1 end", "count"),
    "usage_partial": Measure("case when u.usage_complete = 0 then 1 end", "count"),
    "user_s": Measure("u.user_ns", scale=1_000_000_000),
    "system_s": Measure("u.system_ns", scale=1_000_000_000),
    "cpu_s": Measure("u.user_ns + u.system_ns", scale=1_000_000_000),
    **{key: Measure(f"u.{key}") for key in ("minor_faults", "major_faults", "threads", "run_ns", "utime_us", "stime_us")},
    **{key: Measure(f"u.{key}", "max") for key in ("rss_kib", "vm_kib")},
    **{f"{key}_mb_s": Measure(f"u.{key}_mb_us * 1.0", scale=1_000_000) for key in ("coremem", "virtmem")},
    **{key: Measure(f"u.{key}") for key in COUNTERS},
}
OF_MEMBERS = {
    "inferred": Measure("case when u.how = 'inferred' then 1 end", "count"),
    "part_life": Measure("case when u.part_life = 1 then 1 end", "count"),
    "part_life_whole": Measure("case when u.part_life_whole = 1 then 1 end", "count"),
}
"""Of the processes of jobs only."""


def share(window: Window) -> str:
    """Which part of a row's life lies in a window: 0 to 1. What has no length lies where it ended."""
    return overlap(
        f"min(u.out_ns, {window.until})" if window.until is not None else "u.out_ns",
        f"max(u.in_ns, {window.since})" if window.since is not None else "u.in_ns",
    )


def overlap(until: str, since: str) -> str:
    """The same between two SQL expressions."""
    return f"(case when u.out_ns > u.in_ns then ({until} - {since}) * 1.0 / (u.out_ns - u.in_ns) else 1.0 end)"


def sums(part: str | None = None, *, members: bool = False) -> dict[str, str]:
    """Every measure's aggregate, by column; with a share, the estimated part."""
    measures = MEASURES | OF_MEMBERS if members else MEASURES
    return {key: measure.sql(part) for key, measure in measures.items()}
