"""The registry of measures, and the lists that must agree with it."""

from __future__ import annotations

import pytest

from elsa.decode.acct import AcctRecord
from elsa.decode.taskstats import Taskstats
from elsa.matching.usage_matcher import USAGE_COLUMNS
from elsa.measures import COUNTERS, MEASURES, OF_MEMBERS, ROLLED, ROLLED_OF_JOB
from elsa.store import schema
from tests.support.given import Warehouse


def columns(warehouse: Warehouse, view: str) -> list[str]:
    return [name for name, *_ in warehouse.connection.execute(f"select * from {view}").description]


@pytest.mark.parametrize(
    "view",
    ["command_usage", "user_usage", "job_command_usage", "job_user_usage", "unattributed_usage"],
)
def test_view_that_sums_has_all_measures_in_order(warehouse: Warehouse, view: str) -> None:
    listed = [name for name in columns(warehouse, view) if name in MEASURES]
    assert listed == list(MEASURES)


def test_job_has_all_measures_but_records_without_a_process(warehouse: Warehouse) -> None:
    missing = (MEASURES | OF_MEMBERS).keys() - set(columns(warehouse, "job_usage"))
    assert missing == {"unjoined"}


@pytest.mark.parametrize(
    "view", ["incarnation_usage", "unjoined_record_usage", "process_usage", "job_process_usage"]
)
def test_process_has_all_measures_that_are_not_counts(warehouse: Warehouse, view: str) -> None:
    of_one = {name for name, measure in MEASURES.items() if measure.fold != "count"}
    assert of_one <= set(columns(warehouse, view))


@pytest.mark.parametrize(
    ("view", "measures"),
    [
        ("rollup_command_ready", ROLLED),
        ("rollup_user_ready", ROLLED),
        ("rollup_job_ready", ROLLED_OF_JOB),
        ("command_usage_part", ROLLED),
        ("user_usage_part", ROLLED),
        ("job_usage_part", ROLLED_OF_JOB),
    ],
)
def test_view_of_rollups_has_the_rollups_columns(
    warehouse: Warehouse, view: str, measures: dict[str, object]
) -> None:
    assert {ROLLED_OF_JOB[name].rolled for name in measures} <= set(columns(warehouse, view))


def test_kernel_fields_exist() -> None:
    decoded = {"acct": AcctRecord._fields, "taskstats": Taskstats._fields}
    for measure in MEASURES.values():
        if measure.field and measure.source in decoded:
            assert measure.field in decoded[measure.source], measure.name


def test_row_for_the_table_usage_has_its_columns() -> None:
    assert schema.usage.columns.keys() == [*USAGE_COLUMNS]


def test_tables_of_counters_have_the_same_columns_and_delays_are_the_last() -> None:
    counters = [measure.column for measure in COUNTERS]
    assert schema.usage.columns.keys()[3 : 3 + len(counters)] == counters
    assert schema.usage_so_far.columns.keys()[-len(counters) :] == counters
    delays = [measure.delay for measure in COUNTERS]
    assert delays == sorted(delays)
