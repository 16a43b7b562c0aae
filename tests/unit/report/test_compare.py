"""`elsa report compare`: medians and percentiles over runs, what got worse, and through which
commands.
"""

from __future__ import annotations

import csv
import io
import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.errors import ElsaError, UsageError
from elsa.kernel import accounts
from elsa.report import compare
from tests.support.reports import Reports

SECONDS = (10, 12, 12, 11, 13, 20)


@pytest.fixture
def nightly(reports: Reports) -> Reports:
    """Six runs of `nightly`, the last of them slower through cc alone, and a single run of
    `other`.
    """
    number = 0
    for run, seconds in enumerate(SECONDS, start=1):
        reports.warehouse.job(run, "nightly")
        for comm, cpu in (("cc", seconds), ("ld", 2)):
            number += 1
            reports.warehouse.process(number, start=1000 * run, seconds=seconds, comm=comm)
            reports.warehouse.usage(
                number,
                run_ns=cpu * 10**9,
                utime_us=cpu * 10**6,
                stime_us=0,
                rss_kib=2048,
                read_bytes=4096,
            )
            reports.warehouse.stay(run, number)
    reports.warehouse.job(9, "other", members=(1,))
    return reports


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=30))
def test_percentiles_are_those_of_the_standard_library(values: list[float]) -> None:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    assert compare.percentile(values, 0.5) == pytest.approx(cuts[49])
    assert compare.percentile(values, 0.95) == pytest.approx(cuts[94])


def test_last_run_of_a_name_is_compared_with_those_before_it(nightly: Reports) -> None:
    found = nightly.json("compare", "nightly")
    by = {(row["measure"], row["side"]): row for row in found["measures"]}
    before, last = by["wall_s", "before"], by["wall_s", "last"]
    assert (before["runs"], before["p50"], before["least"], before["most"], before["verdict"]) == (
        5,
        12,
        10,
        13,
        None,
    )
    assert (last["runs"], last["p50"], last["change_percent"], last["verdict"]) == (
        1,
        20,
        pytest.approx(66.666667),
        "worse",
    )
    assert (by["rss_kib", "last"]["change_percent"], by["rss_kib", "last"]["verdict"]) == (
        0,
        "same",
    )
    cc, ld = found["commands"]
    assert (cc["command"], cc["base_cpu_s"], cc["new_cpu_s"], cc["more_cpu_s"]) == (
        "cc",
        11.6,
        20.0,
        8.4,
    )
    assert (ld["command"], ld["more_cpu_s"], ld["base_processes"], ld["new_processes"]) == (
        "ld",
        0.0,
        1.0,
        1.0,
    )
    table = nightly.run("compare", "nightly").stdout
    assert (
        " ".join(
            next(
                line for line in table.splitlines() if line.startswith("wall") and "last" in line
            ).split()
        )
        == "wall last 1 20.00 s 20.00 s +66.7 worse"
    )


def test_jobs_are_compared_with_the_first_and_a_name_stands_for_its_runs(nightly: Reports) -> None:
    rows = [
        row
        for row in nightly.json("compare", "nightly", "other")["measures"]
        if row["measure"] == "cpu_s"
    ]
    assert [(row["side"], row["runs"], row["p50"], row["verdict"]) for row in rows] == [
        ("nightly", 6, 14.0, None),
        ("other", 1, 10.0, "better"),
    ]
    rows = [
        row
        for row in nightly.json("compare", "1", "2", "night*", "--runs", "2")["measures"]
        if row["measure"] == "wall_s"
    ]
    assert [(row["side"], row["runs"], row["p50"]) for row in rows] == [
        ("1", 1, 10),
        ("2", 1, 12),
        ("night*", 2, 16.5),
    ]
    lines = list(
        csv.DictReader(io.StringIO(nightly.run("compare", "1", "5", "--format", "csv").stdout))
    )
    assert {line["measure"] for line in lines} == set(compare.COMPARED)


def test_run_that_is_not_over_is_said_and_its_wall_time_is_not_known(nightly: Reports) -> None:
    nightly.warehouse.job(10, "nightly")
    nightly.warehouse.process(50, seconds=None)
    nightly.warehouse.stay(10, 50)
    found = nightly.run("compare", "nightly")
    assert "job 10 still runs" in found.stderr
    rows = {
        (row["measure"], row["side"]): row for row in nightly.json("compare", "nightly")["measures"]
    }
    assert (
        rows["wall_s", "last"]["runs"],
        rows["wall_s", "last"]["p50"],
        rows["wall_s", "last"]["change_percent"],
    ) == (0, None, None)


