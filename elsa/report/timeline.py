"""CPU time, memory and I/O over time: what was used in each step of a window, in all or by job,
kind, user or command, as rows and as a drawing.

Each part of the usage counts in the steps in which it was used. Most parts are within a step, and
SQL adds them up. Parts that cross steps are spread over the time since the reading before, in whole
units, so that the steps add up to what reports on the window count, to the last unit.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from elsa import durations
from elsa.errors import UsageError
from elsa.measures import MEASURES
from elsa.report import completeness, kinds, resident
from elsa.report.query import periods, rollup_source, steps
from elsa.report.query.periods import Period
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, listed, members, rows, select
from elsa.report.query.times import Window
from elsa.report.render import chart, envelope
from elsa.report.render.columns import COLUMNS, local_time
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row
from elsa.state import job_kinds
from elsa.store import aggregates
from elsa.store.sums import summed
from elsa.text import printable
from elsa.units import HOUR_NS, SECOND_NS

DEFAULT_NS = 24 * HOUR_NS
"""The window of the whole host, unless another is asked for."""
# While jobd runs, its newest reading of all processes is not older than this.
_READING_NS = 10 * 60 * SECOND_NS
# jobd may have received events up to so long after it last stored them.
_UNSTORED_NS = 20 * SECOND_NS
# A remainder over a longer time counts at its end.
LONGEST_NS = HOUR_NS
# If more processes ended in a window, steps of less than an hour have to be asked for: the hourly
# sums are read much sooner.
_MOST_PROCESSES = 200_000
OTHER = "other"
_SUMMED = ("user_s", "system_s", "read_bytes", "write_bytes", "processes")
# How many columns a part has before its key.
_TIMES = 4
_USER, _SYSTEM, _READ, _WRITE, _PROCESSES = range(len(_SUMMED))
_FIRST = ("since_at", "until_at")
_FIGURES = (
    *("cpus", "resident_kib", "read_bytes_s", "write_bytes_s"),
    *("processes", "user_s", "system_s", "cpu_s", "read_bytes", "write_bytes", "silent_s"),
)
METRICS = ("cpu", "memory", "io")


class By(NamedTuple):
    """What series there are."""

    columns: tuple[str, ...]
    """The columns of the key."""
    keys: tuple[str, ...]
    """SQL for the ids that it follows from, over rows `u`."""
    names: str
    """SQL for it, with these ids as values."""
    rollup: str
    """The hourly sums that have this key."""
    of_jobs: bool = False
    """The series are of the automatic jobs, of which a process is in one at a time; what is in none
    is a series too."""


BY = {
    "job": By(
        ("name", "kind"),
        ("u.job_id",),
        "select j.name, j.kind from job as j where j.id = ?",
        "rollup_job",
        of_jobs=True,
    ),
    "kind": By(
        ("kind",),
        ("u.job_id",),
        "select j.kind from job as j where j.id = ?",
        "rollup_job",
        of_jobs=True,
    ),
    "user": By(("user",), ("u.uid",), "select user_name(?)", "rollup_user"),
    "command": By(("command",), ("u.command",), "select ?", "rollup_command"),
}
"""By job: runs of a name are one series."""
_USER_OF_HOST = By(
    ("user", "host"),
    ("u.uid", "u.host_id"),
    "select user_name(?1, ?2), host_name(?2)",
    "rollup_user",
)
_ALL = By((), (), "", rollup_source.ALL)
_KINDS = ", ".join(f"'{kind}'" for kind in job_kinds.AUTOMATIC)
_OF_KINDS = Condition(f"u.job_id in (select j.id from job as j where j.kind in ({_KINDS}))")

Key = tuple[str | None, ...]


class Asked(NamedTuple):
    """What a timeline is asked for, besides the processes."""

    by: str | None = None
    top: int = 5
    """How many series there are, besides the others together."""
    step_s: int | None = None
    """The length of a step; None: so that `most` steps are enough."""
    most: int = 72
    metric: str = "cpu"
    """By which the series are ranked."""


class Part(NamedTuple):
    """Which part of the usage is asked for: of a key, within a step or across steps."""

    key: Key
    step_ns: int
    since_ns: int | None
    """When it started to be used; None: in the step."""
    until_ns: int | None
    """The last nanosecond in which it was used."""
    was_read: int | None
    """1: what was used after a reading; 0: there was none; None: in an interval."""


Sums = list[int | None]
"""In the order of _SUMMED; None where nothing is known."""


@dataclass
class Series:
    """What is known of one key in each step."""

    key: Key
    sums: list[Sums]
    memory: list[int | None]
    """In KiB."""
    rank: int | None = None
    """By the metric, 1 is the most; None: of the others together."""

    def total(self, place: int) -> int | None:
        """The sum over all steps; None if nothing is known."""
        return _sum(step[place] for step in self.sums)


@dataclass
class Timeline:
    """All that is known of a window."""

    steps: list[Period]
    length_s: int
    rollup: str | None
    silent_ns: list[int]
    """For how long jobd did not run in each step."""
    series: list[Series]
    columns: tuple[str, ...]
    """Those of the keys."""
    words: list[str] = field(default_factory=list)


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


# --- the window and its steps


def with_window(
    connection: sqlite3.Connection, selection: Selection, asked: Asked, now_ns: int, *, whole: bool
) -> Selection:
    """The selection with a window that has both ends. By default it is the last day, or with
    `whole` the time of the jobs.
    """
    since, until = selection.window
    if since is not None and until is not None:
        return selection
    if whole and selection.jobs is not None:
        first, last = _time_of_jobs(connection, selection.jobs)
        since = first if since is None else since
        until = last if until is None else until
    if until is None:
        until = _latest_reading(connection, now_ns)
        until = now_ns if until is None or (since is not None and until <= since) else until
    if since is None:
        since = until - DEFAULT_NS
        length_s = asked.step_s or steps.fitting(Window(since, until), asked.most)
        since = steps.floor(since, length_s)
    if since >= until:
        raise UsageError("this window has not started yet; give an earlier --since")
    return replace(selection, window=Window(since, until))


def _time_of_jobs(
    connection: sqlite3.Connection, jobs: tuple[int, ...]
) -> tuple[int | None, int | None]:
    """From the first start of their processes to the last end, in whole seconds; None where that is
    not known.
    """
    first, last, running = connection.execute(
        "select min(u.started_ns), max(u.ended_ns), sum(u.running)"
        f" from {rollup_source.job_usage(listed(jobs))} as u"
    ).fetchone()
    since = None if first is None else first // SECOND_NS * SECOND_NS
    return since, None if running or last is None else (last // SECOND_NS + 1) * SECOND_NS


def _latest_reading(connection: sqlite3.Connection, now_ns: int) -> int | None:
    """When all processes were read last; None if jobd does not run now. What was used later is not
    known yet of those that live.
    """
    row = connection.execute(
        "select r.until_ns + c.offset_ns from usage_reading as r join clock as c on c.id ="
        " r.clock_id where r.of_all = 1 order by r.id desc limit 1"
    ).fetchone()
    return row[0] if row and 0 <= now_ns - row[0] <= _READING_NS else None


def _length(connection: sqlite3.Connection, selection: Selection, asked: Asked) -> int:
    if asked.step_s is not None:
        return asked.step_s
    length_s = steps.fitting(selection.window, asked.most)
    if length_s >= steps.HOUR_S:
        return length_s
    hours = rollup_source.whole_hours(selection.window).where("u.hour")
    (processes,) = connection.execute(
        f"select sum(u.processes) from {rollup_source.by_hour(rollup_source.ALL)} as u"
        f" where {' and '.join(hours)}"
    ).fetchone()
    return steps.HOUR_S if (processes or 0) > _MOST_PROCESSES else length_s


# --- what was used


class Prepared(NamedTuple):
    """What a timeline asks the warehouse."""

    laid: list[Period]
    length_s: int
    by: By
    rollup: str | None
    """The hourly sums that the figures are from, if any."""
    whole: Question
    jobs: Question | None = None
    """What was used in automatic jobs; the rest of the whole is in none."""

    def queries(self) -> list[Query]:
        """All queries."""
        return [self.whole.query(), *([self.jobs.query()] if self.jobs else [])]


def prepared(connection: sqlite3.Connection, selection: Selection, asked: Asked) -> Prepared:
    """The queries to run."""
    length_s = _length(connection, selection, asked)
    laid = steps.lay(selection.window, length_s)
    by = _by(asked, selection)
    whole_hours = periods.are_whole_hours(laid) and length_s >= steps.HOUR_S
    if not (by.of_jobs and selection.jobs is None):
        rollup = _rollup(by, selection) if whole_hours else None
        return Prepared(laid, length_s, by, rollup, _of_processes(by, rollup, selection, laid))
    rolled = whole_hours and not selection.choices
    rollup = _rollup(_ALL, selection) if rolled else None
    whole = _of_processes(_ALL, rollup, selection, laid)
    jobs = _of_automatic_jobs(by, selection, laid, rolled=rolled)
    return Prepared(laid, length_s, by, rollup, whole, jobs)


def _rest(by: By) -> Key:
    """The key of what is in no automatic job."""
    return (kinds.NONE, *(None,) * (len(by.columns) - 1))


def _by(asked: Asked, selection: Selection) -> By:
    if asked.by is None:
        return _ALL
    return _USER_OF_HOST if asked.by == "user" and selection.apart else BY[asked.by]


def _of_processes(by: By, rollup: str | None, selection: Selection, laid: list[Period]) -> Question:
    """What the selected processes used, by hourly sums where there are any."""
    wanted = _wanted(by, rollup)
    if rollup is None:
        return _parts(by, None, rows(selection, wanted, used=True), laid)
    jobs = None if selection.jobs is None else listed(selection.jobs)
    source = rollup_source.source(rollup, selection.window, wanted, *selection.choices, jobs=jobs)
    return _parts(by, rollup, source, laid)


def _rollup(by: By, selection: Selection) -> str | None:
    """The hourly sums that have what is asked for, if any."""
    if selection.job is not None and (by.of_jobs or not by.keys) and not selection.choices:
        return "rollup_job"
    tables = (by.rollup,) if by.keys else (rollup_source.ALL, "rollup_user", "rollup_command")
    suiting = (table for table in tables if rollup_source.suits(table, selection))
    return next(suiting, None)


def _of_automatic_jobs(
    by: By, selection: Selection, laid: list[Period], *, rolled: bool
) -> Question:
    """What was used in automatic jobs, of each of which a process is a member at another time."""
    since, until = steps.bounds(selection.window)
    jobs = (
        f"select j.id from job as j where j.kind in ({_KINDS}) and j.created_at_ns < {until} and"
        f" (j.closed_at_ns is null or j.closed_at_ns >= {since} or j.close_reason = 'disabled')"
    )
    if rolled:
        wanted = _wanted(by, by.rollup)
        source = rollup_source.source(by.rollup, selection.window, wanted, _OF_KINDS)
        return _parts(by, by.rollup, source, laid)
    wanted = _wanted(by, None)
    hours = f"select value from json_each('{_hours(selection.window)}')"
    source = members(
        jobs,
        wanted,
        *(Condition(text) for text in selection.window.where("u.out_ns")),
        *selection.choices,
        whole=f"+s.process_id in (select p.id from process as p where p.ended_hour in ({hours}))",
        hours=hours,
    )
    return _parts(by, None, source, laid)


def _hours(window: Window) -> list[int]:
    """The hours that a window touches."""
    since, until = steps.bounds(window)
    return [*range(since // HOUR_NS, (until - 1) // HOUR_NS + 1)]


def _sums(rollup: str | None) -> dict[str, aggregates.Aggregate]:
    """What is added up, over processes or over a rollup."""
    measures = [MEASURES[name] for name in _SUMMED]
    if rollup is None:
        return {measure.name: aggregates.over_rows(measure) for measure in measures}
    return {
        measure.name: aggregates.over_parts(measure, f"u.{measure.rolled}") for measure in measures
    }


# When the usage of a row `u` started. That of an interval is not older than the process, or its
# entry into a job or leave of it before.
_USED_SINCE = """coalesce(max(u.used_ns, u.out_ns + 1 - u.read_ns + (
        select max(p.start_ns, coalesce((
            select max(f.edge_ns) from usage_so_far as f
            where f.process_id = p.id and f.edge_ns < u.read_ns), 0))
        from process as p where p.id = u.whose_id)), u.used_ns)"""


def _wanted(by: By, rollup: str | None) -> list[str]:
    """The expressions that the rows need columns for."""
    times = [] if rollup else [_USED_SINCE, "u.was_read"]
    return [*by.keys, *times, *(sum_.text for sum_ in _sums(rollup).values())]


class Question(NamedTuple):
    """A query for parts."""

    keys: dict[str, str]
    """The columns of Part after the key, then the ids of the key."""
    sums: dict[str, aggregates.Aggregate]
    source: Query
    """From its `from` on."""

    def query(self) -> Query:
        """The query as one statement."""
        sums = {name: sum_.sql for name, sum_ in self.sums.items()}
        return Query(f"{select(self.keys | sums)}\n{self.source.sql}", self.source.values)

    def run(self, connection: sqlite3.Connection) -> list[Row]:
        """The rows: keys, then sums."""
        source = self.source
        return summed(connection, [*self.keys.values()], self.sums, source.sql, source.values)


def _parts(by: By, rollup: str | None, source: Query, laid: list[Period]) -> Question:
    """One row for what was used within a step, and one for each time across steps."""
    if rollup is None:
        step_ns = steps.start_of(laid, "u.out_ns")
        across = f"iif(u.used_ns < {step_ns}, {{}}, null)"
    else:
        step_ns = steps.start_of(laid, f"u.ended_hour * {HOUR_NS}")
        across = "null"
    keys = {
        "step_ns": step_ns,
        **{
            name: across.format(column)
            for name, column in (
                ("since_ns", _USED_SINCE),
                ("until_ns", "u.out_ns"),
                ("was_read", "u.was_read"),
            )
        },
        **{f"id_{number}": key for number, key in enumerate(by.keys, start=1)},
    }
    grouped = ", ".join(str(number) for number in range(1, len(keys) + 1))
    return Question(keys, _sums(rollup), Query(f"{source.sql}\ngroup by {grouped}", source.values))


class Used(NamedTuple):
    """What was used, by key and step, with how much of the CPU time was spread."""

    sums: dict[Key, list[Sums]]
    cpu_ns: int
    spread_ns: int
    """What was spread over several steps."""
    unread_ns: int
    """What was used in over an hour without a reading and counts at the end."""


def _used(connection: sqlite3.Connection, made: Prepared, readings: list[int]) -> Used:
    raw: dict[Part, Sums] = defaultdict(lambda: [None] * len(_SUMMED))
    named = _Names(connection, made.by)
    rest = None if made.jobs is None else _rest(made.by)
    for *times, ids, figures in _rows_of(made.whole, connection):
        _add(raw[Part(named(ids) if rest is None else rest, *times)], figures)
    if rest is not None and made.jobs is not None:
        for *times, ids, figures in _rows_of(made.jobs, connection):
            _add(raw[Part(named(ids), *times)], figures)
            _add(raw[Part(rest, *times)], [None if one is None else -one for one in figures])
    starts = [step.since_ns for step in made.laid]
    sums: dict[Key, list[Sums]] = {}
    cpu_ns = spread_ns = unread_ns = 0
    for part, figures in raw.items():
        if part.key not in sums:
            sums[part.key] = [[None] * len(_SUMMED) for _ in starts]
        of_key = sums[part.key]
        cpu = (figures[_USER] or 0) + (figures[_SYSTEM] or 0)
        cpu_ns += cpu
        if part.since_ns is None:
            _add(of_key[bisect_right(starts, part.step_ns) - 1], figures)
            continue
        shares = dict(_shares(part, starts, readings))
        spread_ns += cpu if len(shares) > 1 else 0
        unread_ns += cpu if _is_unread(part, readings) else 0
        for place, value in enumerate(figures):
            if value is not None:
                # Processes count where they ended.
                divided = {max(shares): value} if place == _PROCESSES else _divided(value, shares)
                for step, share in divided.items():
                    of_key[step][place] = (of_key[step][place] or 0) + share
    return Used(sums, cpu_ns, spread_ns, unread_ns)


def _rows_of(question: Question, connection: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """The times of each part, the ids of its key, and its sums."""
    ids = len(question.keys) - _TIMES
    for row in question.run(connection):
        figures = [None if value is None else int(value) for value in row[_TIMES + ids :]]
        yield *row[:_TIMES], row[_TIMES : _TIMES + ids], figures


class _Names:
    """The keys of ids, each looked up once."""

    def __init__(self, connection: sqlite3.Connection, by: By) -> None:
        self._connection = connection
        self._by = by
        self._known: dict[Row, Key] = {(): ()}

    def __call__(self, ids: Row) -> Key:
        if ids not in self._known:
            row = self._connection.execute(self._by.names, ids).fetchone()
            self._known[ids] = row or (None,) * len(self._by.columns)
        return self._known[ids]


def _add(sums: Sums, more: Sums) -> None:
    for place, value in enumerate(more):
        if value is not None:
            sums[place] = (sums[place] or 0) + value


def _since(part: Part, readings: list[int]) -> int:
    """When the usage of a part across steps can have started: if the process was read before, not
    before the last reading, after which it had used nothing new.
    """
    assert part.since_ns is not None and part.until_ns is not None  # noqa: S101
    if not part.was_read:
        return part.since_ns
    before = bisect_right(readings, part.until_ns)
    return max(part.since_ns, readings[before - 1]) if before else part.since_ns


def _is_unread(part: Part, readings: list[int]) -> bool:
    """Whether what was used in over an hour without a reading counts at the end."""
    if part.since_ns is None or part.until_ns is None or part.was_read is None:
        return False
    return part.until_ns - _since(part, readings) > LONGEST_NS


def _shares(part: Part, starts: list[int], readings: list[int]) -> Iterator[tuple[int, int]]:
    """The steps in which a part was used, with for how long in each, at least 1."""
    if part.since_ns is None or part.until_ns is None or _is_unread(part, readings):
        yield bisect_right(starts, part.step_ns) - 1, 1
        return
    # A process that started just after the end of the interval may have been read with others.
    since = min(max(_since(part, readings), starts[0]), part.until_ns)
    end = part.until_ns + 1
    step = bisect_right(starts, since) - 1
    while since < end:
        until = min(end, starts[step + 1]) if step + 1 < len(starts) else end
        yield step, until - since
        since, step = until, step + 1


def _divided(value: int, shares: Mapping[int, int]) -> dict[int, int]:
    """A value in the proportion of shares, in integers that add up to it."""
    whole, before, done = sum(shares.values()), 0, 0
    divided = {}
    for step, share in shares.items():
        before += share
        upto = value * before // whole
        divided[step] = upto - done
        done = upto
    return divided


# --- when jobd ran


class Span(NamedTuple):
    """A half-open span of real time in ns."""

    since_ns: int
    until_ns: int


# By the clock at their start; of the rows of a run, max() chooses the one whose columns count.
_RUNS = """select r.since_ns + r.offset_ns, coalesce(r.stopped_ns, r.heard_ns) + r.offset_ns,
        r.stopped_ns is null and r.id = (select max(n.id) from collector as n)
    from (
        select c.*, k.offset_ns, max(iif(k.since_ns <= c.since_ns, k.since_ns, -1))
        from collector as c join clock as k on k.boot_id = c.boot_id
        group by c.id
    ) as r
    order by 1"""


def _runs(connection: sqlite3.Connection) -> list[Span]:
    """When jobd ran, in order and without overlaps."""
    merged: list[Span] = []
    for since_ns, until_ns, is_running in connection.execute(_RUNS):
        last_ns = until_ns + (_UNSTORED_NS if is_running else 0)
        if merged and since_ns <= merged[-1].until_ns:
            merged[-1] = Span(merged[-1].since_ns, max(merged[-1].until_ns, last_ns))
        else:
            merged.append(Span(since_ns, last_ns))
    return merged


def _silent(laid: list[Period], runs: list[Span]) -> list[int]:
    """For how long jobd did not run in each step; never where it never ran at all, since then only
    accounting is used.
    """
    if not runs:
        return [0] * len(laid)
    ends = [run.until_ns for run in runs]
    silent = []
    for since, until, _ in laid:
        left = until - since
        for run in runs[bisect_right(ends, since) :]:
            if run.since_ns >= until:
                break
            left -= min(until, run.until_ns) - max(since, run.since_ns)
        silent.append(left)
    return silent


def _readings(connection: sqlite3.Connection, window: Window) -> list[int]:
    """When all processes were read, in real time, from an hour before the window on."""
    hours = _hours(window)
    return [
        at_ns
        for (at_ns,) in connection.execute(
            "select r.until_ns + c.offset_ns from usage_reading as r join clock as c on c.id ="
            " r.clock_id where r.of_all = 1 and r.hour between ? and ? order by 1",
            (hours[0] - 1, hours[-1]),
        )
    ]


def _keyed(named: _Names, lives: list[resident.Lifetime]) -> list[resident.Lifetime]:
    return [life._replace(key=named(life.key)) for life in lives]


def _memory(
    connection: sqlite3.Connection,
    by: By,
    selection: Selection,
    laid: list[Period],
    runs: list[Span],
) -> dict[Key, list[int | None]]:
    """Resident memory by key and step."""
    ends = [run.until_ns for run in runs]

    def is_known(at_ns: int) -> bool:
        place = bisect_right(ends, at_ns)
        return not runs or (place < len(runs) and runs[place].since_ns <= at_ns)

    resident.find_living(connection, selection.window)
    partition = by.of_jobs and selection.jobs is None
    keys = () if partition else by.keys
    named = _Names(connection, by)
    lives = _keyed(named, resident.lifetimes(connection, selection, keys))
    if partition:
        in_jobs = resident.in_jobs(connection, by.keys, _OF_KINDS, *selection.choices)
        whole = [life._replace(key=_rest(by)) for life in lives]
        lives = [*whole, *_keyed(named, in_jobs)]

    def total(sums: Mapping[Key, int]) -> int:
        return sums.get(_rest(by), 0) if partition else sum(sums.values())

    found = resident.over_time(connection, selection.window, laid, lives, total, is_known)
    series: dict[Key, list[int | None]] = {}
    for step, sums in enumerate(found):
        for key, kib in (sums or {}).items():
            value = kib
            if partition and key == _rest(by):
                value = 2 * kib - sum((sums or {}).values())
            series.setdefault(key, [None if one is None else 0 for one in found])[step] = value
    return series


# --- the report


def timeline(
    connection: sqlite3.Connection, selection: Selection, asked: Asked, *, memory: bool
) -> Timeline:
    """What was used in each step of the selection's window, with memory if it is wanted."""
    made = prepared(connection, selection, asked)
    by = made.by
    runs = _runs(connection)
    readings = [] if selection.apart else _readings(connection, selection.window)
    used = _used(connection, made, readings)
    in_memory: dict[Key, list[int | None]] = {}
    if memory:
        in_memory = _memory(connection, by, selection, made.laid, runs)
    silent = _silent(made.laid, runs)
    empty = [
        silent_ns == step.until_ns - step.since_ns
        and all(value is None for sums in used.sums.values() for value in sums[place])
        for place, (step, silent_ns) in enumerate(zip(made.laid, silent, strict=True))
    ]
    keys = list(dict.fromkeys((*used.sums, *in_memory))) or ([()] if not by.columns else [])
    # Of a key without a process that was read, the memory is 0 where any is known.
    of_any = next(iter(in_memory.values()), [None] * len(made.laid))
    nothing = [None if value is None else 0 for value in of_any]
    series = [
        Series(
            key,
            _filled(used.sums.get(key, [[None] * len(_SUMMED) for _ in made.laid]), empty),
            in_memory.get(key, nothing),
        )
        for key in keys
    ]
    ranked = _ranked(series, asked, len(by.columns))
    words = _words(used, made, silent, memory=any(map(any, in_memory.values())))
    return Timeline(made.laid, made.length_s, made.rollup, silent, ranked, by.columns, words)


