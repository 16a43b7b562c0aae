"""Every report on a month of a busy host against plain Python over the raw rows of the tables,
which knows nothing of SQL.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

import pytest

from elsa.report import compare, completeness, jobs, processes, tree, usage
from elsa.report.query import rollup_source, warehouse
from elsa.report.query.options import resolve
from elsa.report.query.process_rows import rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, listed
from elsa.report.query.times import Window
from elsa.report.render.output import Output
from elsa.report.render.writer import Report
from elsa.state.codes import How, Join
from elsa.store import rollups
from tests.support.month import BEGIN_NS, COLUMNS, HOUR, Month, write

ALL = Output("json", columns="all")
DAY = 24 * HOUR
SUMS = ("utime_ticks", "minflt", "run_ns", "read_bytes")
WINDOW = Window(BEGIN_NS + 5 * DAY + 1234, BEGIN_NS + 9 * DAY + 7 * HOUR + 99)


class Candidate(NamedTuple):
    """What is known of one process, or of one record that is joined to none."""

    process_id: int | None
    acct_id: int | None
    parent: int | None
    start_ns: int
    started_ns: int
    ended_ns: int | None
    command: str
    uid: int
    gid: int | None
    exit_status: int | None
    figures: dict[str, int | None]


class Raw:
    """The raw rows, and what follows from them."""

    def __init__(self, month: Month) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for batch in month.batches():
            for table, found in batch.items():
                self.rows[table] += [dict(zip(COLUMNS[table], row, strict=True)) for row in found]
        names = {row["id"]: row["name"] for row in self.rows["comm"]}
        clocks = {row["id"]: row["offset_ns"] for row in self.rows["clock"]}
        records = {
            row["process_id"]: row
            for row in self.rows["acct"]
            if row["process_id"] and row["join_outcome"] != Join.SELF
        }
        measured = {row["process_id"]: row for row in self.rows["usage"]}
        self.lives = []
        for row in self.rows["process"]:
            record, told = records.get(row["id"]), measured.get(row["id"])
            ended = (
                None
                if row["elapsed_ns"] is None
                else row["start_ns"] + row["elapsed_ns"] + clocks[row["end_clock_id"]]
            )
            status = (
                row["exit_status"] if row["exit_status"] is not None else field(record, "exitcode")
            )
            self.lives.append(
                Candidate(
                    row["id"],
                    field(record, "id"),
                    row["parent_id"],
                    row["start_ns"],
                    row["start_ns"] + clocks[row["clock_id"]],
                    ended,
                    names[record["comm_id"] if record else row["comm_id"]],
                    record["uid"] if record else row["uid"],
                    field(record, "gid"),
                    status,
                    figures(record, told),
                )
            )
        self.parts = [*self._parts(names, clocks)]
        for row in self.rows["acct"]:
            if row["process_id"] is None and row["join_outcome"] != Join.SELF:
                ended = (row["btime"] + int(row["etime"]) // 100) * 10**9
                times = (0, row["btime"] * 10**9, ended)
                whose = (names[row["comm_id"]], row["uid"], row["gid"], row["exitcode"])
                self.lives.append(
                    Candidate(None, row["id"], None, *times, *whose, figures(row, None))
                )
        self.parts += [life for life in self.lives if life.process_id is None]
        self.memberships = self.rows["membership"] + [
            {
                "job_id": row["inherited_job_id"],
                "process_id": row["id"],
                "since_ns": 0,
                "until_ns": None,
                "how": How.INHERITED,
            }
            for row in self.rows["process"]
            if row["inherited_job_id"] is not None
        ]

    def _parts(self, names: dict[int, str], clocks: dict[int, int]) -> Iterator[Candidate]:
        """What was used by each reading, as if it were a life that ended then, and each life with
        what is left. It also has the user and name of the process while it ran.
        """
        readings = {row["id"]: row for row in self.rows["usage_reading"]}
        processes = {row["id"]: row for row in self.rows["process"]}
        of_process = defaultdict(list)
        for row in self.rows["usage_interval"]:
            of_process[row["process_id"]].append(row)
        for place, life in enumerate(self.lives):
            assert life.process_id is not None
            sums = {"run_ns": 0, "read_bytes": 0}
            process = processes[life.process_id]
            for row in of_process[life.process_id]:
                used = {
                    "run_ns": 1000 * (row["user_us"] + row["system_us"]),
                    "read_bytes": row["read_bytes"],
                }
                sums = {key: value + used[key] for key, value in sums.items()}
                reading = readings[row["reading_id"]]
                yield life._replace(
                    process_id=None,
                    acct_id=None,
                    ended_ns=reading["until_ns"] + clocks[reading["clock_id"]] - 1,
                    command=names[process["comm_id"]],
                    uid=process["uid"],
                    gid=None,
                    figures=dict.fromkeys(SUMS) | used,
                )
            if of_process[life.process_id]:
                known = {key: max(life.figures[key] or 0, value) for key, value in sums.items()}
                left = {key: value - sums[key] for key, value in known.items()}
                self.lives[place] = life._replace(figures={**life.figures, **known})
                yield life._replace(figures={**life.figures, **left})
            else:
                yield life

    def used(self, wanted: Callable[[Candidate], bool] = lambda _: True) -> list[Candidate]:
        """What was used up to some end or reading."""
        return [part for part in self.parts if part.ended_ns is not None and wanted(part)]

    def ended(self, wanted: Callable[[Candidate], bool] = lambda _: True) -> list[Candidate]:
        return [life for life in self.lives if life.ended_ns is not None and wanted(life)]


def field(row: dict[str, Any] | None, name: str) -> int | None:
    return None if row is None else row[name]


def figures(record: dict[str, Any] | None, stats: dict[str, Any] | None) -> dict[str, int | None]:
    return {
        "utime_ticks": field(record, "utime"),
        "minflt": field(record, "minflt"),
        "run_ns": field(stats, "run_ns"),
        "read_bytes": field(stats, "read_bytes"),
    }


def added(lives: list[Candidate], key: Callable[[Candidate], Any]) -> dict[Any, tuple[Any, ...]]:
    """By key: processes, records, and the sums of what is known."""
    groups = defaultdict(list)
    for life in lives:
        groups[key(life)].append(life)
    return {
        name: (
            sum(life.process_id is not None for life in found),
            sum(life.acct_id is not None for life in found),
            *(total([life.figures[measure] for life in found]) for measure in SUMS),
        )
        for name, found in groups.items()
    }


def total(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


@pytest.fixture(scope="module")
def raw() -> Raw:
    return Raw(Month(3000, seed=3))


@pytest.fixture(scope="module", params=["from processes", "from rollups"])
def connection(request: pytest.FixtureRequest, template: Path) -> Iterator[sqlite3.Connection]:
    """The month in a warehouse, its last hours rolled up or none."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        with closing(sqlite3.connect(template)) as source:
            source.backup(made)
        write(made, Month(3000, seed=3))
        if request.param == "from rollups":
            assert rollups.refresh(
                made, template.with_name("month.db"), BEGIN_NS + 40 * DAY, most=150
            )
        made.create_function("user_name", 1, warehouse.user_name)
        made.create_function("group_name", 1, warehouse.group_name)
        yield made


