"""The lines of a bill: the units of each user, group, job or tag, by tariff and factor."""

from __future__ import annotations

import json
import operator
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from elsa.report.billing.units import UnitRow, price_at, read_units
from elsa.report.query.selection import Selection
from elsa.report.query.warehouse import HostNames
from elsa.state.tariff import QUARTER_NS, Tariffs, Units, price

IN_NO_JOB, TOTAL, NO_TAG = "(in no job)", "(total)", "(no tag)"


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


Prices = Callable[[int, Decimal], tuple[Fraction, ...]]
"""What one of each of Units costs, by tariff and factor."""


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


def named_lines(
    connection: sqlite3.Connection, kind: str, tag: str, selection: Selection, tariff_set: Tariffs
) -> dict[Key, Line]:
    """The line of each user, group, job or tag, and of what is in no job."""
    names, sums = HostNames(connection), lines_by_key(connection, kind, selection, tariff_set)
    if kind in ("user", "group"):
        return {_of_id(names, kind, key, selection): line for key, line in sums.items()}
    lines = _by_job(connection, names, sums) if kind == "job" else _by_tag(connection, sums, tag)
    if selection.jobs is None:
        in_no_job = lines_by_key(connection, "none", selection, tariff_set).get(1)
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


def without_host(lines: dict[Key, Line]) -> dict[Key, Line]:
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


def lines_by_key(
    connection: sqlite3.Connection, by: str, selection: Selection, tariff_set: Tariffs
) -> dict[Any, Line]:
    """The usage of each key."""
    prices: dict[int, tuple[int, Decimal] | None] = {}
    lines: defaultdict[Any, Line] = defaultdict(Line)
    for row in map(UnitRow._make, read_units(connection, by, selection, tariff_set)):
        if row.quarter not in prices:
            prices[row.quarter] = price_at(tariff_set, row.quarter * QUARTER_NS)
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


def total_line(lines: Iterable[Line]) -> Line:
    """The sum of lines."""
    total = Line()
    for line in lines:
        total.add(line)
    return total