def _filled(sums: list[Sums], empty: list[bool]) -> list[Sums]:
    """With 0 for what was not used, except where nothing can be known: in steps without jobd and
    without records, and of measures that are not known of anything.
    """
    for place in range(len(_SUMMED)):
        known = any(step[place] is not None for step in sums)
        any_part = any(value is not None for step in sums for value in step)
        if known or not any_part:
            for step, is_empty in zip(sums, empty, strict=True):
                if step[place] is None and not is_empty:
                    step[place] = 0
    return sums


def _ranked(series: list[Series], asked: Asked, columns: int) -> list[Series]:
    """The series with the most, in their order, and the others as one."""
    if asked.by is None:
        return series
    ordered = sorted(
        series, key=lambda one: (-_weight(one, asked.metric), tuple(map(str, one.key)))
    )
    for rank, one in enumerate(ordered, start=1):
        one.rank = rank
    kept, others = ordered[: asked.top], ordered[asked.top :]
    if len(others) > 1:
        key = (OTHER, *(None,) * (columns - 1))
        sums: list[Sums] = []
        for of_step in zip(*(one.sums for one in others), strict=True):
            total: Sums = [None] * len(_SUMMED)
            for figures in of_step:
                _add(total, figures)
            sums.append(total)
        memory = zip(*(one.memory for one in others), strict=True)
        return [*kept, Series(key, sums, [_sum(of_step) for of_step in memory])]
    return ordered


