"""What the original ELSA printed of a job, with honest units: its times were clock ticks under the
name of nanoseconds.
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
    """A block of text per job, of one or of all; to `words` is added what a block leaves out.

    Everything is from the accounting records alone, so it is what the original would have found: elapsed time is the sum over the
    processes, times are seconds cut off to 1/100 s per process. Swaps are unknown, since Linux counts none.
    """
    for number, processes, records, *ticks, minflt, majflt in connection.execute(
        _QUERY.format("job_usage" if job is None else rollup_source.job_usage(listed([job])))
    ):
        lines = [
            ("number of processes", processes),
            *(
                (name, _seconds(value))
                for name, value in zip(
                    ("elapsed time (sum)", "user time", "system time"), ticks, strict=True
                )
            ),
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
