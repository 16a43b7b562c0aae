"""What each report on the fleet reads: it is added up in PostgreSQL as far as the report allows,
and fetched into a copy in memory. The report itself is that of a host, with the same options, words
and formats.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from elsa.errors import UsageError
from elsa.fleet import REPORTS, database, host_lookup, hours, sums
from elsa.fleet.copy import AMONG, OF_JOBS, Copy, Part, Wanted
from elsa.fleet.ids import IDS_OF_HOST, split_ids
from elsa.report import completeness, usage
from elsa.report.billing import units
from elsa.report.query import rollup_source, warehouse
from elsa.report.query.options import resolve
from elsa.report.query.process_rows import columns_of
from elsa.report.query.times import PERIODS, Window
from elsa.state import job_kinds

if TYPE_CHECKING:
    from elsa.fleet_url import FleetUrl
    from elsa.report.query.selection import Selection

_ALWAYS = Window()
_BY = {"commands": usage.COMMANDS, "users": usage.USERS, "groups": usage.GROUPS}
_OVER_TIME = {"hours": usage.HOURS, "days": usage.DAYS, "months": usage.MONTHS}
# What a bill reads of the measures.
_CHARGED = {
    *("processes", "cpu_s", "coremem_mb_s", "read_bytes", "write_bytes"),
    *("with_usage", "without_usage", *completeness.CLASS_SUMS),
}


@contextmanager
def reading(url: FleetUrl, wanted: Wanted, limit: database.Limit | None = None) -> Iterator[Copy]:
    """The copy for a report, which `fetch` fills. Raises UsageError for a report that sums cannot
    answer, and what connecting raises, also after the time of the limit.
    """
    if wanted.report not in REPORTS:
        raise UsageError(
            f"elsa report {wanted.report} needs single processes, and {url} has the sums of a fleet"
            f" only; run it on the host itself, or take one of: {', '.join(REPORTS)}"
        )
    copy = sqlite3.connect(":memory:", isolation_level=None, factory=Copy)
    with warehouse.of_copy(str(url), copy):
        copy.url, copy.wanted, copy.explained, copy.hours_taken = url, wanted, [], []
        with database.reading(url, limit) as copy.server:
            # All sums are those of one state of the fleet.
            copy.server.execute("begin transaction isolation level repeatable read, read only")
            copy.begin()
            _fill_tariffs_and_jobs(copy)
            warehouse.give_names(copy)
            yield copy


def _fill_tariffs_and_jobs(copy: Copy) -> None:
    """Copy what other options are understood by: tariffs, and jobs by name, id and tag."""
    if copy.wanted.report == "bill":
        copy.fill("tariff", "true", [])
        copy.fill("tariff_factor", "true", [])
    if not copy.wanted.names_jobs:
        return
    asked = copy.wanted.asked
    names = [*asked.get("job", ()), *([copy.wanted.job] if copy.wanted.job else [])]
    where, values = "true", []
    if names and not any(set("*?[") & {*name} for name in names):
        possible = {end for name in names for end in _endings(name)}
        ids = [int(name) for name in names if name.isascii() and name.isdigit()]
        ids = [id_ for id_ in ids if id_ < 2**63]
        where = f"(t.name = any(%s) or t.host_id * {IDS_OF_HOST} + t.id = any(%s))"
        values = [sorted(possible), ids]
    elif not names and asked.get("tag"):
        where = """(t.host_id, t.id) in (
            select g.host_id, g.job_id from elsa.job_tag as g where g.key = any(%s))"""
        values = [[tag.partition("=")[0] for tag in asked["tag"]]]
    copy.fill_jobs(where, values)
    _fill_names(copy)  # anna:nightly is a job of that owner


def _endings(name: str) -> Iterator[str]:
    """The names of jobs that a text may mean: nightly#-2, service:nginx, service:anna:nginx."""
    for text in (name, name.rpartition("#")[0]):
        parts = text.split(":")
        yield from (":".join(parts[first:]) for first in range(min(len(parts), 3)))


