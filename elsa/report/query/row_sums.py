"""Sums over the rows `u` of process_rows.py, or over the part of each row that is in a window. Sums
of any size are in elsa/store/sums.py.
"""

from __future__ import annotations

from typing import NamedTuple

from elsa.measures import MEASURES, OF_MEMBERS
from elsa.report.query.times import Window
from elsa.store import aggregates

BY_INTERVAL = {"user_s", "system_s", "cpu_s", "run_ns"} | {
    name for name, measure in MEASURES.items() if measure.in_intervals
}
"""What is stored by interval. The rest of it was used after the last reading; other measures are of
the whole lifetime.
"""


class Share(NamedTuple):
    """SQL for the share of a row that is in a window, 0 to 1. What was at one moment is
    there whole.
    """

    of_rest: str
    """Of what was used after the last reading, if it was used evenly."""
    of_life: str
    """Of its lifetime."""


def share(window: Window) -> Share:
    """The share of a row that is in a window."""
    return overlap(window.since, window.until)


def overlap(since: int | str | None, until: int | str | None) -> Share:
    """The share of a row that is between two times."""
    return Share(_overlap("u.rest_ns", since, until), _overlap("u.in_ns", since, until))


def _overlap(start: str, since: int | str | None, until: int | str | None) -> str:
    first = start if since is None else f"max({start}, {since})"
    last = "u.out_ns" if until is None else f"min(u.out_ns, {until})"
    bounds = [f"u.out_ns >= {since}"] * (since is not None)
    bounds += [f"u.out_ns < {until}"] * (until is not None)
    return (
        f"(case when u.out_ns > {start} then max(0, {last} - {first}) * 1.0 / (u.out_ns - {start})"
        f" else ({' and '.join(bounds) or 'true'}) * 1.0 end)"
    )


def sums(part: Share | None = None, *, members: bool = False) -> dict[str, str]:
    """The aggregate of each measure, by column; with `part`, of this share of each row."""
    listed = MEASURES | OF_MEMBERS if members else MEASURES
    return {
        key: aggregates.of_rows(measure, _share_of(key, part)) for key, measure in listed.items()
    }


def _share_of(key: str, part: Share | None) -> str | None:
    if part is None:
        return None
    return part.of_rest if key in BY_INTERVAL else part.of_life
