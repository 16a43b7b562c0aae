"""What the figures of a report on a fleet lack: hosts that are late, that have known losses, or
whose hours were deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from elsa.report import completeness
from elsa.report.render.columns import local_time

LATE_HOURS = 2
"""An hour is rolled up a quarter of an hour after its end, and pushed within the hour after."""
_NAMED = 5


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


def iso(hour: int) -> str:
    """When an hour since 1970 begins, in UTC."""
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _listed(names: Iterator[str]) -> str:
    """The first of some names, and how many there are more."""
    listed = [*names]
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
