"""What each process used within a window in which it lived, for reports of single processes: what
was read of it while it ran, and the remainder if it ended there. So processes add up to what
reports by hour say of the window.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from elsa.measures import MEASURES
from elsa.report.query import row_sums
from elsa.report.query.process_rows import rows
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Query, select
from elsa.report.query.times import Window
from elsa.store import aggregates

# Of the process as a whole: how many it is, and its lifetime.
_WHOLE = ("elapsed_s", "etime_ticks")
MEASURED = tuple(
    key
    for key, measure in MEASURES.items()
    if measure.fold in ("sum", "float", "max") and key not in _WHOLE
)
"""The figures of which processes use a part in a window."""


class WindowUsage(NamedTuple):
    """What the rows `u` of elsa.report.query.process_rows.rows used in a window."""

    columns: dict[str, str]
    """The expressions over the joined rows, in the units of aggregates.over_rows; NULL where it is
    not known how much was used in the window.
    """
    join: Query
    """What `u` has to be joined with."""

    @property
    def needed(self) -> list[str]:
        """What names the columns of `u` that are needed."""
        return [*self.columns.values(), "u.whose_id", "u.boot_id"] if self.columns else []


NO_USAGE = WindowUsage({}, Query(""))


def window_usage(selection: Selection, keys: Iterable[str]) -> WindowUsage:
    """The usage in the window of a selection, by these keys of MEASURED."""
    wanted = [key for key in MEASURED if key in {*keys}]
    if not wanted:
        return NO_USAGE
    sums = {key: aggregates.over_rows(MEASURES[key]).sql for key in wanted}
    used = rows(
        Selection(selection.window, jobs=selection.jobs),
        ["u.whose_id", *sums.values()],
        used=True,
    )
    each = f"{select({'whose_id': 'u.whose_id'} | sums)}\n{used.sql}\ngroup by u.whose_id"
    # A process that was living at a reading in the window, and has no row, used nothing up to then.
    idle = (
        "u.origin <> 'acct' and u.entered_ns < lately.read_ns"
        " and (u.out_ns is null or u.out_ns >= lately.read_ns)"
    )
    columns = {
        key: (
            f"coalesce(used.{key}, case when {idle}"
            f" and {aggregates.over_rows(MEASURES[key]).text} is not null then 0 end)"
            if key in row_sums.BY_INTERVAL
            else f"used.{key}"
        )
        for key in wanted
    }
    return WindowUsage(
        columns,
        Query(
            f"\nleft join (\n{each}\n) as used on used.whose_id = u.whose_id\n"
            f"left join ({_last_readings(selection.window)}) as lately"
            " on lately.boot_id = u.boot_id",
            used.values,
        ),
    )


def _last_readings(window: Window) -> str:
    """SQL for the last time in a window at which all processes of a boot were read. In old hours
    one long interval is of all processes, and shorter intervals that lie in it are of few.
    """
    read = "r.until_ns + c.offset_ns"
    where = " and ".join(["r.of_all = 1", *window.hours("r.hour"), *window.where(f"{read} - 1")])
    return f"""
    select c.boot_id, max({read}) as read_ns
    from usage_reading as r
    join clock as c on c.id = r.clock_id
    where {where} and not exists (
        select 1
        from usage_reading as l
        join clock as k on k.id = l.clock_id
        where l.hour = r.hour and k.boot_id = c.boot_id and l.of_all = 1
            and l.since_ns < r.until_ns and l.until_ns > r.until_ns
    )
    group by c.boot_id
"""
