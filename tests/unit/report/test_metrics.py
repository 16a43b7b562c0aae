"""Counters for Prometheus are exact, never fall, and are bounded; hostile names stay names."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from elsa.cli.main import load
from elsa.report import metrics
from elsa.report.query import warehouse
from elsa.report.render import openmetrics
from elsa.store import database, retention, rollups
from tests.support import given
from tests.support.month import BEGIN_NS, END_NS, HOUR, Month, write
from tests.support.reports import Reports

NOW = given.REAL + 1000 * given.SECOND
DAY = 24 * HOUR


def samples(
    path: Path, now_ns: int = NOW, since_ns: int | None = None, names: int = 200
) -> dict[str, float]:
    with warehouse.reading(path) as connection:
        families = metrics.metrics(connection, now_ns, since_ns, names)
    return parsed(openmetrics.text(families, "openmetrics"))


def parsed(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    values = {name: float(value) for name, _, value in lines}
    assert len(values) == len(lines), "a series has two values"
    return values


def counters(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if "_total" in name}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(load("metrics"), [str(each) for each in arguments])


def test_counters_are_what_jobs_and_users_used(filled: Reports) -> None:
    found = samples(filled.path)
    assert found['elsa_job_cpu_seconds_total{host="here",kind="manual",name="build"}'] == 3.1
    assert found['elsa_job_processes_total{host="here",kind="manual",name="night"}'] == 2
    assert found['elsa_job_runs_total{host="here",kind="manual",name="build"}'] == 1
    assert found['elsa_job_failed_runs_total{host="here",kind="manual",name="build"}'] == 0
    of_users = [value for name, value in found.items() if name.startswith("elsa_user_cpu")]
    everything = filled.json("users", "--columns", "cpu_s")
    assert sum(of_users) == pytest.approx(sum(row["cpu_s"] for row in everything))
    assert found['elsa_open_jobs{kind="manual"}'] == 1
    # No statistics were received, so what was read is not known, and not 0.
    assert not [name for name in found if "read_bytes" in name]


def test_a_job_whose_launched_command_fails_is_counted(reports: Reports) -> None:
    for number, status in enumerate((0, 256, 9), start=1):
        reports.warehouse.process(number, exit_status=status)
        reports.warehouse.job(number, "night")
        reports.warehouse.stay(number, number, how=3)
    found = samples(reports.path)
    night = '{host="here",kind="manual",name="night"}'
    assert found[f"elsa_job_failed_runs_total{night}"] == 2
    assert found[f"elsa_job_runs_total{night}"] == 3


def test_what_a_living_process_used_counts_and_its_end_adds_the_rest(reports: Reports) -> None:
    used = {"utime_us": 2_000_000, "stime_us": 0, "run_ns": 2_000_000_000, "read_bytes": 100}
    reports.warehouse.process(1, start=1, seconds=given.RUNNING)
    reports.warehouse.job(1, "web", members=(1,), kind="service")
    reports.warehouse.interval(1, until=60, **used)
    living = samples(reports.path)
    name = 'elsa_job_cpu_seconds_total{host="here",kind="service",name="web"}'
    assert living[name] == 2
    assert living[name.replace("cpu_seconds", "read_bytes")] == 100
    reports.warehouse.connection.execute(
        f"update process set elapsed_ns = {90 * given.SECOND}, end_clock_id = 1, end_source = 1"
    )
    reports.warehouse.usage(1, **(used | {"utime_us": 3_000_000, "run_ns": 3_000_000_000}))
    ended = samples(reports.path)
    assert ended[name] == 3
    assert ended[name.replace("cpu_seconds", "read_bytes")] == 100
    assert ended[name.replace("cpu_seconds", "processes")] == 1


@pytest.fixture(scope="module")
def month(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("month") / "elsa.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        write(connection, Month(600))
        connection.execute("update job set closed_at_ns = created_at_ns where closed_at_ns is null")
    return path


def test_counters_stay_equal_when_hours_are_rolled_up_and_processes_pruned(
    month: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(month, tmp_path / "elsa.db"))
    before = counters(samples(path, END_NS))
    assert len(before) > 500
    with closing(database.open_for_writing(path)) as connection:
        assert rollups.refresh(connection, path, END_NS + DAY)
        assert counters(samples(path, END_NS)) == pytest.approx(before)
        cutoffs = retention.Cutoffs(None, BEGIN_NS + 15 * DAY, None)
        assert retention.prune(connection, path, cutoffs, lambda _, __: None).processes > 100
    assert counters(samples(path, END_NS)) == pytest.approx(before)


def test_where_sums_are_deleted_too_a_counter_falls_only_to_0_at_the_start_of_a_period(
    month: Path, tmp_path: Path
) -> None:
    """Sums are kept for three days, and a day before the end, counting starts anew each day."""
    path = Path(shutil.copy(month, tmp_path / "elsa.db"))
    now_ns = END_NS - 5 * HOUR
    since_ns = metrics.counted_since("3 days", now_ns)
    assert since_ns == END_NS - DAY
    before = counters(samples(path, now_ns, since_ns))
    assert 0 < len(before) < len(counters(samples(path, now_ns)))
    oldest_ns = now_ns - 3 * DAY
    with closing(database.open_for_writing(path)) as connection:
        cutoffs = retention.Cutoffs(None, oldest_ns, oldest_ns)
        assert retention.prune(connection, path, cutoffs, lambda _, __: None).rollups > 100
    assert counters(samples(path, now_ns, since_ns)) == pytest.approx(before)


@pytest.mark.parametrize(
    ("kept", "start"),
    [
        ("forever", None),
        ("2y", "2026-01-01"),
        ("366 days", "2026-01-01"),
        ("365 days", "2026-11-01"),
        ("31 days", "2026-11-01"),
        ("30 days", "2026-11-23"),
        ("24 hours", "2026-11-23"),
    ],
)
def test_counting_starts_with_a_period_that_is_kept_whole(kept: str, start: str | None) -> None:
    now_ns = 1_795_471_506 * given.SECOND  # 2026-11-23
    found = metrics.counted_since(kept, now_ns)
    day = None if found is None else datetime.fromtimestamp(found / given.SECOND, UTC)
    assert (None if day is None else day.date().isoformat()) == start
    assert (found or 0) % DAY == 0


def test_names_beyond_the_limit_share_a_series_and_the_first_keep_theirs(reports: Reports) -> None:
    def use(number: int, name: str, ticks: int) -> None:
        reports.warehouse.process(number)
        reports.warehouse.acct(number, number, utime=ticks, uid=5000 + number)
        reports.warehouse.job(number, name, members=(number,))

    for number, ticks in enumerate((100, 200, 300), start=1):
        use(number, f"job{number}", ticks)
    before = samples(reports.path, names=2)
    rest = 'elsa_job_cpu_seconds_total{kind="manual",name="",after="2"}'
    first = 'elsa_job_cpu_seconds_total{host="here",kind="manual",name="job1"}'
    assert (before[first], before[rest]) == (1, 3)
    assert not [name for name in before if "job3" in name]
    assert before['elsa_job_runs_total{kind="manual",name="",after="2"}'] == 1
    use(4, "large", 90_000)
    use(5, "job1", 100)
    after = samples(reports.path, names=2)
    assert (after[first], after[rest]) == (2, 903)
    assert after['elsa_user_cpu_seconds_total{uid="",user="",after="2"}'] == 904
    assert all(after[name] >= value for name, value in counters(before).items())


def test_jobs_after_the_fact_are_left_out(reports: Reports) -> None:
    """They would count at once what was used long before."""
    reports.warehouse.process(1)
    reports.warehouse.acct(1, 1, utime=100)
    reports.warehouse.job(1, "late", members=(1,), close_reason="defined", closed_at_ns=NOW)
    assert not [name for name in samples(reports.path) if "late" in name]


def test_hostile_names_stay_label_values(reports: Reports) -> None:
    name = 'a"} 1\nelsa_events_total 5\n\\\x1b[31m<b>'
    reports.warehouse.job(1, name)
    reports.warehouse.job(2, name.replace("\x1b", "\\x1b").replace("\n", "\\n"))
    with warehouse.reading(reports.path) as connection:
        text = openmetrics.text(metrics.metrics(connection, NOW), "openmetrics")
    assert "\x1b" not in text
    # The two look alike when printed, so they share a series: a series may not occur twice.
    (line,) = [each for each in text.splitlines() if each.startswith("elsa_job_runs_total")]
    assert line == (
        r'elsa_job_runs_total{host="here",kind="manual",name="a\"} 1\\nelsa_events_total 5\\n'
        r'\\\\x1b[31m<b>"} 2'
    )
    assert "elsa_events_total 0" in text.splitlines()


def test_health_says_what_jobd_stored_and_lost(reports: Reports) -> None:
    reports.warehouse.insert(
        "collector",
        id=2,
        boot_id=1,
        pid=2**22,
        version="1",
        since_ns=0,
        heard_ns=500 * given.SECOND,
        events=70,
        lost=3,
        job_ids_until=0,
    )
    reports.warehouse.insert(
        "gap", id=2, boot_id=1, kind="overrun", from_ns=given.SECOND, to_ns=3 * given.SECOND, lost=3
    )
    found = samples(reports.path)
    assert found["elsa_jobd_running"] == 0
    assert found["elsa_last_event_timestamp_seconds"] == given.REAL / given.SECOND + 500
    assert (found["elsa_events_total"], found["elsa_lost_events_total"]) == (70, 3)
    assert found['elsa_gap_lost_total{kind="overrun"}'] == 3
    assert found['elsa_gap_seconds_total{kind="overrun"}'] == 2


def test_openmetrics_and_the_older_text_have_the_same_samples(filled: Reports) -> None:
    first, second = (
        run("--db", filled.path, "--format", form).stdout for form in openmetrics.FORMATS
    )
    assert parsed(first) == parsed(second)
    assert first.endswith("\n# EOF\n")
    assert "# EOF" not in second
    assert "# TYPE elsa_job_runs counter" in first
    assert "# TYPE elsa_job_runs_total counter" in second
    described = re.findall(r"^# HELP (\S+) \S", first, re.MULTILINE)
    assert described == re.findall(r"^# TYPE (\S+)", first, re.MULTILINE)
    assert all(name.endswith(unit) for name, unit in re.findall(r"# UNIT (\S+) (\S+)", first))


def test_a_textfile_never_has_a_counter_below_what_it_had(filled: Reports, tmp_path: Path) -> None:
    file = tmp_path / "elsa.prom"
    assert run("--db", filled.path, "--textfile", file).exit_code == 0
    before = parsed(file.read_text())
    assert file.stat().st_mode & 0o777 == 0o644
    # The statistics of a process are received after its record, and are lower.
    filled.warehouse.usage(2, utime_us=5, stime_us=0, run_ns=5000)
    filled.warehouse.process(9)
    filled.warehouse.job(3, "build", members=(9,))
    lower = samples(filled.path)
    name = 'elsa_job_cpu_seconds_total{host="here",kind="manual",name="build"}'
    assert lower[name] < before[name]
    assert run("--db", filled.path, "--textfile", file).exit_code == 0
    after = parsed(file.read_text())
    assert after[name] == before[name]
    runs = name.replace("cpu_seconds", "runs")
    assert after[runs] == before[runs] + 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".elsa-")] == []


def test_counters_of_another_warehouse_begin_anew(filled: Reports, tmp_path: Path) -> None:
    file = tmp_path / "elsa.prom"
    assert run("--db", filled.path, "--textfile", file).exit_code == 0
    # The same boot, recorded from a later moment on.
    filled.warehouse.connection.execute("update clock set since_ns = since_ns + 1")
    filled.warehouse.usage(2, utime_us=5, stime_us=0, run_ns=5000)
    lower = samples(filled.path)
    name = 'elsa_job_cpu_seconds_total{host="here",kind="manual",name="build"}'
    assert lower[name] < parsed(file.read_text())[name]
    assert run("--db", filled.path, "--textfile", file).exit_code == 0
    assert parsed(file.read_text())[name] == lower[name]


def test_a_textfile_keeps_its_mode_and_owner(filled: Reports, tmp_path: Path) -> None:
    file = tmp_path / "elsa.prom"
    file.touch(0o640)
    file.chmod(0o640)
    owner = (65534, 65534) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(file, *owner)
    assert run("--db", filled.path, "--textfile", file).exit_code == 0
    kept = file.stat()
    assert (kept.st_mode & 0o777, kept.st_uid, kept.st_gid) == (0o640, *owner)
    assert file.read_text()


def test_a_damaged_textfile_is_replaced(filled: Reports, tmp_path: Path) -> None:
    file = tmp_path / "elsa.prom"
    file.write_bytes(b"\xff\x00 elsa\nelsa_events_total x\nelsa_events_total\n")
    assert run("--db", filled.path, "--textfile", file).exit_code == 0
    assert parsed(file.read_text())["elsa_events_total"] == 0


@pytest.mark.parametrize("place", ["missing/elsa.prom", "fifo.prom"])
def test_a_place_that_cannot_be_written_is_refused_in_one_line(
    filled: Reports, tmp_path: Path, place: str
) -> None:
    os.mkfifo(tmp_path / "fifo.prom")
    done = run("--db", filled.path, "--textfile", tmp_path / place)
    assert done.exit_code
    assert str(tmp_path) in str(done.exception)
    assert "\n" not in str(done.exception)


def test_counters_may_start_anew_with_a_period() -> None:
    def family(value: str, since: str) -> list[openmetrics.Family]:
        return [
            openmetrics.Family("a", "counter", "", "A", {(): value}),
            openmetrics.Family("since", "gauge", "", "B", {(): since}),
        ]

    before = openmetrics.text(family("7", "1"), "text")
    same, later = (
        openmetrics.text(openmetrics.never_below(family("0", since), before, ("since",)), "text")
        for since in ("1", "2")
    )
    assert parsed(same)["a_total"] == 7
    assert parsed(later)["a_total"] == 0


def test_defaults_of_the_command_are_those_of_the_report() -> None:
    parameters = {each.name: each for each in load("metrics").params}
    assert parameters["limit"].default == metrics.NAMES
    assert tuple(parameters["form"].type.choices) == openmetrics.FORMATS  # type: ignore[attr-defined]