def told(report: Report) -> list[dict[str, Any]]:
    return [dict(zip(report.columns, row, strict=True)) for row in report.rows]


def by(report: Report, *keys: str) -> dict[Any, tuple[Any, ...]]:
    found = {
        tuple(row[key] for key in keys): tuple(
            row[name] for name in ("processes", "records", *SUMS)
        )
        for row in told(report)
    }
    return {key[0] if len(keys) == 1 else key: values for key, values in found.items()}


def iso(length: int) -> Callable[[Candidate], str]:
    """The hour, day or month of an end in UTC, which is the zone of these tests."""

    def label(life: Candidate) -> str:
        assert life.ended_ns is not None
        text = datetime.fromtimestamp(life.ended_ns // 10**9, UTC).isoformat()
        return text[:length] if length < 13 else f"{text[:13]}:00+00:00"

    return label


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import time

    monkeypatch.setenv("TZ", "UTC0")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("window", [Window(), WINDOW], ids=["all", "window"])
def test_commands_users_groups_and_periods_are_what_plain_python_adds_up(
    connection: sqlite3.Connection, raw: Raw, window: Window
) -> None:
    lives = [
        life
        for life in raw.used()
        if not window or (window.since or 0) <= (life.ended_ns or 0) < (window.until or 0)
    ]
    selection = Selection(window)
    commands = by(usage.usage(connection, usage.COMMANDS, selection, ALL), "command", "forked_only")
    merged: dict[str, list[Any]] = {}
    for (command, _), values in commands.items():
        merged[command] = [
            total([a, b]) for a, b in zip(merged.get(command, [None] * 6), values, strict=True)
        ]
    expected = added(lives, lambda life: life.command)
    assert {key: value[1:] for key, value in merged.items()} == {
        key: list(value[1:]) for key, value in expected.items()
    }
    for of, key, length in (
        (usage.HOURS, "hour", 13),
        (usage.DAYS, "day", 10),
        (usage.MONTHS, "month", 7),
    ):
        assert by(usage.usage(connection, of, selection, ALL, everything=True), key) == added(
            lives, iso(length)
        )
    for of, name in ((usage.USERS, "uid"), (usage.GROUPS, "gid")):
        got = by(usage.usage(connection, of, selection, ALL, everything=True), name)
        expected = added(lives, lambda life, name=name: getattr(life, name))  # type: ignore[misc]
        assert {key: value[1:] for key, value in got.items() if any(value[1:])} == {
            key: value[1:] for key, value in expected.items() if any(value[1:])
        }


def test_choices_together_choose_what_plain_python_does(
    connection: sqlite3.Connection, raw: Raw
) -> None:
    asked = {
        "command": ("command1*",),
        "exit": ("nonzero",),
        "user": tuple(str(uid) for uid in range(1000, 1020)),
    }
    selection = resolve(
        connection,
        asked | {"since": ("2026-10-06",), "until": ("2026-10-26T07:30",)},
        datetime.now(UTC),
    )
    since, until = (
        int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9
        for text in ("2026-10-06", "2026-10-26T07:30")
    )

    def wanted(life: Candidate) -> bool:
        return (
            since <= (life.ended_ns or 0) < until
            and life.command.startswith("command1")
            and bool(life.exit_status)
            and life.uid < 1020
        )

    lives = raw.ended(wanted)
    assert len(lives) > 10
    assert by(usage.usage(connection, usage.DAYS, selection, ALL, everything=True), "day") == added(
        raw.used(wanted), iso(10)
    )
    rows = told(
        processes.processes(
            connection, processes.LAST, selection, Output("json", columns="process_id,acct_id")
        )
    )
    ordered = sorted(lives, key=lambda life: (-(life.ended_ns or 0), -(life.process_id or 0)))
    assert {(row["process_id"], row["acct_id"]) for row in rows} == {
        (life.process_id, life.acct_id) for life in lives
    }
    assert [row["process_id"] for row in rows if row["process_id"]] == [
        life.process_id for life in ordered if life.process_id
    ]
    limited = told(
        processes.processes(
            connection,
            processes.LAST,
            selection,
            Output("json", columns="process_id,acct_id", limit=7),
        )
    )
    assert limited == rows[:7]


def charged(raw: Raw) -> dict[int, dict[int, int | None]]:
    """CPU nanoseconds of every member of every job: the counters at the end of its stay less those
    before it, where they were read.
    """
    read = {
        (row["process_id"], row["edge_ns"]): 1000 * (row["user_us"] + row["system_us"])
        for row in raw.rows["usage_so_far"]
    }
    whole = {life.process_id: life.figures["run_ns"] for life in raw.lives}
    found: dict[int, dict[int, int | None]] = defaultdict(dict)
    for row in raw.memberships:
        value, since_ns, until_ns = whole[row["process_id"]], row["since_ns"], row["until_ns"]
        edges = [edge_ns for edge_ns in (since_ns, until_ns) if edge_ns]
        if edges and all((row["process_id"], edge_ns) in read for edge_ns in edges):
            end = read[row["process_id"], until_ns] if until_ns else value
            before = read[row["process_id"], since_ns] if since_ns else 0
            value = None if end is None else max(0, end - before)
        found[row["job_id"]][row["process_id"]] = value
    return found


def test_jobs_are_charged_what_plain_python_charges_and_their_days_add_up_to_them(
    connection: sqlite3.Connection, raw: Raw
) -> None:
    expected = {
        job: (len(members), total(list(members.values()))) for job, members in charged(raw).items()
    }
    listed = told(jobs.jobs(connection, Selection(), ALL))
    assert {
        row["job_id"]: (row["processes"], row["run_ns"]) for row in listed if row["processes"]
    } == expected
    for job in list(expected)[::9]:
        days = told(
            usage.usage(connection, usage.DAYS, Selection(jobs=(job,)), ALL, everything=True)
        )
        assert total([row["run_ns"] for row in days]) == expected[job][1]
        (row,) = [row for row in listed if row["job_id"] == job]
        assert round(sum((day["cpu_s"] or 0) * 1e9 for day in days)) == round(
            (row["cpu_s"] or 0) * 1e9
        )


def test_several_jobs_count_a_process_once_and_in_full_if_one_of_them_has_it_in_full(
    connection: sqlite3.Connection, raw: Raw
) -> None:
    selection = resolve(connection, {"tag": ("project=p1",), "job": ("job*",)}, datetime.now(UTC))
    tagged = [row["job_id"] for row in raw.rows["job_tag"] if row["value"] == "p1"]
    assert sorted(selection.jobs or ()) == sorted(tagged)
    wide = Selection(jobs=tuple(sorted(charged(raw))))
    stays = {
        (row["job_id"], row["process_id"]): row["since_ns"] == 0 and row["until_ns"] is None
        for row in raw.memberships
    }
    for chosen in (selection, wide):
        values: dict[int, int | None] = {}
        whole: set[int] = set()
        for job, members in sorted(charged(raw).items()):
            for process, value in members.items() if job in (chosen.jobs or ()) else ():
                if process not in values or (stays[job, process] and process not in whole):
                    values[process] = value
                if stays[job, process]:
                    whole.add(process)
        found = told(usage.usage(connection, usage.USERS, chosen, ALL, everything=True))
        assert sum(row["processes"] for row in found) == len(values)
        assert total([row["run_ns"] for row in found]) == total(list(values.values()))


@pytest.fixture
def odd(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """The month, with a second stay of some, and stays in further jobs of others: of whole lives
    and of parts, in older jobs and newer.
    """
    connection.execute("savepoint odd")
    found = connection.execute(
        "select job_id, process_id, since_ns, until_ns from all_memberships"
        " order by process_id, job_id"
    ).fetchall()
    for number, (job, process, since, until) in enumerate(found[::7]):
        last = bool(number % 2)
        if until is not None:
            row = (job, process, until + 1000, None if last else until + 2000)
        else:
            row = (
                (job + number) % 140 + 1,
                process,
                since if number % 3 else since + 5,
                None if last else since + 10,
            )
        connection.execute(
            "insert or ignore into membership (job_id, process_id, since_ns, until_ns, how)"
            " select ?1, ?2, ?3, ?4, 4 where not exists"
            " (select 1 from process where id = ?2 and inherited_job_id = ?1)",
            row,
        )
    yield connection
    connection.execute("rollback to odd")
    connection.execute("release odd")


def test_members_for_their_whole_lifetime_are_read_without_the_view_and_give_the_same_sums(
    odd: sqlite3.Connection,
) -> None:
    columns = [
        f"u.{name}"
        for (name,) in odd.execute("select name from pragma_table_info('job_process_usage')")
    ]
    ids = [job for (job,) in odd.execute("select distinct job_id from all_memberships")]
    order = "order by u.job_id, u.process_id"
    for chosen in (None, tuple(ids), *((job,) for job in ids[::29])):
        wanted = "" if chosen is None else f"where u.job_id in ({listed(chosen)})"
        expected = odd.execute(
            f"select {', '.join(columns)} from job_process_usage as u {wanted} {order}"
        ).fetchall()
        made = rows(Selection(jobs=chosen), columns, members=True)
        assert (
            odd.execute(f"select {', '.join(columns)} {made.sql} {order}", made.values).fetchall()
            == expected
        )
    kinds = odd.execute("select distinct part_life, memberships from job_process_usage").fetchall()
    assert set(kinds) == {(0, 1), (1, 1), (1, 2)}


def test_the_sums_of_some_jobs_are_those_of_the_view_of_all(odd: sqlite3.Connection) -> None:
    expected = {row[0]: row for row in odd.execute("select * from job_usage")}
    assert len(expected) > 100
    for chosen in (list(expected), list(expected)[::5], *([job] for job in list(expected)[::11])):
        found = odd.execute(f"select * from {rollup_source.job_usage(listed(chosen))}").fetchall()
        assert {row[0]: row for row in found} == {job: expected[job] for job in chosen}
    newest = jobs_told(odd, Output("json", columns="all", limit=30))
    assert newest == jobs_told(odd, Output("json", columns="all", sort="-job_id"))[:30]


def jobs_told(connection: sqlite3.Connection, output: Output) -> list[dict[str, Any]]:
    return told(jobs.jobs(connection, Selection(), output))


def test_the_query_for_the_sums_of_jobs_also_counts_the_sources(
    odd: sqlite3.Connection,
) -> None:
    wide = tuple(job for (job,) in odd.execute("select id from job"))
    for chosen in (wide, *((job,) for job in wide[::9])):
        for choices in ((), (Condition("u.uid < 1030"),)):
            selection = Selection(jobs=chosen, choices=choices)
            asked, _ = usage.query(usage.USERS, selection, ALL)
            found = asked.run(odd)
            names = tuple(column[0] for column in found.description)
            seen = usage._classes(usage.USERS, selection, names, found.fetchall())
            assert seen == completeness.classes(odd, selection)


def test_trees_hold_every_member_and_every_branch_all_below_it(
    connection: sqlite3.Connection, raw: Raw
) -> None:
    parents = {life.process_id: life.parent for life in raw.lives}
    for job, members in list(charged(raw).items())[::7]:
        processes, _ = tree.load(connection, Selection(jobs=(job,)))
        single, folded = (tree.Branches(processes, folding=folding) for folding in (False, True))
        roots = [single.sums(root) for root in single.below([tree.TOP])]
        merged = [folded.sums(root) for root in folded.below([tree.TOP])]
        assert sum(1 for process in members if parents[process] not in members) == len(roots)
        for place in range(len(roots[0])):
            total_of_roots = total([root[place] for root in roots])
            assert total([root[place] for root in merged]) == total_of_roots
        assert total([root[-1] for root in roots]) == len(members)


def test_runs_are_compared_by_the_medians_of_plain_python(
    connection: sqlite3.Connection, raw: Raw
) -> None:
    used = charged(raw)
    sides = compare.sides(connection, ["job1", "job2", "job?"], None).sides
    found = {
        (row["measure"], row["side"]): row
        for row in told(compare.compare(connection, sides, ALL).measures)
    }
    for side in sides:
        counts = [len(used[job]) for job in side.jobs]
        row = found["processes", side.name]
        assert (row["runs"], row["p50"]) == (
            len(counts),
            sorted(counts)[len(counts) // 2] if len(counts) % 2 else row["p50"],
        )
        if len(counts) > 1:
            assert row["p95"] == pytest.approx(quantiles(counts, n=20, method="inclusive")[-1])
    assert max(len(side.jobs) for side in sides) > 10
