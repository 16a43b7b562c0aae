"""Bills: what the processes that ended in a window cost, with the tariff that was valid then.

SQL sums whole units (units.py). Prices are exact fractions of these sums, and each line is rounded
only once. So a line has the same charge in every bill, and the lines add up to the total.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import datetime, time
from functools import cache, partial
from typing import Any, NamedTuple

from elsa.errors import UsageError
from elsa.report import completeness, exactness
from elsa.report.billing.lines import (
    TOTAL,
    Key,
    Line,
    Prices,
    lines_by_key,
    named_lines,
    total_line,
    without_host,
)
from elsa.report.billing.units import kind_and_tag, prices_in, rollup_of
from elsa.report.query.selection import Selection
from elsa.report.query.times import Days, Window
from elsa.report.render.output import Output
from elsa.report.render.writer import Report
from elsa.state.tariff import MB_US_PER_GIB_HOUR, Tariffs, rounded, zone
from elsa.store import tariffs
from elsa.text import counted, was
from elsa.units import HOUR_NS, SECOND_NS

_CHARGES = ("charge_processes", "charge_cpu", "charge_memory", "charge_read", "charge_written")
_UNITS = ("processes", "cpu_hours", "memory_gib_hours", "read_bytes", "write_bytes")
_COUNTS = ("without_usage", "without_io", "uncharged")


class NoTariffError(UsageError):
    """There is nothing to charge with."""


class _Money(NamedTuple):
    """In what the charges of a bill are."""

    prices: Prices
    decimals: int
    currency: str | None
    """None if nothing is charged."""


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
    kind, tag = kind_and_tag(by)
    tariff_set = tariffs.load(connection, as_of_ns)
    if not tariff_set.versions:
        raise NoTariffError("there is no tariff yet; add one with: elsa db tariff add --help")
    lines = named_lines(connection, kind, tag, selection, tariff_set)
    if kind in ("user", "group") and not _divided_by_host(kind, selection, output):
        lines = without_host(lines)
    if kind in ("user", "group"):
        everything = total_line(lines.values())
    else:  # a process may be in several jobs, or have several tags
        everything = lines_by_key(connection, "all", selection, tariff_set).get(1, Line())
    return _report(connection, kind, lines, everything, tariff_set, selection, output)


def _divided_by_host(kind: str, selection: Selection, output: Output) -> bool:
    """Whether lines are of one host each: of a user or group there, or of a job."""
    if not selection.apart or kind == "tag":
        return False
    return output.asks_for("host") or (kind != "job" and not selection.same_users)


def _report(
    connection: sqlite3.Connection,
    kind: str,
    lines: dict[Key, Line],
    everything: Line,
    tariff_set: Tariffs,
    selection: Selection,
    output: Output,
) -> Report:
    money = _money(everything, tariff_set)
    divided = _divided_by_host(kind, selection, output)
    hosts = ("host",) if selection.apart and kind != "tag" else ()
    columns = (*hosts, *_key_columns(kind), "charge", "currency", *_CHARGES, *_UNITS, *_COUNTS)
    usual = (*(hosts if divided else ()), *_shown_keys(kind), "charge", "currency", *_UNITS)
    bill_rows = [
        (*(key.host for _ in hosts), *_cells(kind, key), *_figures(line, money))
        for key, line in lines.items()
    ]
    charge = columns.index("charge")
    bill_rows.sort(key=lambda row: (-row[charge], str(row)))
    lacking = None
    if rollup_of(kind, selection) is not None:
        lacking = _charged_by_hour(connection, selection.window, tariff_set)
    total, more = _total([row[charge:] for row in bill_rows], lines.values(), everything, money)
    words = [
        *more,
        *completeness.words(connection, selection, lacking=lacking),
        *exactness.of_each(connection, usual),
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


def _money(everything: Line, tariff_set: Tariffs) -> _Money:
    versions = {version.id: version for version in tariff_set.versions}
    used = [versions[number] for number, _ in everything.units]
    currencies = sorted({version.currency for version in used})
    if len(currencies) > 1:
        raise UsageError(
            f"in that window prices are in {' and '.join(currencies)}, which cannot be added up;"
            " make a bill for each"
        )
    return _Money(
        cache(lambda number, factor: versions[number].prices(factor)),
        max((version.decimals for version in used), default=2),
        currencies[0] if currencies else None,
    )


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


def _figures(line: Line, money: _Money) -> tuple[Any, ...]:
    charges = rounded(line.charges(money.prices), money.decimals)
    units = line.totals()
    hours = (
        round(units.cpu_ns / HOUR_NS, 6),
        round(units.memory_mb_us / MB_US_PER_GIB_HOUR, 6),
    )
    counts = (line.unmeasured, line.without_io, line.uncharged)
    return (
        sum(charges),
        money.currency,
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
    money: _Money,
) -> tuple[tuple[Any, ...], list[str]]:
    """The figures of the total, and notes on them: the sum of the lines if they are everything;
    otherwise the cost of everything, with each process counted once.
    """
    figures = _figures(everything, money)
    charge, currency, *others = figures
    charges = [sum(row[2 + place] for row in bill_rows) for place in range(len(_CHARGES))]
    unit = currency or ""
    words = []
    if total_line(lines) == everything:
        charge = sum(charges)
        figures = (charge, currency, *charges, *others[len(_CHARGES) :])
    else:
        words = [
            f"the lines add up to {sum(charges)} {unit}, not to the total, which counts each"
            " process once: some processes are in several lines, or were in a job for a part of"
            " their lifetime"
        ]
    total = f"total: {charge} {unit} for {counted(everything.count, 'process')}"
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
        f"{counted(number, 'process')} {was(number)} pruned, and charged in"
        " the bill and at the price that are valid at the start of the hour in which they ended: so"
        " this bill may differ from an earlier bill"
    ]


def _with_records(number: int, unjoined: int) -> str:
    """A number of processes, with the accounting records among them that have no process."""
    parts = []
    if number > unjoined:
        parts.append(counted(number - unjoined, "process"))
    if unjoined:
        parts.append(f"{counted(unjoined, 'accounting record')} joined to no process")
    return " and ".join(parts)


def _missing(everything: Line) -> list[str]:
    """Notes on what is not charged."""
    words = []
    if everything.uncharged:
        uncharged = _with_records(everything.uncharged, everything.unjoined_uncharged)
        words.append(f"{uncharged} ended when no tariff was valid, and are not charged")
    if everything.unmeasured:
        unmeasured = counted(everything.unmeasured, "process")
        words.append(f"CPU time of {unmeasured} is not known and not charged")
    if everything.without_io:
        without_io = _with_records(everything.without_io, everything.unjoined)
        words.append(f"memory and I/O of {without_io} are not known and not charged")
    return words
