"""What the original ELSA printed for a job, with correct units: it printed clock ticks and called
them nanoseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from elsa.report.query import rollup_source
from elsa.report.query.statement import Query, listed, select
from elsa.report.query.times import Window

_HZ = 100
# How many jobs have a note of their own.
_MOST_NOTES = 3
_COLUMNS = (
    *("processes", "records", "etime_ticks", "utime_ticks", "stime_ticks", "minflt", "majflt"),
)


def _query(job: int | None, window: Window) -> Query:
    """The figures of a job or of each job; with a window, of the processes that ended in it."""
    jobs = None if job is None else listed([job])
    if not window:
        usage = "job_usage" if jobs is None else rollup_source.job_usage(jobs)
        return Query(f"select job_id, {', '.join(_COLUMNS)} from {usage} order by job_id")
    every = rollup_source.sums("rollup_job")
    sums = {"job_id": "u.job_id"} | {key: every[key] for key in _COLUMNS}
    source = rollup_source.source("rollup_job", window, sums.values(), days=True, jobs=jobs)
    return Query(
        f"{select(sums)}\n{source.sql}\ngroup by u.job_id having processes > 0 order by u.job_id",
        source.values,
    )


def classic(
    connection: sqlite3.Connection, job: int | None, window: Window, words: list[str]
) -> Iterator[str]:
    """A block of text for a job, or for each job. Notes on what a block leaves out are added to
    `words`.

    Everything is from accounting records only, as in the original. Elapsed time is the sum over the
    processes; times are in seconds, cut to 1/100 s per process. Swaps are unknown, since Linux does
    not count them.
    """
    without = []
    found = _query(job, window).run(connection)
    for number, processes, records, etime, utime, stime, minflt, majflt in found:
        lines = [
            ("number of processes", processes),
            ("elapsed time (sum)", _seconds(etime)),
            ("user time", _seconds(utime)),
            ("system time", _seconds(stime)),
            ("minor page faults", minflt),
            ("major page faults", majflt),
            ("swaps", None),
        ]
        yield f"Results for job ID {number}\n" + "".join(
            f"  {name + ':':<20} {'-' if value is None else value}\n" for name, value in lines
        )
        if records < processes:
            without.append(
                f"job {number}: {processes - records} of {processes} processes have no accounting"
                " record, so they add no time"
            )
    words += without[:_MOST_NOTES]
    if len(without) > _MOST_NOTES:
        words.append(f"the same holds for {len(without) - _MOST_NOTES} more jobs")


def _seconds(ticks: float | None) -> str | None:
    return None if ticks is None else f"{ticks / _HZ:.2f} s"
