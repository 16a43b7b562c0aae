"""Finds the hosts of a fleet that a report lacks data of, for the notes of lacking.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from elsa.fleet.ids import IDS_OF_HOST
from elsa.fleet.lacking import LATE_HOURS, Current, Hosts, Incomplete, Late, Pruned, Silent, Unread
from elsa.formats import utc_time
from elsa.report import completeness
from elsa.report.collector_status import Silence
from elsa.units import HOUR_NS, SECOND_NS

if TYPE_CHECKING:
    from elsa.fleet.copy import Copy
    from elsa.report.query.times import Window

_DAY = 24


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
