"""What the original ELSA printed for a job, with correct units: it printed clock ticks and called
them nanoseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from elsa.report.query import rollup_source
from elsa.report.query.statement import listed

_HZ = 100
_QUERY = (
    "select job_id, processes, records, etime_ticks, utime_ticks, stime_ticks, minflt, majflt from"
    " {} order by job_id"
)


def classic(connection: sqlite3.Connection, job: int | None, words: list[str]) -> Iterator[str]:
    """A block of text for a job, or for each job. Notes on what a block leaves out are added to
    `words`.

    Everything is from accounting records only, as in the original. Elapsed time is the sum over the
    processes; times are in seconds, cut to 1/100 s per process. Swaps are unknown, since Linux does
    not count them.
    """
    usage = "job_usage" if job is None else rollup_source.job_usage(listed([job]))
    for number, processes, records, etime, utime, stime, minflt, majflt in connection.execute(
        _QUERY.format(usage)
    ):
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
            words.append(
                f"job {number}: {processes - records} of {processes} processes have no accounting"
                " record, so they add no time"
            )


def _seconds(ticks: float | None) -> str | None:
    return None if ticks is None else f"{ticks / _HZ:.2f} s"