def _weight(one: Series, metric: str) -> int:
    if metric == "memory":
        return max((value for value in one.memory if value is not None), default=0)
    places = (_USER, _SYSTEM) if metric == "cpu" else (_READ, _WRITE)
    return sum(one.total(place) or 0 for place in places)


def _words(used: Used, made: Prepared, silent: list[int], *, memory: bool) -> list[str]:
    words = []
    if _percent(used.spread_ns, used.cpu_ns):
        words.append(
            f"{_percent(used.spread_ns, used.cpu_ns)} % of the CPU time was used across steps,"
            " between two readings of a process, and is spread evenly"
        )
    if _percent(used.unread_ns, used.cpu_ns):
        words.append(
            f"{durations.text(used.unread_ns / 1e9)} of CPU time counts where processes ended:"
            " their counters were not read in the hour before"
        )
    if memory:
        words.append(
            "memory is the sum of what was resident at readings of living processes: shared pages"
            " count once for each process, and processes that lived between two readings are not"
            " in it"
        )
    if total_ns := sum(silent):
        words.append(
            f"jobd did not run for {durations.text(total_ns / 1e9)} of this window; steps without"
            " jobd and without records are empty"
        )
    return words


def _percent(part: int, whole: int) -> int:
    return 100 * part // whole if whole else 0


