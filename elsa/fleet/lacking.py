"""What the figures of a report on a fleet lack: hosts that are late, that have known losses, or
whose hours were deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from elsa.report import completeness
from elsa.report.render.columns import local_time
from elsa.units import HOUR_NS

if TYPE_CHECKING:
    from elsa.fleet.copy import Copy
    from elsa.report.query.times import Window

LATE_HOURS = 2
"""An hour is rolled up a quarter of an hour after its end, and pushed within the hour after."""
_NAMED = 5
_DAY = 24


class Late(NamedTuple):
    """A host of which hours of the window may still come."""

    host: str
    until: str | None
    """Up to when everything of it is here; None: its first push has not come to its end."""


class Incomplete(NamedTuple):
    """A host with known losses in the window."""

    host: str
    gaps: int


class Pruned(NamedTuple):
    """A host whose sums by hour the report needed and the fleet has not any more."""

    host: str
    since: str
    until: str
    """The sums are missing between the two, in the hours that the report took one by one."""


class Hosts(NamedTuple):
    """The hosts of a report of which something is missing."""

    number: int
    late: list[Late]
    incomplete: list[Incomplete]
    pruned: list[Pruned]

    @property
    def lack_hours(self) -> bool:
        """Whether figures of the report lack hours of some host."""
        return bool(self.late or self.pruned)

    def words(self) -> list[str]:
        """Notes on them."""
        of = f" of {self.number} hosts"
        words = []
        if self.late:
            listed = _listed(
                f"{each.host} ({'nothing yet' if each.until is None else local_time(each.until)})"
                for each in self.late
            )
            words.append(f"{len(self.late)}{of} are late, with sums until: {listed}")
        if self.incomplete:
            listed = _listed(
                f"{each.host} ({completeness.count(each.gaps, 'gap')})" for each in self.incomplete
            )
            words.append(f"{len(self.incomplete)}{of} are incomplete: {listed}")
        if self.pruned:
            listed = _listed(
                f"{each.host} (from {local_time(each.since)} until {local_time(each.until)})"
                for each in self.pruned
            )
            words.append(
                f"hours of {len(self.pruned)}{of} were deleted from the fleet (elsa fleet prune)"
                " and are missing in these figures; take whole days of UTC, or ask the host:"
                f" {listed}"
            )
        return words

    def facts(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "number": self.number,
            "late": [each._asdict() for each in self.late],
            "incomplete": [each._asdict() for each in self.incomplete],
            "pruned": [each._asdict() for each in self.pruned],
        }


def find(copy: Copy, window: Window) -> Hosts:
    """The hosts that are late, or have known losses in a window."""
    of_hosts = "true" if copy.chosen is None else "t.id = any(%s)"
    rows = copy.rows(
        "select t.name, t.until_hour, floor(extract(epoch from now()))::bigint"
        f" from elsa.host as t where {of_hosts} order by t.until_hour nulls first, t.id",
        [] if copy.chosen is None else [copy.chosen],
    )
    late = []
    for name, until_hour, now_s in rows:
        end = now_s // 3600 - LATE_HOURS
        if window.until is not None:
            end = min(end, window.until // HOUR_NS)
        if until_hour is None or until_hour < end:
            late.append(Late(name, None if until_hour is None else iso(until_hour)))
    touching = completeness.touching(window) or " where true"
    incomplete = copy.execute(
        f"select host, count(*) from gaps{touching} and host is not null group by host_id, host"
        " order by 2 desc, 1"
    )
    gaps = [Incomplete(*row) for row in incomplete]
    return Hosts(len(rows), late, gaps, [*_pruned_hosts(copy)])


def _pruned_hosts(copy: Copy) -> Iterator[Pruned]:
    """The hosts of which hours that the report took were deleted."""
    some = "select 1 from elsa.host where pruned_hour is not null limit 1"
    if not copy.hours_taken or not copy.rows(some):
        return
    of_hosts, hosts = copy.of_hosts("d")
    # Where a day has no sums, none of its hours had any.
    rows = copy.rows(
        f"""select h.name, h.pruned_hour, array_agg(distinct d.day order by d.day)
        from elsa.host as h join elsa.rollup_day_user as d
            on d.host_id = h.id and d.day < h.pruned_hour / {_DAY}
        where {of_hosts} group by h.id order by h.name, h.id""",
        hosts,
    )
    for name, pruned_hour, days in rows:
        missing = [
            (max(first, part.first), min(first + _DAY, part.until, pruned_hour))
            for day in days
            for part in copy.hours_taken
            if (first := day * _DAY) < part.until and part.first < first + _DAY
        ]
        if missing:
            since, until = min(missing)[0], max(end for _, end in missing)
            yield Pruned(name, iso(since), iso(until))


def iso(hour: int) -> str:
    """When an hour since 1970 begins, in UTC."""
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _listed(names: Iterator[str]) -> str:
    """The first of some names, and how many there are more."""
    listed = [*names]
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