def test_single_run_has_nothing_to_be_compared_with(nightly: Reports) -> None:
    with pytest.raises(UsageError, match="other is a single job; name a second job"):
        nightly.run("compare", "other")
    with pytest.raises(UsageError, match="no job has the id or name"):
        nightly.run("compare", "nightly", "nope")
    assert "from job_usage" in nightly.run("compare", "nightly", "--explain").stdout


def run_of(reports: Reports, job: int, seconds: int) -> None:
    """One more run of nightly."""
    reports.warehouse.job(job, "nightly")
    reports.warehouse.process(100 + job, start=1000 * job, seconds=seconds, comm="cc")
    usage = {"run_ns": seconds * 10**9, "utime_us": seconds * 10**6, "stime_us": 0}
    reports.warehouse.usage(100 + job, rss_kib=2048, read_bytes=4096, **usage)
    reports.warehouse.stay(job, 100 + job)


def test_a_gate_fails_what_is_much_larger_than_earlier_runs_and_their_spread(
    nightly: Reports,
) -> None:
    few = nightly.run("compare", "nightly", "--runs", "5", "--fail-on", "cpu:+20%")
    assert "no verdict on cpu: it is known of 4 runs" in few.stderr
    run_of(nightly, 10, 14)
    run_of(nightly, 11, 17)
    # The median of the earlier runs is 14 s; 17 s is more than 20 % above, but within the spread.
    within = nightly.run("compare", "nightly", "--fail-on", "cpu:+20%,peak:10%")
    assert "verdict on" not in within.stderr
    run_of(nightly, 12, 26)
    with pytest.raises(ElsaError) as error:
        nightly.run("compare", "nightly", "--fail-on", "peak:+10%", "--fail-on", "CPU:20 %")
    assert error.value.exit_code == 1
    assert str(error.value) == (
        "cpu 26.00 s is 85.7 % more than the median of 8 runs, 14.00 s (allowed: +20 %)"
    )
    assert nightly.run("compare", "nightly", "--fail-on", "cpu:+100%").exit_code == 0
    # Of equal runs, any growth is outside their spread: the gate alone decides.
    with pytest.raises(ElsaError, match="read"):
        nightly.warehouse.connection.execute(
            "update usage set read_bytes = 1 where process_id < 112"
        )
        nightly.run("compare", "nightly", "--fail-on", "read:+0%")


@pytest.mark.parametrize("gate", ["cpu", "cpu:20", "cpu:-20%", ":20%", "zzz:20%", ""])
def test_a_gate_that_cannot_be_read_is_refused(nightly: Reports, gate: str) -> None:
    with pytest.raises(UsageError, match="--fail-on"):
        nightly.run("compare", "nightly", "--fail-on", gate)


def test_a_gate_is_not_taken_over_by_a_job_of_another_owner_or_kind(nightly: Reports) -> None:
    owner = accounts.user(1000)
    chosen = f"manual:{owner}:nightly"
    with pytest.raises(ElsaError, match="wall 20"):
        nightly.run("compare", "nightly", "--fail-on", "wall:+20%")
    nightly.warehouse.job(20, "nightly", owner_uid=54321, members=(2,))
    for name in ("nightly", "night*", "nightly#-1"):
        end = name.removeprefix("night")
        with pytest.raises(UsageError) as error:
            nightly.run("compare", name, "nightly", "--fail-on", "cpu:+20%")
        assert str(error.value) == (
            f"jobs of several kinds, owners or hosts have the name {name}; write which is meant:"
            f" manual:54321:night{end}, manual:{owner}:night{end}"
        )
    nightly.warehouse.job(21, "nightly", kind="service", members=(3,))
    for choice in ([chosen], ["nightly", "--user", "1000", "--kind", "manual"]):
        with pytest.raises(ElsaError, match="wall 20") as failed:
            nightly.run("compare", *choice, "--fail-on", "wall:+20%")
        assert failed.value.exit_code == 1
    # Ids are always one job each.
    assert nightly.run("compare", "5", "20", "--fail-on", "cpu:+20%").exit_code == 0


def test_a_single_run_is_not_said_to_be_the_only_job_of_its_name(nightly: Reports) -> None:
    nightly.warehouse.job(20, "nightly", owner_uid=54321, members=(2,))
    owner = accounts.user(1000)
    words = (
        f"this is 54321:nightly of 54321; the same name have {owner}:nightly \\(latest job 6\\);"
        " the first of these has a single run: write one of the others, or name a second job"
    )
    with pytest.raises(UsageError, match=words):
        nightly.run("compare", "nightly")