def fetch(copy: Copy, selection: Selection) -> Selection:
    """Copy what the report on a selection reads, and return the selection by whole hours. Raises
    UsageError if sums cannot answer it.
    """
    selection, words = hours.by_whole_hours(selection)
    # The copy has the chosen hosts only.
    if copy.chosen is not None:
        copy.execute(f"delete from host where id not in ({', '.join(map(str, copy.chosen))})")
    others = (each for each in selection.choices if columns_of([each.sql]) != {"host_id"})
    selection = replace(selection, choices=tuple(others))
    report, window = copy.wanted.report, selection.window
    if copy.wanted.clip:
        raise _needs_processes(copy, "--clip")
    if report in _BY or report in _OVER_TIME:
        _fetch_usage(copy, (_BY | _OVER_TIME)[report], selection)
    elif report == "kinds":
        keys = {"host_id"} if copy.wanted.output.asks_for("host") else set[str]()
        sums.of_window(copy, "rollup_user", keys, window)
        sums.of_window(copy, "rollup_job", {"job_id"}, window)
        if window:
            copy.fill_jobs_of(_summed_jobs(copy))
        else:
            copy.fill_jobs("t.kind <> 'manual'", [])
    elif report == "bill":
        _fetch_bill(copy, selection)
    elif report == "audit":
        sums.of_window(copy, "rollup_audit", {*sums.KEYS["rollup_audit"]}, window)
        _fetch_whole_jobs(copy, _with_counters(copy, window))
    elif report in OF_JOBS:
        if copy.wanted.job is not None and selection.job is not None:
            copy.chosen = [selection.job // IDS_OF_HOST]  # nothing of other hosts concerns the job
        _fetch_jobs(copy, selection)
    _fill_boots_and_gaps(copy, window)
    _fill_names(copy)
    warehouse.give_names(copy)
    copy.hosts = host_lookup.find(copy, window)
    return replace(selection, words=(*selection.words, *words))


def _needs_processes(copy: Copy, what: str) -> UsageError:
    hosts = [name for (name,) in copy.execute("select name from host order by id")]
    where = f"on {hosts[0]}" if len(hosts) == 1 else "on the host itself"
    return UsageError(
        f"{what} needs single processes, and a fleet database has sums only: by user and group,"
        f" by command, and by job; run this report {where}"
    )


def _options(copy: Copy, can_do: Callable[[Selection], bool]) -> str:
    """The options that sums cannot answer: each by itself, or else all of them together."""
    now = datetime.now().astimezone()
    given = {
        kind: values
        for kind, values in copy.wanted.asked.items()
        if values and kind not in ("host", "since", "until", *PERIODS)
    }
    alone = [
        kind for kind, values in given.items() if not can_do(resolve(copy, {kind: values}, now))
    ]
    return " ".join(f"--{kind}" for kind in alone or given)


def _fetch_usage(copy: Copy, by: usage.By, selection: Selection) -> None:
    by = by.of(selection, copy.wanted.output)
    rollup = usage.rollup_of(by, selection)
    if rollup is None:
        options = _options(copy, lambda alone: usage.rollup_of(by, alone) is not None)
        raise _needs_processes(copy, f"{copy.wanted.report} {options}")
    table = "rollup_user" if rollup == rollup_source.ALL else rollup
    choices = [each.sql for each in selection.choices]
    keys = columns_of([*by.keys.values(), *by.apart, *choices])
    needed = usage.measures(by, selection, copy.wanted.output)
    if by.period is None:
        parts = [hours.whole(selection.window)]
    else:
        parts = hours.of_periods(copy, by.period, selection.window)
    sums.of_parts(copy, table, keys, parts, needed, selection.jobs)
    if table == "rollup_user":
        return
    if rollup_source.knows("rollup_user", selection.choices):
        sources = {*completeness.CLASS_SUMS}
        sums.of_window(copy, "rollup_user", columns_of(choices), selection.window, sources)
    # The view hour_without_day knows an hour by its sums by user.
    copy.execute(
        "insert into rollup_user (hour, pruned, in_job)"
        f" select distinct hour, 1, 0 from {table}"
        " where hour not in (select hour from rollup_user)"
    )


def _fetch_bill(copy: Copy, selection: Selection) -> None:
    by = copy.wanted.by or "user"
    if units.rollup_of(by, selection) is None:
        options = _options(copy, lambda alone: units.rollup_of(by, alone) is not None)
        raise _needs_processes(copy, f"bill {options}")
    choices = columns_of(each.sql for each in selection.choices)
    parts = hours.of_prices(copy, selection.window)
    if by in ("user", "group"):
        of = {"uid" if by == "user" else "gid", "host_id"}
        sums.of_parts(copy, "rollup_user", of | choices, parts, _CHARGED)
        return
    sums.of_parts(copy, "rollup_user", {"in_job"} | choices, parts, _CHARGED)
    sums.of_parts(copy, "rollup_job", {"job_id"}, parts, _CHARGED)
    copy.fill_jobs_of(_summed_jobs(copy))


def _fetch_jobs(copy: Copy, selection: Selection) -> None:
    """Copy what the chosen jobs used in the window and otherwise, in different hours."""
    window, report = selection.window, copy.wanted.report
    if report == "job" and window and copy.wanted.by:
        raise _needs_processes(copy, "--summary in a window")
    if copy.wanted.names_jobs:
        ids = selection.jobs or copy.ids("select id from job")
    elif report == "jobs" and window:
        sums.of_window(copy, "rollup_job", {"job_id"}, window)
        ids = _summed_jobs(copy)
    else:
        ids = _listed_jobs(copy, window)
    if window and (copy.wanted.names_jobs and report != "runs"):
        sums.of_window(copy, "rollup_job", {"job_id"}, window, jobs=ids)
    _fetch_whole_jobs(copy, ids, window if report != "runs" else Window())


def _fetch_whole_jobs(copy: Copy, ids: Sequence[int], window: Window = _ALWAYS) -> None:
    """Copy jobs, and what they used outside of a window that was copied already."""
    copy.fill_jobs_of(ids)
    first, until = hours.bounds(window)
    elsewhere = until if window.since is None else first - 1
    parts = [
        Part(hours.FIRST, first, elsewhere),
        Part(until, hours.LAST, elsewhere),
    ]
    if not window:
        elsewhere, parts = 0, [Part(hours.FIRST, hours.LAST, 0)]
    sums.of_parts(copy, "rollup_job", {"job_id"}, parts, None, ids)
    sums.of_no_hour(copy, elsewhere, ids)


def _listed_jobs(copy: Copy, window: Window) -> list[int]:
    """The jobs of a list of jobs without a window, or of a report on runs."""
    asked, output = copy.wanted.asked, copy.wanted.output
    where, values = copy.of_hosts()
    kinds = job_kinds.chosen(asked.get("kind", ()))
    where += " and t.kind = any(%s)"
    values.append(sorted(kinds))
    if window.since is not None:
        where += " and (t.closed_at_ns is null or t.closed_at_ns >= %s)"
        values.append(window.since)
    if window.until is not None:
        where += " and t.created_at_ns < %s"
        values.append(window.until)
    narrowed = output.sort is not None or any(
        asked.get(name) for name in ("user", "exit", "state", "cgroup")
    )
    if copy.wanted.report == "jobs" and output.limit is not None and not narrowed:
        where += " order by t.created_at_ns desc, t.host_id desc, t.id desc"
        where += f" limit {output.limit + 1}"
    rows = copy.rows(
        f"select t.host_id * {IDS_OF_HOST} + t.id from elsa.job as t where {where}", values
    )
    return [id_ for (id_,) in rows]


def _with_counters(copy: Copy, window: Window) -> list[int]:
    """The newest jobs that closed in a window and have counters of a control group."""
    where, values = copy.of_hosts()
    for time, how in ((window.since, ">="), (window.until, "<")):
        if time is not None:
            where += f" and t.closed_at_ns {how} %s"
            values.append(time)
    rows = copy.rows(
        f"""select t.host_id * {IDS_OF_HOST} + t.id from elsa.job as t
        where {where} and exists (
            select 1 from elsa.job_cgroup as g where g.host_id = t.host_id and g.job_id = t.id)
        order by t.created_at_ns desc limit {copy.wanted.output.limit or 20}""",
        values,
    )
    return [id_ for (id_,) in rows]


def _summed_jobs(copy: Copy) -> list[int]:
    return copy.ids("select distinct job_id from rollup_job")


def _fill_boots_and_gaps(copy: Copy, window: Window) -> None:
    """Copy the boots of a window, and the known losses that may touch it or a copied job."""
    where, values = ["true"], list[Any]()
    if window.until is not None:
        where.append("coalesce(t.started_at_ns < %s, true)")
        values.append(window.until)
    if window.since is not None:
        where.append("coalesce(t.ended_at_ns >= %s, true)")
        values.append(window.since)
    copy.fill("boot", " and ".join(where), values)
    boots = copy.ids("select id from boot")
    among = AMONG.format("boot_id")
    touching, values = "true", list[Any]()
    if window and not copy.ids("select id from job limit 1"):
        # Wider than the exact conditions, which follow in SQLite.
        offset = "(select {}(c.offset_ns) from elsa.clock as c where c.host_id = t.host_id"
        offset += " and c.boot_id = t.boot_id)"
        if window.since is not None:
            touching += f" and coalesce(t.to_ns + {offset.format('max')} >= %s, true)"
            values.append(window.since)
        if window.until is not None:
            touching += f" and coalesce(t.from_ns + {offset.format('min')} < %s, true)"
            values.append(window.until)
    copy.fill("gap", f"(t.boot_id is null or {among}) and {touching}", [*split_ids(boots), *values])
    of_gaps = copy.ids("select distinct boot_id from gap where boot_id is not null")
    copy.fill("clock", among, split_ids(of_gaps))


def _fill_names(copy: Copy) -> None:
    """Copy the names of the users and groups that the copy has."""
    present = {
        "user": """select host_id, uid as id from rollup_user where uid is not null
            union select b.host_id, j.owner_uid
            from job as j join boot as b on b.id = j.boot_id""",
        "group": "select host_id, gid as id from rollup_user where gid is not null",
    }
    for kind, sql in present.items():
        hosts = copy.ids(f"select distinct host_id from ({sql}) where host_id is not null")
        if hosts:
            ids = copy.ids(f"select distinct id from ({sql}) where host_id is not null")
            # More names than needed: of each host and id, since pairs take longer to look up.
            copy.fill_accounts(
                "t.kind = %s and t.host_id = any(%s) and t.id = any(%s)", [kind, hosts, ids]
            )
