"""Bills: what the processes that ended in a window cost by the tariff that held then, by user, group, job or tag.

SQL sums whole units by quarter of an hour, in which neither tariff nor factor changes; prices are exact fractions of these sums, and only
a line is rounded. So a bill comes out the same whenever it is made, its columns add up to its charge, and its lines to its total.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from elsa.errors import UsageError
from elsa.report import completeness
from elsa.report.render import Report
from elsa.report.selection import Window
from elsa.report.warehouse import group_name, user_name
from elsa.state.tariff import MB_US_PER_GIB_HOUR, NS_PER_HOUR, QUARTER_NS, SECOND_NS, Tariff, Tariffs, Units, rounded, zone
from elsa.store import tariffs

BY = ("user", "group", "job", "tag")
IN_NO_JOB, TOTAL, NO_TAG = "(in no job)", "(total)", "(no tag)"

# In a job a process is charged when it went out of it, for its time there.
_OUT = "case when u.until_ns is null then u.ended_ns else u.until_ns + u.started_ns - u.start_ns end"
_ALL = ("incarnation_usage as u", "unjoined_usage as u")
_OF_JOBS = ("job_process_usage as u",)
_OF_NONE = (
    "incarnation_usage as u where not exists (select 1 from membership as m where m.process_id = u.process_id)",
    "unjoined_usage as u",
)
_CHARGES = ("charge_processes", "charge_cpu", "charge_memory", "charge_read", "charge_written")
_UNITS = ("processes", "cpu_hours", "memory_gib_hours", "read_bytes", "write_bytes")
_COUNTS = ("without_usage", "without_io", "uncharged")


class Key(NamedTuple):
    """Whom a line is for; what sorts and what is shown."""

    id: Any
    name: str | None
    owner: str | None = None


@dataclass
class Line:
    """What somebody used, by tariff and factor, and of how many processes something is not known."""

    units: defaultdict[tuple[int, Decimal], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * len(Units._fields)))
    unmeasured: int = 0
    """Processes without CPU figures."""
    without_io: int = 0
    """Processes without figures of memory and I/O."""
    uncharged: int = 0
    """Processes that ended when no tariff was valid."""

    def add(self, other: Line) -> None:
        """Put two together."""
        for key, units in other.units.items():
            self.units[key] = [one + more for one, more in zip(self.units[key], units, strict=True)]
        self.unmeasured += other.unmeasured
        self.without_io += other.without_io
        self.uncharged += other.uncharged

    def prices(self, versions: dict[int, Tariff]) -> tuple[Fraction, ...]:
        """What it costs exactly, for each of Units."""
        parts = [versions[number].price(Units(*units), factor) for (number, factor), units in self.units.items()]
        return tuple(sum(amounts, Fraction(0)) for amounts in zip(*parts, strict=True)) or (Fraction(0),) * len(Units._fields)

    def totals(self) -> Units:
        """All units of it, whatever they cost."""
        return Units(*map(sum, zip(*self.units.values(), strict=True))) if self.units else Units()


def month(connection: sqlite3.Connection, text: str, as_of_ns: int | None = None) -> Window:
    """The window of a month like 2026-11, by the clock of the zone of the tariff that holds then; of this host where none does."""
    try:
        first = datetime.strptime(text.strip(), "%Y-%m")
    except ValueError:
        raise UsageError(f"--month: cannot read {text!r}; write for example 2026-11") from None
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    held = tariffs.load(connection, as_of_ns).at(int(first.timestamp()) * SECOND_NS + 24 * NS_PER_HOUR)  # the first of it, wherever
    if held is None:
        since, until = first.timestamp(), after.timestamp()
    else:
        since, until = (moment.replace(tzinfo=zone(held.zone)).timestamp() for moment in (first, after))
    return Window(int(since) * SECOND_NS, int(until) * SECOND_NS)


def bill(connection: sqlite3.Connection, by: str, window: Window, as_of_ns: int | None = None) -> Report:
    """The bill of a window, the dearest line first, the total last. Raises UsageError without a tariff, or for what cannot be added up."""
    kind, _, tag = by.partition(":")
    if kind not in BY or (tag and kind != "tag") or by.endswith(":"):
        raise UsageError(f"--by: {by!r} is none of user, group, job, tag and tag:KEY")
    held = tariffs.load(connection, as_of_ns)
    if not held.versions:
        raise UsageError("there is no tariff yet; add one with: elsa db tariff add --help")
    lines = _lines(connection, kind, tag, window, held)
    everything = _merged(_sums(connection, _ALL, "1", window, held)).get(1, Line())
    return _report(connection, kind, lines, everything, held, window)


# --- sums ---------------------------------------------------------------------------------------------------------------------------


def _lines(connection: sqlite3.Connection, kind: str, tag: str, window: Window, held: Tariffs) -> dict[Key, Line]:
    if kind in ("user", "group"):
        column = "u.uid" if kind == "user" else "u.gid"
        name = user_name if kind == "user" else group_name
        return {Key(number, name(number)): line for number, line in _merged(_sums(connection, _ALL, column, window, held)).items()}
    of_jobs = _merged(_sums(connection, _OF_JOBS, "u.job_id", window, held))
    none = _merged(_sums(connection, _OF_NONE, "1", window, held)).get(1)
    lines = _by_job(connection, of_jobs) if kind == "job" else _by_tag(connection, of_jobs, tag)
    return lines | ({Key(None, IN_NO_JOB): none} if none is not None else {})


def _by_job(connection: sqlite3.Connection, of_jobs: dict[Any, Line]) -> dict[Key, Line]:
    known = {number: (name, owner) for number, name, owner in connection.execute("select id, name, owner_uid from job")}
    return {Key(number, known[number][0], user_name(known[number][1])): line for number, line in of_jobs.items() if number in known}


def _by_tag(connection: sqlite3.Connection, of_jobs: dict[Any, Line], key: str) -> dict[Key, Line]:
    """The lines of jobs put together by the value of a tag, or by each tag that they have."""
    tags: defaultdict[int, list[str]] = defaultdict(list)
    for number, name, value in connection.execute("select job_id, key, value from job_tag where ? in ('', key)", (key,)):
        tags[number].append(value if key else f"{name}={value}")
    lines: defaultdict[Key, Line] = defaultdict(Line)
    for number, line in of_jobs.items():
        for tag in tags.get(number, [NO_TAG]):
            lines[Key(tag, tag)].add(line)
    return dict(lines)


def _sums(connection: sqlite3.Connection, sources: Iterable[str], key: str, window: Window, held: Tariffs) -> Iterator[tuple[Any, Line]]:
    """What each key used in each quarter of an hour, as lines of their own."""
    prices: dict[int, tuple[int, Decimal] | None] = {}
    for source in sources:
        out = _OUT if source in _OF_JOBS else "u.ended_ns"
        conditions = " and ".join([f"{out} is not null", *window.where(out)])
        rows = connection.execute(
            f"""select {key}, ({out}) / {QUARTER_NS}, count(u.process_id), sum(u.user_ns + u.system_ns), sum(u.coremem_mb_us),
                       sum(u.read_bytes), sum(u.write_bytes), count(*) - count(u.user_ns), count(*) - count(u.read_bytes), count(*)
                from {source} {"and" if " where " in source else "where"} {conditions} group by 1, 2"""
        )
        for name, quarter, *units, unmeasured, without_io, count in rows:
            if quarter not in prices:
                prices[quarter] = _price(held, quarter * QUARTER_NS)
            line = Line(unmeasured=unmeasured, without_io=without_io)
            price = prices[quarter]
            if price is None:
                line.uncharged = count
            else:
                line.units[price] = [unit or 0 for unit in units]
            yield name, line


def _price(held: Tariffs, at_ns: int) -> tuple[int, Decimal] | None:
    tariff = held.at(at_ns)
    return None if tariff is None else (tariff.id, tariff.factor(at_ns))


def _merged(parts: Iterable[tuple[Any, Line]]) -> dict[Any, Line]:
    lines: defaultdict[Any, Line] = defaultdict(Line)
    for name, line in parts:
        lines[name].add(line)
    return dict(lines)


# --- the report ---------------------------------------------------------------------------------------------------------------------


def _report(connection: sqlite3.Connection, kind: str, lines: dict[Key, Line], everything: Line, held: Tariffs, window: Window) -> Report:
    versions = {version.id: version for version in held.versions}
    used = [versions[number] for number, _ in everything.units]
    currencies = sorted({version.currency for version in used})
    if len(currencies) > 1:
        raise UsageError(f"in that window prices are in {' and '.join(currencies)}, which do not add up; make a bill for each")
    decimals = max((version.decimals for version in used), default=2)
    currency = currencies[0] if currencies else None
    rows = [(_cells(kind, key), _figures(line, versions, decimals, currency)) for key, line in lines.items()]
    rows.sort(key=lambda row: (-row[1][0], str(row[0])))
    total, words = _total(rows, lines.values(), everything, versions, decimals, currency)
    columns = (*_key_columns(kind), "charge", "currency", *_CHARGES, *_UNITS, *_COUNTS)
    shown = (*_shown_keys(kind), "charge", "currency", "processes", "cpu_hours", "memory_gib_hours", "read_bytes", "write_bytes")
    last = (*(None for _ in _key_columns(kind)[:-1]), TOTAL) if kind != "job" else (None, TOTAL, None)
    found = [(*key, *figures) for key, figures in rows]
    words = [*words, *completeness.words(connection, window)]
    return Report(columns, shown, [*found, (*last, *total)] if found else [], words, completeness.nothing(connection, window))


def _key_columns(kind: str) -> tuple[str, ...]:
    return {"user": ("uid", "user"), "group": ("gid", "group"), "job": ("job_id", "name", "owner"), "tag": ("tag",)}[kind]


def _shown_keys(kind: str) -> tuple[str, ...]:
    return _key_columns(kind) if kind in ("job", "tag") else (kind,)


def _cells(kind: str, key: Key) -> tuple[Any, ...]:
    return {"job": (key.id, key.name, key.owner), "tag": (key.name,)}.get(kind, (key.id, key.name))


def _figures(line: Line, versions: dict[int, Tariff], decimals: int, currency: str | None) -> tuple[Any, ...]:
    charges = [rounded(amount, decimals) for amount in line.prices(versions)]
    units = line.totals()
    hours = (round(units.cpu_ns / NS_PER_HOUR, 6), round(units.memory_mb_us / MB_US_PER_GIB_HOUR, 6))
    counts = (line.unmeasured, line.without_io, line.uncharged)
    return (sum(charges), currency, *charges, units.processes, *hours, units.read_bytes, units.written_bytes, *counts)


def _total(
    rows: list[tuple[Any, tuple[Any, ...]]],
    lines: Iterable[Line],
    everything: Line,
    versions: dict[int, Tariff],
    decimals: int,
    currency: str | None,
) -> tuple[tuple[Any, ...], list[str]]:
    """The last line: the sum of the others where they are everything; else what everything costs, and words that the others are more."""
    figures = _figures(everything, versions, decimals, currency)
    together = Line()
    for line in lines:
        together.add(line)
    charges = [sum(row[1][place] for row in rows) for place in range(2, 2 + len(_CHARGES))]
    words = _missing(everything)
    if together == everything:
        return (sum(charges), currency, *charges, *figures[2 + len(_CHARGES) :]), words
    apart = f"the lines add up to {sum(charges)} {currency or ''}, and not to the total, in which every process is once"
    return figures, [f"{apart}: some are in several jobs, or were in one for a part of their life", *words]


def _missing(everything: Line) -> list[str]:
    words = []
    if everything.uncharged:
        words.append(f"{completeness.count(everything.uncharged, 'process')} ended when no tariff was valid, and are not charged")
    if everything.unmeasured:
        words.append(f"of {completeness.count(everything.unmeasured, 'process')} no CPU time is known, and none is charged")
    if everything.without_io:
        words.append(f"of {completeness.count(everything.without_io, 'process')} neither memory nor I/O is known, and none is charged")
    return words
