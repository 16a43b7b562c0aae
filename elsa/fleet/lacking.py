"""What the figures of a report on a fleet lack: hosts that are late or do not record, that have
known losses, or whose hours were deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from elsa.formats import local_time
from elsa.text import counted

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


class Silent(NamedTuple):
    """A host whose jobd, as of its last push, has recorded nothing since a time in the window."""

    host: str
    since: str


class Unread(NamedTuple):
    """A host on which, as of its last push, no accounting record was read since, while jobd ran."""

    host: str
    since: str


class Pruned(NamedTuple):
    """A host whose sums by hour the report needed and the fleet has not any more."""

    host: str
    since: str
    until: str
    """The sums are missing between the two, in the hours that the report took one by one."""


class Current(NamedTuple):
    """A host that is in time, and whose sums end before the window does."""

    host: str
    until: str


class Hosts(NamedTuple):
    """The hosts of a report of which something is missing."""

    number: int
    late: list[Late]
    incomplete: list[Incomplete]
    pruned: list[Pruned]
    silent: list[Silent]
    unread: list[Unread]
    current: list[Current]
    until: str | None
    """Up to when everything of all hosts is here; None: of one there is nothing yet."""
    begun: bool
    """Whether some host has sums of the window."""

    @property
    def lack_figures(self) -> bool:
        """Whether figures of the report lack something of a host that no gap stands for."""
        return bool(self.late or self.pruned or self.silent or self.unread)

    def words(self) -> list[str]:
        """Notes on them."""
        of = f" of {counted(self.number, 'host')}"
        words = []
        if self.late:
            listed = _listed(
                f"{each.host} ({'nothing yet' if each.until is None else local_time(each.until)})"
                for each in self.late
            )
            words.append(f"{len(self.late)}{of} {_are(self.late)} late, with sums until: {listed}")
        if self.silent:
            words.append(
                f"jobd is silent on {len(self.silent)}{of}; later data is from accounting only:"
                f" {_since(self.silent)}"
            )
        if self.unread:
            words.append(
                f"no accounting record is read any more on {len(self.unread)}{of}:"
                f" {_since(self.unread)}"
            )
        if self.incomplete:
            listed = _listed(
                f"{each.host} ({counted(each.gaps, 'gap')})" for each in self.incomplete
            )
            words.append(f"{len(self.incomplete)}{of} {_are(self.incomplete)} incomplete: {listed}")
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
        if self.current:
            hosts_until: dict[str, list[str]] = {}
            for each in self.current:
                hosts_until.setdefault(each.until, []).append(each.host)
            parts = (
                f"of {hosts[0] if len(hosts) == 1 else counted(len(hosts), 'host')}"
                f"{' reach' if not place else ''} until {local_time(until)}"
                for place, (until, hosts) in enumerate(sorted(hosts_until.items()))
            )
            before = "" if self.begun else ", before that window"
            words.append(
                f"the sums {', '.join(parts)}{before}; what is later comes with the next push"
            )
        return words

    def nothing(self, without_hosts: Callable[[], str]) -> str:
        """The message of a report without rows, with how far it is known."""
        text = without_hosts()
        if not (self.late or self.current):
            return text
        if not self.begun:
            return "nothing of that window is here yet"
        if self.until is None:
            return f"{text} (not known of all hosts)"
        return f"{text} (known until {local_time(self.until)})"

    def whole(self, facts: dict[str, Any]) -> bool | None:
        """Whether a report is complete, with facts that do not know of the hosts."""
        complete: bool | None = facts.get("complete")
        if self.lack_figures:
            return False
        return None if self.current and complete else complete

    def facts(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "number": self.number,
            "until": self.until,
            "late": [each._asdict() for each in self.late],
            "incomplete": [each._asdict() for each in self.incomplete],
            "pruned": [each._asdict() for each in self.pruned],
            "silent": [each._asdict() for each in self.silent],
            "unread": [each._asdict() for each in self.unread],
        }


def _are(hosts: list[Late] | list[Incomplete]) -> str:
    return "is" if len(hosts) == 1 else "are"


def _since(hosts: list[Silent] | list[Unread]) -> str:
    return _listed(f"{each.host} (since {local_time(each.since)})" for each in hosts)


def _listed(names: Iterator[str]) -> str:
    """The first of some names, and how many there are more."""
    listed = [*names]
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
