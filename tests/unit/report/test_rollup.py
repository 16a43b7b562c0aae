"""What is asked of hourly sums."""

from __future__ import annotations

from elsa.report.query import rollup_source
from elsa.report.query.statement import listed
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
