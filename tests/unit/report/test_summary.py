"""`elsa report job --summary ja`: the totals of CSA's ja."""

from __future__ import annotations

import csv
import io
import json

import pytest

from elsa.report import summary
from elsa.report.render.columns import COLUMNS
from tests.support.reports import Reports


@pytest.fixture
def measured(filled: Reports) -> Reports:
    """Job `build` with taskstats of both of its processes, without delays other than the CPU's."""
    counts = {
        "coremem_mb_us": 512_000_000,
        "read_bytes": 3_145_728,
        "write_syscalls": 2048,
        "cpu_delay_ns": 250_000_000,
    }
    for number in (1, 2):
        filled.warehouse.usage(
            number, utime_us=1_500_000, stime_us=500_000, rss_kib=number * 1024, **counts
        )
    return filled


def test_summary_has_span_cpu_memory_transfers_delays_commands_and_billing_units(
    measured: Reports,
) -> None:
    found = measured.json("job", "build", "--summary", "ja")
    assert (found["started_at"], found["ended_at"], found["wall_s"]) == (
        "2026-01-02T03:04:15.000Z",
        "2026-01-02T03:04:35.000Z",
        20.0,
    )
    assert (found["user_s"], found["system_s"], found["cpu_s"], found["processes"]) == (
        3.0,
        1.0,
        4.0,
        2,
    )
    assert (found["coremem_mb_s"], found["virtmem_mb_s"], found["rss_kib"]) == (1024.0, None, 2048)
    assert (
        found["read_bytes"],
        found["write_syscalls"],
        found["cpu_delay_ns"],
        found["blkio_delay_ns"],
    ) == (
        6291456,
        4096,
        500_000_000,
        None,
    )
    assert found["sbu"] == 5.0
    assert set(found) <= set(COLUMNS)
    (row,) = csv.DictReader(
        io.StringIO(measured.run("job", "build", "--summary", "ja", "--format", "csv").stdout)
    )
    assert (row["cpu_s"], row["sbu"], row["blkio_delay_ns"]) == ("4.0", "5.0", "")


def test_summary_says_how_billing_units_are_made_and_which_delays_are_not_counted(
    measured: Reports,
) -> None:
    result = measured.run("job", "build", "--summary", "ja")
    lines = {" ".join(line.split()) for line in result.stdout.splitlines()}
    assert {"wall 20.00 s", "cpu delay 0.50 s", "peak 2.0 MiB", "read 6.0 MiB", "sbu 5.00"} <= lines
    assert "block I/O delay not counted: kernel.task_delayacct is 0" in lines
    assert summary.SBU_WORDS in lines
    assert all(line.startswith("elsa-report: CPU time") for line in result.stderr.splitlines())


def test_summary_of_a_window_has_what_ended_in_it(measured: Reports) -> None:
    found = measured.json("job", "build", "--summary", "ja", "--until", "2026-01-02T03:04:30Z")
    assert (found["processes"], found["cpu_s"], found["wall_s"], found["sbu"]) == (1, 2.0, 5.0, 2.5)


def test_summary_without_taskstats_has_ticks_and_nothing_that_is_not_known(filled: Reports) -> None:
    result = filled.run("job", "build", "--summary", "ja", "--format", "jsonl")
    found = json.loads(result.stdout)
    assert (found["cpu_s"], found["coremem_mb_s"], found["sbu"], found["with_ticks"]) == (
        3.1,
        None,
        None,
        2,
    )
    assert "task_delayacct" not in filled.run("job", "build", "--summary", "ja").stdout


def test_summary_of_a_job_that_nothing_was_in_says_so(filled: Reports) -> None:
    filled.warehouse.job(9, "empty")
    result = filled.run("job", "empty", "--summary", "ja")
    assert "no process of that job has ended yet" in result.stderr
    assert filled.json("job", "9", "--summary", "ja")["processes"] == 0
