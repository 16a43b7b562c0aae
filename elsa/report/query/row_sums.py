"""Sums over the rows `u` of elsa.report.query.statement.rows, or over the part of each row that is
in a window. Sums of any size are in elsa/store/sums.py.
"""

from __future__ import annotations

from elsa.measures import MEASURES, OF_MEMBERS
from elsa.report.query.times import Window
from elsa.store import aggregates


def share(window: Window) -> str:
    """The share of a row's lifetime that is in a window, 0 to 1. A row without a length is where it
    ended.
    """
    return overlap(
        f"min(u.out_ns, {window.until})" if window.until is not None else "u.out_ns",
        f"max(u.in_ns, {window.since})" if window.since is not None else "u.in_ns",
    )


def overlap(until: str, since: str) -> str:
    """The part of a row's lifetime between two SQL expressions."""
    return (
        f"(case when u.out_ns > u.in_ns then ({until} - {since}) * 1.0 / (u.out_ns - u.in_ns) else"
        " 1.0 end)"
    )


def sums(part: str | None = None, *, members: bool = False) -> dict[str, str]:
    """The aggregate of each measure, by column; with `part`, of this share of each row."""
    listed = MEASURES | OF_MEMBERS if members else MEASURES
    return {key: aggregates.of_rows(measure, part) for key, measure in listed.items()}