def columns(selection: Selection, asked: Asked) -> tuple[str, ...]:
    """The columns that the rows have."""
    by = _by(asked, selection)
    return (*_FIRST, *by.columns, *(["rank"] if asked.by else []), *_FIGURES)


_SHOWN = ("since_at", "cpus", "resident_kib", "read_bytes_s", "write_bytes_s", "processes", "cpu_s")


class Made(NamedTuple):
    """The rows, and what they are drawn from."""

    report: Report
    timeline: Timeline


def report(
    connection: sqlite3.Connection,
    selection: Selection,
    asked: Asked,
    output: Output,
    *,
    memory: bool | None = None,
) -> Made:
    """The rows of a timeline, in the order of time, and all that a drawing needs; `memory` says
    whether it is wanted, otherwise the columns do.
    """
    has = columns(selection, asked)
    by = _by(asked, selection)
    shown = output.choose(has, (_SHOWN[0], *by.columns, *_SHOWN[1:]))
    wanted = "resident_kib" in shown if memory is None else memory
    found = timeline(connection, selection, asked, memory=wanted)
    made = output.ordered(has, list(_rows(found, asked.by is not None)))
    words = [
        *completeness.words(connection, selection, rollup=found.rollup),
        *found.words,
    ]
    if found.rollup not in (None, "rollup_job"):
        # Hourly sums of all have it so.
        words += completeness.unread(connection, selection.window, hint="")
    words += completeness.cut(len(made), output.limit)
    newest = output.sort is None and output.limit is not None
    made = made[-(output.limit or 0) :] if newest else made[: output.limit]
    of_rows = Report(
        has,
        shown,
        made,
        words,
        nothing=partial(completeness.nothing, connection, selection),
        completeness=partial(completeness.facts, connection, selection, found.rollup),
    )
    return Made(of_rows, found)