def test_fewer_than_five_runs_give_figures_but_no_verdict(nightly: Reports) -> None:
    few = nightly.run("compare", "nightly", "--runs", "5")
    assert "no verdict: 4 runs to compare with; at least 5 are needed" in few.stderr
    rows = nightly.json("compare", "nightly", "--runs", "5")["measures"]
    assert {row["verdict"] for row in rows} == {None}
    wall = next(row for row in rows if (row["measure"], row["side"]) == ("wall_s", "last"))
    assert wall["change_percent"] == pytest.approx(66.666667)
    assert "no verdict: 1 run" in nightly.run("compare", "1", "2").stderr
    assert "no verdict" not in nightly.run("compare", "nightly").stderr


def test_only_runs_of_the_kind_owner_and_host_of_the_latest_are_compared(
    nightly: Reports,
) -> None:
    nightly.warehouse.job(20, "nightly", kind="service", members=(1,))
    nightly.warehouse.job(21, "nightly", owner_uid=54321, members=(2,))
    nightly.warehouse.job(22, "nightly", owner_uid=54321, members=(3,))

    def before(*arguments: str) -> int:
        rows = nightly.json("compare", *arguments)["measures"]
        return int(next(row["runs"] for row in rows if row["side"] == "before"))

    found = nightly.run("compare", "nightly")
    owner = accounts.user(1000)
    assert (
        f"this is 54321:nightly of 54321; the same name have manual:{owner}:nightly (latest job 6),"
        " service:nightly (latest job 20)"
    ) in found.stderr
    assert before("nightly") == 1
    assert before("1000:nightly", "--kind", "manual") == 5
    assert before("nightly", "--user", "1000", "--kind", "manual") == 5
    assert before(f"manual:{owner}:nightly") == before("manual:1000:night*") == 5
    with pytest.raises(UsageError, match="single job"):
        nightly.run("compare", "service:nightly")
    with pytest.raises(UsageError, match="no run of nightly is among the chosen jobs"):
        nightly.run("compare", "nightly", "--kind", "session")


def test_a_window_compares_the_runs_that_started_in_it(nightly: Reports) -> None:
    connection = nightly.warehouse.connection
    connection.execute("update job set created_at_ns = id * 86400000000000 where id < 9")
    window = ("--since", "1970-01-04T00:00Z", "--until", "1970-01-07T00:00Z")
    found = nightly.run("compare", "nightly", *window, "--format", "json")
    report = json.loads(found.stdout)
    assert report["window"]["since"].startswith("1970-01-04T00:00")
    wall = [
        (row["side"], row["runs"], row["p50"])
        for row in report["comparison"]["measures"]
        if row["measure"] == "wall_s"
    ]
    assert wall == [("before", 2, 11.5), ("last", 1, 13)]
    explained = nightly.run("compare", "nightly", *window, "--explain").stdout
    assert "[3, 4, 5]" in explained


def test_peak_of_one_process_is_not_compared_with_that_of_all_processes_of_a_job(
    nightly: Reports,
) -> None:
    def peaks() -> dict[str, tuple[int, float | None]]:
        measures = nightly.json("compare", "nightly")["measures"]
        rows = [row for row in measures if row["measure"] == "job_peak_kib"]
        return {row["side"]: (row["runs"], row["p50"]) for row in rows}

    assert peaks() == {"before": (5, 2048), "last": (1, 2048)}
    set_memory = "update job set memory_kib = ?, memory_by = ? where name = 'nightly' and {}"
    nightly.warehouse.connection.execute(
        set_memory.format("id = (select max(id) from job where name = 'nightly')"), (9000, 1)
    )
    assert peaks() == {"before": (0, None), "last": (1, 9000)}
    nightly.warehouse.connection.execute(set_memory.format("memory_by is null"), (8000, 2))
    assert peaks() == {"before": (5, 8000), "last": (1, 9000)}
    # One of them was read with less than its largest process had: a job of one process.
    least = "(select min(id) from job where name = 'nightly')"
    nightly.warehouse.connection.execute(set_memory.format(f"id = {least}"), (1000, 1))
    assert peaks() == {"before": (5, 8000), "last": (1, 9000)}
    nightly.warehouse.connection.execute(set_memory.format(f"id = {least}"), (8000, 2))
    note = (
        "job peak: of 1 job sampled; of 5 jobs sampled, an upper bound: shared memory counts for"
        " each process"
    )
    assert note in nightly.run("compare", "nightly").stderr
