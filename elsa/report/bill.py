"""Bills: what the processes that ended in a window cost by the tariff that held then, by user,
group, job or tag.

SQL sums whole units by quarter of an hour, or by whole hours or days in which neither tariff nor
factor changes; prices are exact fractions of these sums, and only a line is rounded, once. So it
comes out the same whenever and in whatever bill it is made, and lines add up to the total.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

from elsa.errors import UsageError
from elsa.report import completeness
from elsa.report.query import rollup_source
from elsa.report.query.selection import Selection
from elsa.report.query.statement import THESE, Condition, Query, rows, select
from elsa.report.query.times import Window
from elsa.report.query.warehouse import HostNames
from elsa.report.render.output import Output
from elsa.report.render.writer import Report
from elsa.state.clock import HOUR_NS
from elsa.state.tariff import (
    MB_US_PER_GIB_HOUR,
    NS_PER_HOUR,
    QUARTER_NS,
    SECOND_NS,
    Tariff,
    Tariffs,
    Units,
    rounded,
    zone,
)
from elsa.store import tariffs
from elsa.store.aggregates import Aggregate
from elsa.store.daily_rollups import HOURS_OF_DAY

BY = ("user", "group", "job", "tag")
IN_NO_JOB, TOTAL, NO_TAG = "(in no job)", "(total)", "(no tag)"

# In a job a process is charged when it went out of it, for its time there (out_ns).
_ENDED = Condition("u.out_ns is not null")
_IN_NONE = Condition("u.in_job = 0")
# Where there are several hosts an id means others on each: the host's id beside it, in json.
_APART = {"user": "json_array(u.uid, u.host_id)", "group": "json_array(u.gid, u.host_id)"}
_KEYS = {
    "user": "u.uid",
    "group": "u.gid",
    "job": "u.job_id",
    "tag": "u.job_id",
    "all": "1",
    "none": "1",
}


def _summed(units: dict[str, str]) -> dict[str, str]:
    """Sums of integers in their halves: what is charged is exact, whatever its size."""
    halves = {name: Aggregate("sum", operand).halves for name, operand in units.items()}
    return {
        f"{name}_{which}": text
        for name, pair in halves.items()
        for which, text in zip(("high", "low"), pair, strict=True)
    }


_SUMS = {
    "quarter": f"u.out_ns / {QUARTER_NS}",
    "processes": "count(u.process_id)",
    "memory_mb_us": "sum(u.coremem_mb_us * 1.0)",
    "unmeasured": "count(*) - count(u.provenance)",
    "without_io": "count(*) - count(case when u.provenance = 'taskstats' then 1 end)",
    "ended": "count(*)",
    **_summed(
        {
            "cpu_ns": "u.user_ns + u.system_ns",
            "read_bytes": "u.read_bytes",
            "written_bytes": "u.write_bytes",
        }
    ),
}
_HOURLY = {
    "quarter": "u.ended_hour * 4",
    "processes": "sum(u.processes)",
    "memory_mb_us": "sum(u.coremem_mb_us)",
    "unmeasured": "sum(u.without_usage)",
    "without_io": "sum(u.processes + u.unjoined - u.with_usage)",
    "ended": "sum(u.processes + u.unjoined)",
    **_summed(
        {"cpu_ns": "u.cpu_ns", "read_bytes": "u.read_bytes", "written_bytes": "u.write_bytes"}
    ),
}
"""The same of the hourly sums."""
_CHARGES = ("charge_processes", "charge_cpu", "charge_memory", "charge_read", "charge_written")
_UNITS = ("processes", "cpu_hours", "memory_gib_hours", "read_bytes", "write_bytes")
_COUNTS = ("without_usage", "without_io", "uncharged")


class Key(NamedTuple):
    """Whom a line is for; what sorts and what is shown."""

    id: Any
    name: str | None
    owner: str | None = None
    host: str | None = None


@dataclass
class Line:
    """What somebody used, by tariff and factor, and of how many processes something is not known."""

    units: defaultdict[tuple[int, Decimal], list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0] * len(Units._fields))
    )
    unmeasured: int = 0
    """Processes without CPU figures."""
    without_io: int = 0
    """Processes without figures of memory and I/O."""
    uncharged: int = 0
    """Processes that ended when no tariff was valid."""
    loose: int = 0
    """Accounting records without a process, which are among those without I/O, ..."""
    loose_uncharged: int = 0
    """... and of these, those among the uncharged."""

    @property
    def count(self) -> int:
        """Processes that are charged."""
        return sum(units[0] for units in self.units.values())

    def add(self, other: Line) -> None:
        """Put two together."""
        for key, units in other.units.items():
            self.units[key] = [one + more for one, more in zip(self.units[key], units, strict=True)]
        self.unmeasured += other.unmeasured
        self.without_io += other.without_io
        self.uncharged += other.uncharged
        self.loose += other.loose
        self.loose_uncharged += other.loose_uncharged

    def prices(self, versions: dict[int, Tariff]) -> tuple[Fraction, ...]:
        """What it costs exactly, for each of Units."""
        parts = [
            versions[number].price(Units(*units), factor)
            for (number, factor), units in self.units.items()
        ]
        return tuple(sum(amounts, Fraction(0)) for amounts in zip(*parts, strict=True)) or (
            Fraction(0),
        ) * len(Units._fields)

    def totals(self) -> Units:
        """All units of it, whatever they cost."""
        return Units(*map(sum, zip(*self.units.values(), strict=True))) if self.units else Units()


def month(connection: sqlite3.Connection, text: str, as_of_ns: int | None = None) -> Window:
    """The window of a month like 2026-11, by the clock of the zone of the tariff that holds then;
    of this host where none does.
    """
    try:
        first = datetime.strptime(text.strip(), "%Y-%m")
    except ValueError:
        raise UsageError(f"--month: cannot read {text!r}; write for example 2026-11") from None
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    held = tariffs.load(connection, as_of_ns).at(
        int(first.timestamp()) * SECOND_NS + 24 * NS_PER_HOUR
    )  # the first of it, wherever
    if held is None:
        since, until = first.timestamp(), after.timestamp()
    else:
        since, until = (
            moment.replace(tzinfo=zone(held.zone)).timestamp() for moment in (first, after)
        )
    return Window(int(since) * SECOND_NS, int(until) * SECOND_NS)


def bill(
    connection: sqlite3.Connection,
    by: str,
    selection: Selection,
    output: Output,
    as_of_ns: int | None = None,
) -> Report:
    """The bill of a selection, the dearest line first, in a table with the total last. Raises
    UsageError for what cannot be added up.
    """
    kind, tag = _kind(by)
    held = tariffs.load(connection, as_of_ns)
    if not held.versions:
        raise UsageError("there is no tariff yet; add one with: elsa db tariff add --help")
    lines = _lines(connection, kind, tag, selection, held)
    # Of users and groups every process has one; it may be in several jobs, or tags.
    everything = (
        _together(lines.values())
        if kind in ("user", "group")
        else _sums(connection, "all", selection, held).get(1, Line())
    )
    return _report(connection, kind, lines, everything, held, selection, output)


def query(by: str, selection: Selection, hours: int = HOURS_OF_DAY) -> Query:
    """What is asked of the warehouse: the units of each uid, gid or job, or of all, by quarter of
    an hour; `none`: of what is in no job.

    By 1 or 24 whole hours, where the hourly sums know enough for that: then it takes less time, and
    pruned processes are in it.
    """
    key = _key(by if by in _KEYS else _kind(by)[0], selection)
    table = _rollup(by, selection)
    if hours and table is not None:
        columns = {"line": key} | _HOURLY
        conditions = _conditions(by, selection)
        source = rollup_source.source(
            table, selection.window, columns.values(), *conditions, days=hours == HOURS_OF_DAY
        )
        where = "\nwhere u.ended_hour is not null"
    else:
        columns = {"line": key} | _SUMS
        more = [_ENDED, *([_IN_NONE] if by == "none" else [])]
        source = rows(selection, columns.values(), *more, members=key == "u.job_id")
        where = ""
    return Query(f"{select(columns)}\n{source.sql}{where}\ngroup by 1, 2", source.values)


def _rollup(by: str, selection: Selection) -> str | None:
    """The hourly sums that lines are from, if they are."""
    of_jobs = by.partition(":")[0] in ("job", "tag")
    if of_jobs:
        selection = replace(selection, jobs=None)  # which is the key of its sums
    table = "rollup_job" if of_jobs else "rollup_user"
    return table if rollup_source.suits(table, selection) else None


def _kind(by: str) -> tuple[str, str]:
    """The two parts of --by, the second for tag:KEY."""
    kind, colon, tag = by.partition(":")
    if kind not in BY or (colon and (kind != "tag" or not tag)):
        raise UsageError(f"--by: {by!r} is none of user, group, job, tag and tag:KEY")
    return kind, tag


# --- sums
# ---------------------------------------------------------------------------------------------------------------------------


def _lines(
    connection: sqlite3.Connection, kind: str, tag: str, selection: Selection, held: Tariffs
) -> dict[Key, Line]:
    names, found = HostNames(connection), _sums(connection, kind, selection, held)
    if kind in ("user", "group"):
        return {_of_id(names, kind, number, selection): line for number, line in found.items()}
    lines = _by_job(connection, names, found) if kind == "job" else _by_tag(connection, found, tag)
    if selection.jobs is None:
        none = _sums(connection, "none", selection, held).get(1)
        lines |= {Key(None, IN_NO_JOB): none} if none is not None else {}
    return lines


def _of_id(names: HostNames, kind: str, found: Any, selection: Selection) -> Key:  # noqa: ANN401
    """Whom a line of a uid or gid is for."""
    number, host_id = (
        json.loads(found) if selection.apart else (found, next(iter(names.hosts), None))
    )
    name = names.user(number, host_id) if kind == "user" else names.group(number, host_id)
    return Key(number, name, host=names.host(host_id))


def _by_job(
    connection: sqlite3.Connection, names: HostNames, of_jobs: dict[Any, Line]
) -> dict[Key, Line]:
    rows_of_jobs = connection.execute("select id, name, owner_uid from job")
    keys = {
        number: Key(number, name, names.owner(owner, number))
        for number, name, owner in rows_of_jobs
    }
    return {keys[number]: line for number, line in of_jobs.items() if number in keys}


def _by_tag(connection: sqlite3.Connection, of_jobs: dict[Any, Line], key: str) -> dict[Key, Line]:
    """The lines of jobs put together by the value of a tag, or by each tag that they have."""
    tags: defaultdict[int, list[str]] = defaultdict(list)
    for number, name, value in connection.execute(
        "select job_id, key, value from job_tag where ? in ('', key)", (key,)
    ):
        tags[number].append(value if key else f"{name}={value}")
    lines: defaultdict[Key, Line] = defaultdict(Line)
    for number, line in of_jobs.items():
        for tag in tags.get(number, [NO_TAG]):
            lines[Key(tag, tag)].add(line)
    return dict(lines)


def _sums(
    connection: sqlite3.Connection, by: str, selection: Selection, held: Tariffs
) -> dict[Any, Line]:
    """What each key used."""
    prices: dict[int, tuple[int, Decimal] | None] = {}
    lines: defaultdict[Any, Line] = defaultdict(Line)
    for name, quarter, processes, memory, unmeasured, without_io, count, *halves in _units(
        connection, by, selection, held
    ):
        if quarter not in prices:
            prices[quarter] = _price(held, quarter * QUARTER_NS)
        line, price = lines[name], prices[quarter]
        line.unmeasured += unmeasured
        line.without_io += without_io
        loose = count - processes
        line.loose += loose
        if price is None:
            line.uncharged += count
            line.loose_uncharged += loose
        else:
            cpu_ns, read, written = (
                ((high or 0) << 32) + (low or 0)
                for high, low in zip(halves[::2], halves[1::2], strict=True)
            )
            into = line.units[price]
            for place, unit in enumerate(Units(processes, cpu_ns, int(memory or 0), read, written)):
                into[place] += unit
    return dict(lines)


def _units(
    connection: sqlite3.Connection, by: str, selection: Selection, held: Tariffs
) -> list[tuple[Any, ...]]:
    """The units of each key by quarter of an hour; by whole days or hours if no price changes
    within one.
    """
    window = selection.window
    for hours in (HOURS_OF_DAY, 1) if _rollup(by, selection) is not None else ():
        found = query(by, selection, hours).run(connection).fetchall()
        if all(
            len(_prices_in(held, first, hours)) == 1
            for first in {quarter // 4 // hours * hours for _, quarter, *_ in found}
        ):
            # An hour that the end of the window cuts is not among the whole ones.
            cut = (
                None
                if window.until is None
                else Window(window.until // HOUR_NS * HOUR_NS, window.until)
            )
            return found if cut is None else found + _pruned(connection, by, selection, cut)
    return query(by, selection, hours=0).run(connection).fetchall() + _pruned(
        connection, by, selection, window
    )


def _pruned(
    connection: sqlite3.Connection, by: str, selection: Selection, window: Window
) -> list[tuple[Any, ...]]:
    """The hourly sums of processes that are no longer kept, of hours that begin in a window; they
    are charged as at that beginning.
    """
    key, rollup = _key(by, selection), _rollup(by, selection)
    if rollup is None:
        return []
    hours = " and ".join(["u.pruned = 1", *window.where(f"u.hour * {HOUR_NS}")])
    columns = {"line": key} | _HOURLY | {"quarter": "u.hour * 4"}
    choices = _conditions(by, selection)
    conditions = "".join(f" and {choice.sql}" for choice in choices)
    values = tuple(value for choice in choices for value in choice.values)
    return connection.execute(
        f"{select(columns)} from {rollup_source.by_hour(rollup)} as u where {hours}{conditions}"
        " group by 1, 2",
        values,
    ).fetchall()


def _conditions(by: str, selection: Selection) -> list[Condition]:
    """What is chosen of the sums: of jobs only the chosen ones, each of them in full, where other
    reports take a process once.
    """
    jobs = (
        []
        if selection.jobs is None
        else [Condition(f"u.job_id in ({THESE})", (json.dumps(selection.jobs),))]
    )
    return [*selection.choices, *jobs, *([_IN_NONE] if by == "none" else [])]


def _price(held: Tariffs, at_ns: int) -> tuple[int, Decimal] | None:
    tariff = held.at(at_ns)
    return None if tariff is None else (tariff.id, tariff.factor(at_ns))


def _prices_in(held: Tariffs, first: int, hours: int = 1) -> set[tuple[int, Decimal] | None]:
    """The prices of the quarters of some hours."""
    return {_price(held, quarter * QUARTER_NS) for quarter in range(first * 4, (first + hours) * 4)}


def _together(lines: Iterable[Line]) -> Line:
    """All that lines have in them."""
    whole = Line()
    for line in lines:
        whole.add(line)
    return whole


# --- the report
# ---------------------------------------------------------------------------------------------------------------------


def _report(
    connection: sqlite3.Connection,
    kind: str,
    lines: dict[Key, Line],
    everything: Line,
    held: Tariffs,
    selection: Selection,
    output: Output,
) -> Report:
    versions = {version.id: version for version in held.versions}
    used = [versions[number] for number, _ in everything.units]
    currencies = sorted({version.currency for version in used})
    if len(currencies) > 1:
        raise UsageError(
            f"in that window prices are in {' and '.join(currencies)}, which do not add up; make a"
            " bill for each"
        )
    decimals = max((version.decimals for version in used), default=2)
    currency = currencies[0] if currencies else None
    hosts = ("host",) if selection.apart and kind in ("user", "group") else ()
    columns = (*hosts, *_key_columns(kind), "charge", "currency", *_CHARGES, *_UNITS, *_COUNTS)
    usual = (
        *hosts,
        *_shown_keys(kind),
        "charge",
        "currency",
        "processes",
        "cpu_hours",
        "memory_gib_hours",
        "read_bytes",
        "write_bytes",
    )
    found = [
        (
            *(key.host for _ in hosts),
            *_cells(kind, key),
            *_figures(line, versions, decimals, currency),
        )
        for key, line in lines.items()
    ]
    place = columns.index("charge")
    found.sort(key=lambda row: (-row[place], str(row)))
    lacking = (
        None
        if _rollup(kind, selection) is None
        else _by_beginning(connection, selection.window, held)
    )
    total, more = _total(
        [row[place:] for row in found],
        lines.values(),
        everything,
        _figures(everything, versions, decimals, currency),
    )
    words = [
        *more,
        *completeness.words(connection, selection, lacking=lacking),
        *completeness.of_each(connection, usual),
        *completeness.cut(len(found), output.limit),
    ]
    found = output.ordered(columns, found)[: output.limit]
    if found and output.form == "table":
        found.append((*(None for _ in hosts), *_cells(kind, Key(None, TOTAL)), *total))
    return Report(
        columns,
        output.choose(columns, usual),
        found,
        words,
        partial(completeness.nothing, connection, selection),
    )


def _key(by: str, selection: Selection) -> str:
    """What there is a line for each of."""
    return _APART.get(by, _KEYS[by]) if selection.apart else _KEYS[by]


def _key_columns(kind: str) -> tuple[str, ...]:
    return {
        "user": ("uid", "user"),
        "group": ("gid", "group"),
        "job": ("job_id", "name", "owner"),
        "tag": ("tag",),
    }[kind]


def _shown_keys(kind: str) -> tuple[str, ...]:
    return _key_columns(kind) if kind in ("job", "tag") else (kind,)


def _cells(kind: str, key: Key) -> tuple[Any, ...]:
    return {"job": (key.id, key.name, key.owner), "tag": (key.name,)}.get(kind, (key.id, key.name))


def _figures(
    line: Line, versions: dict[int, Tariff], decimals: int, currency: str | None
) -> tuple[Any, ...]:
    charges = rounded(line.prices(versions), decimals)
    units = line.totals()
    hours = (
        round(units.cpu_ns / NS_PER_HOUR, 6),
        round(units.memory_mb_us / MB_US_PER_GIB_HOUR, 6),
    )
    counts = (line.unmeasured, line.without_io, line.uncharged)
    return (
        sum(charges),
        currency,
        *charges,
        units.processes,
        *hours,
        units.read_bytes,
        units.written_bytes,
        *counts,
    )


def _total(
    found: list[tuple[Any, ...]], lines: Iterable[Line], everything: Line, figures: tuple[Any, ...]
) -> tuple[tuple[Any, ...], list[str]]:
    """The total, and words about it: the sum of the lines where they are everything; else what
    everything costs, each process once.
    """
    charges = [sum(row[place] for row in found) for place in range(2, 2 + len(_CHARGES))]
    currency = figures[1] or ""
    words = []
    if _together(lines) == everything:
        figures = (sum(charges), figures[1], *charges, *figures[2 + len(_CHARGES) :])
    else:
        words = [
            f"the lines add up to {sum(charges)} {currency}, and not to the total, in which every"
            " process is once: some are in several lines, or were in a job for a part of their"
            " life"
        ]
    total = f"total: {figures[0]} {currency} for {completeness.count(everything.count, 'process')}"
    return figures, [total, *words, *_missing(everything)]


def _by_beginning(connection: sqlite3.Connection, window: Window, held: Tariffs) -> list[str]:
    """Say how many pruned processes ended in hours that the window or a price cuts: only the sum of
    such an hour is left to be charged.
    """
    cut = window.cut_hours()
    hours = " and ".join(["u.pruned = 1", *window.hours("u.hour")])
    found = connection.execute(
        f"select u.hour, sum(u.processes) from rollup_user_ready as u where {hours} group by 1"
    )
    number = sum(
        processes for hour, processes in found if hour in cut or len(_prices_in(held, hour)) > 1
    )
    if not number:
        return []
    were = "was" if number == 1 else "were"
    return [
        f"{completeness.count(number, 'process')} {were} pruned, and charged in that bill and at"
        " that price which hold at the beginning of the hour of the end: so this bill may differ"
        " from an earlier one"
    ]


def _apart(number: int, loose: int) -> str:
    """So many processes, and the accounting records among them that are joined to none."""
    parts = [completeness.count(number - loose, "process")] if number > loose else []
    return " and ".join(
        [
            *parts,
            *(
                [f"{completeness.count(loose, 'accounting record')} joined to none"]
                if loose
                else []
            ),
        ]
    )


def _missing(everything: Line) -> list[str]:
    words = []
    if everything.uncharged:
        words.append(
            f"{_apart(everything.uncharged, everything.loose_uncharged)} ended when no tariff was"
            " valid, and are not charged"
        )
    if everything.unmeasured:
        words.append(
            f"of {completeness.count(everything.unmeasured, 'process')} no CPU time is known, and"
            " none is charged"
        )
    if everything.without_io:
        words.append(
            f"of {_apart(everything.without_io, everything.loose)} neither memory nor I/O is known,"
            " and none is charged"
        )
    return words
