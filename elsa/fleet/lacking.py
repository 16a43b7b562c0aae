"""What the figures of a report on a fleet lack: hosts that are late or do not record, that have
known losses, or whose hours were deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from elsa.fleet.ids import IDS_OF_HOST
from elsa.formats import local_time, utc_time
from elsa.report import completeness
from elsa.report.collector_status import Silence
from elsa.text import counted
from elsa.units import HOUR_NS, SECOND_NS

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


class _Host(NamedTuple):
    """A host with the last run of its jobd, if that is silent."""

    id: int
    name: str
    until_hour: int | None
    silent_since_ns: int | None
    unread_since_ns: int | None
    boot_id: int | None
    was_stopped: bool
    now_s: int


def find(copy: Copy, window: Window) -> Hosts:
    """The hosts that are late or do not record, or have known losses in a window; the copy gets the
    silences of jobd too.
    """
    of_hosts = "true" if copy.chosen is None else "t.id = any(%s)"
    rows = copy.rows(
        f"""select t.id, t.until_hour, t.silent_since_ns, t.unread_since_ns,
            last.boot_id + t.id * {IDS_OF_HOST}, last.stopped_ns is not null,
            floor(extract(epoch from now()))::bigint
        from elsa.host as t left join lateral (
            select c.boot_id, c.stopped_ns from elsa.collector as c
            where c.host_id = t.id order by c.id desc limit 1
        ) as last on t.silent_since_ns is not null
        where {of_hosts}""",
        [] if copy.chosen is None else [copy.chosen],
    )
    late, silent, unread, current = [], [], [], []
    names = dict(copy.execute("select id, name from host"))
    hosts = sorted((_Host(row[0], names[row[0]], *row[1:]) for row in rows), key=lambda h: h.name)
    for host in hosts:
        _keep_silence(copy, host)
        end_s = host.now_s if window.until is None else min(host.now_s, window.until // SECOND_NS)
        hour = host.until_hour
        if hour is None or hour < min(end_s // 3600, host.now_s // 3600 - LATE_HOURS):
            late.append(Late(host.name, None if hour is None else utc_time(hour * HOUR_NS)))
        elif hour * 3600 < end_s:
            current.append(Current(host.name, utc_time(hour * HOUR_NS)))
        if since := _if_touches(window, host.silent_since_ns):
            silent.append(Silent(host.name, since))
        if since := _if_touches(window, host.unread_since_ns):
            unread.append(Unread(host.name, since))
    touching = completeness.touching(window) or " where true"
    incomplete = copy.execute(
        f"select host, count(*) from gaps{touching} and host is not null group by host_id, host"
        " order by host, host_id"
    )
    gaps = [Incomplete(*row) for row in incomplete]
    untils = [host.until_hour for host in hosts if host.until_hour is not None]
    until = utc_time(min(untils) * HOUR_NS) if untils and len(untils) == len(hosts) else None
    begun = window.since is None or any(hour * HOUR_NS > window.since for hour in untils)
    pruned = [*_pruned_hosts(copy, names)]
    return Hosts(len(rows), late, gaps, pruned, silent, unread, current, until, begun)


def _if_touches(window: Window, since_ns: int | None) -> str | None:
    """Since when something lasts, if it touches a window."""
    if since_ns is None or (window.until is not None and since_ns >= window.until):
        return None
    return utc_time(since_ns)


def _keep_silence(copy: Copy, host: _Host) -> None:
    """Keep the silence of a host, for elsa.report.collector_status.silences."""
    if host.silent_since_ns is not None:
        since = (utc_time(host.silent_since_ns), host.silent_since_ns)
        silence = Silence(host.id, host.name, host.boot_id, *since, stopped=host.was_stopped)
        copy.execute("insert into temp.silence values (?, ?, ?, ?, ?, ?)", silence)


def _pruned_hosts(copy: Copy, names: Mapping[int, str]) -> Iterator[Pruned]:
    """The hosts of which hours that the report took were deleted."""
    some = "select 1 from elsa.host where pruned_hour is not null limit 1"
    if not copy.hours_taken or not copy.rows(some):
        return
    of_hosts, hosts = copy.of_hosts("d")
    # Where a day has no sums, none of its hours had any.
    rows = copy.rows(
        f"""select h.id, h.pruned_hour, array_agg(distinct d.day order by d.day)
        from elsa.host as h join elsa.rollup_day_user as d
            on d.host_id = h.id and d.day < h.pruned_hour / {_DAY}
        where {of_hosts} group by h.id""",
        hosts,
    )
    for name, pruned_hour, days in sorted((names[host_id], *rest) for host_id, *rest in rows):
        missing = [
            (max(first, part.first), min(first + _DAY, part.until, pruned_hour))
            for day in days
            for part in copy.hours_taken
            if (first := day * _DAY) < part.until and part.first < first + _DAY
        ]
        if missing:
            since, until = min(missing)[0], max(end for _, end in missing)
            yield Pruned(name, utc_time(since * HOUR_NS), utc_time(until * HOUR_NS))


def _are(hosts: list[Late] | list[Incomplete]) -> str:
    return "is" if len(hosts) == 1 else "are"


def _since(hosts: list[Silent] | list[Unread]) -> str:
    return _listed(f"{each.host} (since {local_time(each.since)})" for each in hosts)


def _listed(names: Iterator[str]) -> str:
    """The first of some names, and how many there are more."""
    listed = [*names]
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
