"""Bills: what the processes that ended in a window cost, by user, group, job or tag, with the
tariff that was valid then.

SQL sums whole units by quarter of an hour, or by whole hours or days in which neither tariff nor
factor changes. Prices are exact fractions of these sums, and each line is rounded only once. So a
line has the same charge in every bill, and the lines add up to the total.
"""

from __future__ import annotations

import json
import operator
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, time
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from typing import Any, NamedTuple

from elsa.errors import UsageError
from elsa.report import completeness
from elsa.report.query import rollup_source
from elsa.report.query.process_rows import rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import THESE, Condition, Query, select
from elsa.report.query.times import Days, Window
from elsa.report.query.warehouse import HostNames
from elsa.report.render.output import Output
from elsa.report.render.writer import Report
from elsa.state.tariff import MB_US_PER_GIB_HOUR, QUARTER_NS, Tariffs, Units, price, rounded, zone
from elsa.store import tariffs
from elsa.store.aggregates import Aggregate
from elsa.store.daily_rollups import HOURS_OF_DAY
from elsa.units import HOUR_NS, SECOND_NS

BY = ("user", "group", "job", "tag")
IN_NO_JOB, TOTAL, NO_TAG = "(in no job)", "(total)", "(no tag)"

# A job is charged for a process when the process left it or ended (out_ns).
_ENDED = Condition("u.out_ns is not null")
_IN_NONE = Condition("u.in_job = 0")
# With several hosts, a key has the id of the host too, as json: a uid may be another user on each.
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
    """Sums of integers in halves, so that they are exact whatever their size."""
    halves = {name: Aggregate("sum", operand).halves for name, operand in units.items()}
    return {
        f"{name}_{which}": text
        for name, pair in halves.items()
        for which, text in zip(("high", "low"), pair, strict=True)
    }


# Rows that stand for what a process used in an interval are not counted.
_COUNTED = "count(coalesce(u.process_id, u.acct_id))"
_SUMS = {
    "quarter": f"u.out_ns / {QUARTER_NS}",
    "processes": "count(u.process_id)",
    "memory_mb_us": "sum(u.coremem_mb_us * 1.0)",
    "unmeasured": "count(*) - count(u.provenance)",
    "without_io": f"{_COUNTED} - count(case when u.provenance = 'taskstats' then 1 end)",
    "ended": _COUNTED,
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
"""The same from the hourly sums."""
_CHARGES = ("charge_processes", "charge_cpu", "charge_memory", "charge_read", "charge_written")
_UNITS = ("processes", "cpu_hours", "memory_gib_hours", "read_bytes", "write_bytes")
_COUNTS = ("without_usage", "without_io", "uncharged")


class Key(NamedTuple):
    """The user, group, job or tag that a line charges."""

    id: Any
    name: str | None
    owner: str | None = None
    host: str | None = None
    kind: str | None = None
    """Of a job."""
    named: bool = True
    """Whether an id has a name on its host; else it may be of another user on another host."""


class UnitRow(NamedTuple):
    """A row of `query`: the units of a key in a quarter of an hour."""

    key: Any
    quarter: int
    processes: int
    memory_mb_us: float | None
    unmeasured: int
    without_io: int
    ended: int
    cpu_ns_high: int | None
    cpu_ns_low: int | None
    read_bytes_high: int | None
    read_bytes_low: int | None
    written_bytes_high: int | None
    written_bytes_low: int | None

    @property
    def units(self) -> Units:
        """The units that are charged."""
        return Units(
            self.processes,
            _whole(self.cpu_ns_high, self.cpu_ns_low),
            int(self.memory_mb_us or 0),
            _whole(self.read_bytes_high, self.read_bytes_low),
            _whole(self.written_bytes_high, self.written_bytes_low),
        )


def _whole(high: int | None, low: int | None) -> int:
    return ((high or 0) << 32) + (low or 0)


Prices = Callable[[int, Decimal], tuple[Fraction, ...]]
"""What one of each of Units costs, by tariff and factor."""


class NoTariffError(UsageError):
    """There is nothing to charge with."""


@dataclass
class Line:
    """A line of a bill: units by tariff and factor, and how many processes have unknown figures."""

    units: defaultdict[tuple[int, Decimal], list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0] * len(Units._fields))
    )
    unmeasured: int = 0
    """Processes without CPU figures."""
    without_io: int = 0
    """Processes without figures of memory and I/O."""
    uncharged: int = 0
    """Processes that ended when no tariff was valid."""
    unjoined: int = 0
    """Accounting records without a process; `without_io` counts them too."""
    unjoined_uncharged: int = 0
    """Accounting records without a process that `uncharged` counts too."""

    @property
    def count(self) -> int:
        """Processes that are charged."""
        return sum(units[0] for units in self.units.values())

    def add(self, other: Line) -> None:
        """Add another line to this line."""
        for key, units in other.units.items():
            self.units[key] = list(map(operator.add, self.units[key], units))
        self.unmeasured += other.unmeasured
        self.without_io += other.without_io
        self.uncharged += other.uncharged
        self.unjoined += other.unjoined
        self.unjoined_uncharged += other.unjoined_uncharged

    def charges(self, prices: Prices) -> tuple[Fraction, ...]:
        """The exact charge for each kind of unit."""
        parts = [price(units, prices(*key)) for key, units in self.units.items()]
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return (Fraction(0),) * len(Units._fields)
        return tuple(sum(amounts, Fraction(0)) for amounts in zip(*parts, strict=True))

    def totals(self) -> Units:
        """The units over all tariffs and factors."""
        return Units(*map(sum, zip(*self.units.values(), strict=True))) if self.units else Units()