def check_room(found: Timeline, most: int) -> None:
    """Raises UsageError if a drawing of this width cannot have so many steps."""
    if len(found.steps) > most:
        window = Window(*_bounds(found))
        length_s = steps.fitting(window, most)
        longer = f"write at least --step {steps.name(length_s)}"
        if length_s == found.length_s:
            longer = "take a shorter window"
        raise UsageError(
            f"{len(found.steps)} steps do not fit this width: {longer}, or take --format csv"
        )


def draw(found: Timeline, metrics: Sequence[str], output: Output, *, blocks: bool) -> str:
    """A panel for each metric over a common axis of time; the series, if there are several."""
    stacked = bool(found.columns)
    width = output.width or chart.PLAIN_WIDTH
    style = chart.Style(width, blocks=blocks, colour=output.colour)
    panels = [panel for metric in metrics for panel in _panels(found, metric, output.units)]
    starts_s = [step.since_ns // SECOND_NS for step in found.steps]
    since, until = (local_time(envelope.time(ns) or "") for ns in _bounds(found))
    lines = [f"{since} to {until}, a column is {steps.name(found.length_s)}"]
    lines += chart.panels(panels, starts_s, found.length_s, style)
    if stacked:
        lines += ["", *_legend(found, metrics[0], style, output.units)]
    return "\n".join(lines)


def _bounds(found: Timeline) -> tuple[int, int]:
    return found.steps[0].since_ns, found.steps[-1].until_ns


def _panels(found: Timeline, metric: str, units: str) -> Iterator[chart.Panel]:
    seconds = [(step.until_ns - step.since_ns) / 1e9 for step in found.steps]

    def rates(series: Series, *places: int, scale: float = 1.0) -> list[float | None]:
        sums = (_sum(step[place] for place in places) for step in series.sums)
        return [
            None if value is None else value * scale / length
            for value, length in zip(sums, seconds, strict=True)
        ]

    if metric == "cpu":
        values = [rates(one, _USER, _SYSTEM, scale=1e-9) for one in found.series]
        total = _sum(one.total(place) for one in found.series for place in (_USER, _SYSTEM))
        whole = "" if total is None else f", {durations.text(total / 1e9)} in all"
        yield chart.Panel("CPUs used", values, _cpus, whole)
    elif metric == "memory":
        kib = [one.memory for one in found.series]
        text = partial(COLUMNS["resident_kib"].text, units=units)
        yield chart.Panel("resident memory", kib, text)
    else:
        for name, place, key in (
            ("read from storage", _READ, "read_bytes"),
            ("written to storage", _WRITE, "write_bytes"),
        ):
            values = [rates(one, place) for one in found.series]
            total = _sum(one.total(place) for one in found.series)
            text = partial(COLUMNS[key].text, units=units)
            whole = "" if total is None else f", {text(total)} in all"
            yield chart.Panel(f"{name} per second", values, text, whole)


def _cpus(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _label(key: Key) -> str:
    """A key as people read it: nginx (service)."""
    first, *more = (None if part is None else printable(part) for part in key)
    return " ".join([first or "-", *(f"({part})" for part in more if part)])


def _legend(found: Timeline, metric: str, style: chart.Style, units: str) -> list[str]:
    """The name of each series, and how much it had of the metric by which they are ranked."""
    weights = [_weight(one, metric) for one in found.series]
    whole = sum(weights) or 1
    texts = [_said(weight, metric, units) for weight in weights]
    labels = [_label(one.key) for one in found.series]
    widths = [max(map(len, column), default=0) for column in (labels, texts)]
    return [
        f"{chart.mark(number, style)}  {label:<{widths[0]}}  {text:>{widths[1]}}"
        + ("" if metric == "memory" else f"  {100 * weight / whole:3.0f} %")
        for number, (label, text, weight) in enumerate(zip(labels, texts, weights, strict=True))
    ]


def _said(weight: int, metric: str, units: str) -> str:
    if metric == "cpu":
        return durations.text(weight / 1e9)
    if metric == "memory":
        return f"most {COLUMNS['resident_kib'].text(weight, units)}"
    return COLUMNS["read_bytes"].text(weight, units)


def _rows(found: Timeline, ranked: bool) -> Iterator[Row]:
    for place, (step, silent_ns) in enumerate(zip(found.steps, found.silent_ns, strict=True)):
        seconds = (step.until_ns - step.since_ns) / 1e9
        for series in found.series:
            user, system, read, write, processes = series.sums[place]
            cpu = _sum((user, system))
            yield (
                envelope.time(step.since_ns),
                envelope.time(step.until_ns),
                *series.key,
                *([series.rank] if ranked else []),
                None if cpu is None else cpu / 1e9 / seconds,
                series.memory[place],
                None if read is None else read / seconds,
                None if write is None else write / seconds,
                processes,
                *(None if value is None else value / 1e9 for value in (user, system, cpu)),
                read,
                write,
                silent_ns / 1e9,
            )
