"""What is asked of hourly sums."""

from __future__ import annotations

from contextlib import closing

from elsa.report.query import rollup_source
from elsa.report.query.statement import listed
from elsa.store import database, rollups
from tests.support.given import REAL, SECOND
from tests.support.reports import Reports


def test_the_sums_of_some_jobs_are_those_of_the_view_read_from_their_own_rows_alone(
    filled: Reports,
) -> None:
    warehouse = filled.warehouse
    warehouse.job(3, "empty")
    for ids in ([1], [3], [2, 1], []):
        wanted = f"where job_id in ({', '.join(map(str, ids))})"
        assert warehouse.rows(
            f"select * from {rollup_source.job_usage(listed(ids))}"
        ) == warehouse.rows(f"select * from job_usage {wanted}")
    assert (
        "SCAN r"
        not in warehouse.plan(f"select * from {rollup_source.job_usage(listed([1]))}").splitlines()
    )


def test_the_audit_compares_records_with_all_that_was_used_also_where_it_is_rolled_up(
    reports: Reports,
) -> None:
    """Not with the remainder after the last interval."""
    warehouse = reports.warehouse
    warehouse.process(1, start=10, seconds=100)
    warehouse.acct(1, 1, utime=300, etime=10_000.0)
    used = {"run_ns": 2 * SECOND, "utime_us": 2_000_000, "stime_us": 0}
    warehouse.interval(1, until=60, **used)
    warehouse.usage(1, run_ns=3 * SECOND, utime_us=3_000_000, stime_us=0)
    query = "select processes, taskstats_s, acct_s from audit_ticks"
    expected = [{"processes": 1, "taskstats_s": 3, "acct_s": 3}]
    assert warehouse.rows(query) == expected
    with closing(database.open_for_writing(reports.path)) as connection:
        assert rollups.refresh(connection, reports.path, REAL + 86_400 * SECOND)
    assert warehouse.rows(query) == expected