def window(connection: sqlite3.Connection, days: Days, as_of_ns: int | None = None) -> Window:
    """The window of these days in the zone of the tariff that is valid then; if none is, in the
    zone of this host.
    """
    first, after = (datetime.combine(day, time()) for day in days)
    # A day later, the first day has started in every zone.
    started_ns = int(first.timestamp()) * SECOND_NS + 24 * HOUR_NS
    tariff = tariffs.load(connection, as_of_ns).at(started_ns)
    if tariff is not None:
        place = zone(tariff.zone)
        first, after = first.replace(tzinfo=place), after.replace(tzinfo=place)
    return Window(int(first.timestamp()) * SECOND_NS, int(after.timestamp()) * SECOND_NS)


def bill(
    connection: sqlite3.Connection,
    by: str,
    selection: Selection,
    output: Output,
    as_of_ns: int | None = None,
) -> Report:
    """The bill of a selection, highest charge first; a table ends with the total. Raises UsageError
    if charges cannot be added up.
    """
    kind, tag = _kind(by)
    tariff_set = tariffs.load(connection, as_of_ns)
    if not tariff_set.versions:
        raise NoTariffError("there is no tariff yet; add one with: elsa db tariff add --help")
    lines = _lines(connection, kind, tag, selection, tariff_set)
    if kind in ("user", "group") and not _divided_by_host(kind, selection, output):
        lines = _without_host(lines)
    if kind in ("user", "group"):
        everything = _total_line(lines.values())
    else:  # a process may be in several jobs, or have several tags
        everything = _sums(connection, "all", selection, tariff_set).get(1, Line())
    return _report(connection, kind, lines, everything, tariff_set, selection, output)


def query(by: str, selection: Selection, hours: int = HOURS_OF_DAY) -> Query:
    """The query for UnitRow rows: of each uid, gid or job, or of `all`, or of what is in `none` of
    the jobs.

    By 1 or 24 whole hours if the hourly sums have the figures: that takes less time and includes
    pruned processes.
    """
    key = _key(by if by in _KEYS else _kind(by)[0], selection)
    table = rollup_of(by, selection)
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
        source = rows(selection, columns.values(), *more, members=key == "u.job_id", used=True)
        where = ""
    return Query(f"{select(columns)}\n{source.sql}{where}\ngroup by 1, 2", source.values)


def rollup_of(by: str, selection: Selection) -> str | None:
    """The hourly sums that have the figures of the lines, if any."""
    of_jobs = by.partition(":")[0] in ("job", "tag")
    if of_jobs:
        selection = replace(selection, jobs=None)  # rollup_job has a key for the job
    table = "rollup_job" if of_jobs else "rollup_user"
    return table if rollup_source.suits(table, selection) else None


