"""A small warehouse on disk with two jobs that share a process, and a way to run `elsa report` over
it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import given
from tests.support.reports import Reports


@pytest.fixture
def reports(template: Path, tmp_path: Path) -> Iterator[Reports]:
    """A warehouse with a host and nothing recorded."""
    path = tmp_path / "elsa.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # Each row is a transaction; no test pulls the plug.
        connection.execute("pragma synchronous = off")
        with closing(sqlite3.connect(template)) as source:
            source.backup(connection)
        yield Reports(path, given.Warehouse(connection))


@pytest.fixture
def filled(reports: Reports) -> Reports:
    """Job 1 `build` (make, cc), job 2 `night` (cc, and a shell that runs), one process in no job
    and one record without a process.
    """
    warehouse = reports.warehouse
    warehouse.process(1, start=10, seconds=20, comm="make")
    warehouse.acct(1, 1, comm="make", utime=100, stime=10, etime=2000.0, uid=4_000_000_000)
    warehouse.process(2, start=12, seconds=5, comm="cc", parent_id=1, exit_status=9)
    warehouse.acct(2, 2, comm="cc", utime=200, minflt=7, etime=500.0, uid=4_000_000_001)
    warehouse.process(3, start=13, seconds=None, comm="sh")
    warehouse.process(4, start=100, seconds=1, comm="cron")
    warehouse.acct(4, 4, comm="cron", flag=1, utime=1)
    warehouse.acct(5, None, comm="lost", utime=3)
    warehouse.job(1, "build", closed_at_ns=given.REAL + 40 * given.SECOND, close_reason="ended")
    warehouse.stay(1, 1, how=3)
    warehouse.stay(1, 2)
    warehouse.insert("job_tag", job_id=1, key="project", value="x\x1b[31m")
    warehouse.job(2, "night", members=(2, 3))
    return reports