def _kind(by: str) -> tuple[str, str]:
    """The two parts of --by; the second is the KEY of tag:KEY."""
    kind, colon, tag = by.partition(":")
    if kind not in BY or (colon and (kind != "tag" or not tag)):
        raise UsageError(f"--by: {by!r} is none of user, group, job, tag and tag:KEY")
    return kind, tag


# --- sums


def _lines(
    connection: sqlite3.Connection, kind: str, tag: str, selection: Selection, tariff_set: Tariffs
) -> dict[Key, Line]:
    names, sums = HostNames(connection), _sums(connection, kind, selection, tariff_set)
    if kind in ("user", "group"):
        return {_of_id(names, kind, key, selection): line for key, line in sums.items()}
    lines = _by_job(connection, names, sums) if kind == "job" else _by_tag(connection, sums, tag)
    if selection.jobs is None:
        in_no_job = _sums(connection, "none", selection, tariff_set).get(1)
        if in_no_job is not None:
            lines[Key(None, IN_NO_JOB)] = in_no_job
    return lines


def _of_id(names: HostNames, kind: str, key: Any, selection: Selection) -> Key:  # noqa: ANN401
    """The user or group of a key of the sums."""
    if selection.apart:
        id_, host_id = json.loads(key)
    else:
        id_, host_id = key, next(iter(names.hosts), None)
    name = names.user(id_, host_id) if kind == "user" else names.group(id_, host_id)
    named = names.is_named(kind, id_, host_id)
    return Key(id_, name, host=names.host(host_id), named=named)


def _divided_by_host(kind: str, selection: Selection, output: Output) -> bool:
    """Whether lines are of one host each: of a user or group there, or of a job."""
    if not selection.apart or kind == "tag":
        return False
    return output.asks_for("host") or (kind != "job" and not selection.same_users)


def _without_host(lines: dict[Key, Line]) -> dict[Key, Line]:
    """The lines, added up over hosts where they have the same id and name."""
    added: defaultdict[Key, Line] = defaultdict(Line)
    for key, line in lines.items():
        added[key._replace(host=None) if key.named else key].add(line)
    return dict(added)


def _by_job(
    connection: sqlite3.Connection, names: HostNames, of_jobs: dict[Any, Line]
) -> dict[Key, Line]:
    jobs = connection.execute("select id, name, owner_uid, kind from job")
    keys = {
        job_id: Key(job_id, name, names.owner(owner_uid, job_id), names.host_of_job(job_id), kind)
        for job_id, name, owner_uid, kind in jobs
    }
    return {keys[job_id]: line for job_id, line in of_jobs.items() if job_id in keys}


def _by_tag(connection: sqlite3.Connection, of_jobs: dict[Any, Line], key: str) -> dict[Key, Line]:
    """The lines of jobs added up by the value of a tag, or by each tag that they have."""
    tags: defaultdict[int, list[str]] = defaultdict(list)
    for job_id, name, value in connection.execute(
        "select job_id, key, value from job_tag where ? in ('', key)", (key,)
    ):
        tags[job_id].append(value if key else f"{name}={value}")
    lines: defaultdict[Key, Line] = defaultdict(Line)
    for job_id, line in of_jobs.items():
        for tag in tags.get(job_id, [NO_TAG]):
            lines[Key(tag, tag)].add(line)
    return dict(lines)


def _sums(
    connection: sqlite3.Connection, by: str, selection: Selection, tariff_set: Tariffs
) -> dict[Any, Line]:
    """The usage of each key."""
    prices: dict[int, tuple[int, Decimal] | None] = {}
    lines: defaultdict[Any, Line] = defaultdict(Line)
    for row in map(UnitRow._make, _units(connection, by, selection, tariff_set)):
        if row.quarter not in prices:
            prices[row.quarter] = _price(tariff_set, row.quarter * QUARTER_NS)
        line, price = lines[row.key], prices[row.quarter]
        unjoined = row.ended - row.processes
        line.unmeasured += row.unmeasured
        line.without_io += row.without_io
        line.unjoined += unjoined
        if price is None:
            line.uncharged += row.ended
            line.unjoined_uncharged += unjoined
        else:
            line.units[price] = list(map(operator.add, line.units[price], row.units))
    return dict(lines)


def _units(
    connection: sqlite3.Connection, by: str, selection: Selection, tariff_set: Tariffs
) -> list[tuple[Any, ...]]:
    """UnitRow rows by quarter of an hour; by day or hour if no price changes within them."""
    window = selection.window
    for hours in (HOURS_OF_DAY, 1) if rollup_of(by, selection) is not None else ():
        units = query(by, selection, hours).run(connection).fetchall()
        firsts = {quarter // 4 // hours * hours for _, quarter, *_ in units}
        if all(len(prices_in(tariff_set, first, hours)) == 1 for first in firsts):
            if window.until is None:
                return units
            # The whole hours do not include the hour that the end of the window cuts.
            cut = Window(window.until // HOUR_NS * HOUR_NS, window.until)
            return units + _pruned(connection, by, selection, cut)
    units = query(by, selection, hours=0).run(connection).fetchall()
    return units + _pruned(connection, by, selection, window)


def _pruned(
    connection: sqlite3.Connection, by: str, selection: Selection, window: Window
) -> list[tuple[Any, ...]]:
    """UnitRow rows from the hourly sums of pruned processes, for hours that start in a window. They
    are charged at the price of the start of the hour.
    """
    key, rollup = _key(by, selection), rollup_of(by, selection)
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
    """The conditions on sums. Each chosen job is charged in full, while other reports count a
    process of several jobs once.
    """
    conditions = list(selection.choices)
    if selection.jobs is not None:
        conditions.append(Condition(f"u.job_id in ({THESE})", (json.dumps(selection.jobs),)))
    if by == "none":
        conditions.append(_IN_NONE)
    return conditions


def _price(tariff_set: Tariffs, at_ns: int) -> tuple[int, Decimal] | None:
    tariff = tariff_set.at(at_ns)
    return None if tariff is None else (tariff.id, tariff.factor(at_ns))


def prices_in(tariff_set: Tariffs, first: int, hours: int = 1) -> set[tuple[int, Decimal] | None]:
    """The prices in each quarter of some hours."""
    quarters = range(first * 4, (first + hours) * 4)
    return {_price(tariff_set, quarter * QUARTER_NS) for quarter in quarters}


def _total_line(lines: Iterable[Line]) -> Line:
    """The sum of lines."""
    total = Line()
    for line in lines:
        total.add(line)
    return total


# --- the report


def _report(
    connection: sqlite3.Connection,
    kind: str,
    lines: dict[Key, Line],
    everything: Line,
    tariff_set: Tariffs,
    selection: Selection,
    output: Output,
) -> Report:
    versions = {version.id: version for version in tariff_set.versions}
    used = [versions[number] for number, _ in everything.units]
    prices = cache(lambda number, factor: versions[number].prices(factor))
    currencies = sorted({version.currency for version in used})
    if len(currencies) > 1:
        raise UsageError(
            f"in that window prices are in {' and '.join(currencies)}, which cannot be added up;"
            " make a bill for each"
        )
    decimals = max((version.decimals for version in used), default=2)
    currency = currencies[0] if currencies else None
    divided = _divided_by_host(kind, selection, output)
    hosts = ("host",) if selection.apart and kind != "tag" else ()
    columns = (*hosts, *_key_columns(kind), "charge", "currency", *_CHARGES, *_UNITS, *_COUNTS)
    usual = (
        *(hosts if divided else ()),
        *_shown_keys(kind),
        "charge",
        "currency",
        *_UNITS,
    )
    bill_rows = [
        (
            *(key.host for _ in hosts),
            *_cells(kind, key),
            *_figures(line, prices, decimals, currency),
        )
        for key, line in lines.items()
    ]
    charge = columns.index("charge")
    bill_rows.sort(key=lambda row: (-row[charge], str(row)))
    lacking = None
    if rollup_of(kind, selection) is not None:
        lacking = _charged_by_hour(connection, selection.window, tariff_set)
    total, more = _total(
        [row[charge:] for row in bill_rows],
        lines.values(),
        everything,
        _figures(everything, prices, decimals, currency),
    )
    words = [
        *more,
        *completeness.words(connection, selection, lacking=lacking),
        *completeness.of_each(connection, usual),
        *completeness.cut(len(bill_rows), output.limit),
    ]
    bill_rows = output.ordered(columns, bill_rows)[: output.limit]
    if bill_rows and output.form == "table":
        bill_rows.append((*(None for _ in hosts), *_cells(kind, Key(None, TOTAL)), *total))
    return Report(
        columns,
        output.choose(columns if divided else columns[len(hosts) :], usual, by_name=hosts),
        bill_rows,
        words,
        partial(completeness.nothing, connection, selection),
        partial(completeness.facts, connection, selection),
    )


def _key(by: str, selection: Selection) -> str:
    """The SQL expression of the key of lines."""
    return _APART.get(by, _KEYS[by]) if selection.apart else _KEYS[by]


def _key_columns(kind: str) -> tuple[str, ...]:
    return {
        "user": ("uid", "user"),
        "group": ("gid", "group"),
        "job": ("job_id", "name", "kind", "owner"),
        "tag": ("tag",),
    }[kind]


def _shown_keys(kind: str) -> tuple[str, ...]:
    return _key_columns(kind) if kind in ("job", "tag") else (kind,)


def _cells(kind: str, key: Key) -> tuple[Any, ...]:
    if kind == "job":
        return key.id, key.name, key.kind, key.owner
    return (key.name,) if kind == "tag" else (key.id, key.name)


def _figures(line: Line, prices: Prices, decimals: int, currency: str | None) -> tuple[Any, ...]:
    charges = rounded(line.charges(prices), decimals)
    units = line.totals()
    hours = (
        round(units.cpu_ns / HOUR_NS, 6),
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
    bill_rows: list[tuple[Any, ...]],
    lines: Iterable[Line],
    everything: Line,
    figures: tuple[Any, ...],
) -> tuple[tuple[Any, ...], list[str]]:
    """The figures of the total, and notes on them: the sum of the lines if they are everything;
    otherwise the cost of everything, with each process counted once.
    """
    charge, currency, *others = figures
    charges = [sum(row[2 + place] for row in bill_rows) for place in range(len(_CHARGES))]
    unit = currency or ""
    words = []
    if _total_line(lines) == everything:
        charge = sum(charges)
        figures = (charge, currency, *charges, *others[len(_CHARGES) :])
    else:
        words = [
            f"the lines add up to {sum(charges)} {unit}, not to the total, which counts each"
            " process once: some processes are in several lines, or were in a job for a part of"
            " their lifetime"
        ]
    total = f"total: {charge} {unit} for {completeness.count(everything.count, 'process')}"
    return figures, [total, *words, *_missing(everything)]


def _charged_by_hour(
    connection: sqlite3.Connection, window: Window, tariff_set: Tariffs
) -> list[str]:
    """A note on pruned processes that ended in hours which the window or a change of price cuts:
    such an hour is charged as a whole, since only its sum is left.
    """
    cut = window.cut_hours()
    hours = " and ".join(["u.pruned = 1", *window.hours("u.hour")])
    sums = connection.execute(
        f"select u.hour, sum(u.processes) from rollup_user_ready as u where {hours} group by 1"
    )
    number = sum(
        processes for hour, processes in sums if hour in cut or len(prices_in(tariff_set, hour)) > 1
    )
    if not number:
        return []
    return [
        f"{completeness.count(number, 'process')} {completeness.was(number)} pruned, and charged in"
        " the bill and at the price that are valid at the start of the hour in which they ended: so"
        " this bill may differ from an earlier bill"
    ]


def _with_records(number: int, unjoined: int) -> str:
    """A number of processes, with the accounting records among them that have no process."""
    parts = []
    if number > unjoined:
        parts.append(completeness.count(number - unjoined, "process"))
    if unjoined:
        parts.append(f"{completeness.count(unjoined, 'accounting record')} joined to no process")
    return " and ".join(parts)


def _missing(everything: Line) -> list[str]:
    """Notes on what is not charged."""
    words = []
    if everything.uncharged:
        uncharged = _with_records(everything.uncharged, everything.unjoined_uncharged)
        words.append(f"{uncharged} ended when no tariff was valid, and are not charged")
    if everything.unmeasured:
        unmeasured = completeness.count(everything.unmeasured, "process")
        words.append(f"CPU time of {unmeasured} is not known and not charged")
    if everything.without_io:
        without_io = _with_records(everything.without_io, everything.unjoined)
        words.append(f"memory and I/O of {without_io} are not known and not charged")
    return words
