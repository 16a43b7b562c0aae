"""The rows that a report on processes is made of.

`rows` has one row per process or accounting record, under the alias `u`, with the columns of the
view process_usage (of job_process_usage, if jobs are chosen), and more: `in_ns` and `out_ns`, the
real times at which the process started and ended; in a job, at which it entered and left;
`entered_ns`, the first of the two by the clock of its own time (`in_ns` is counted back from the
end); `rest_ns`, from when on it used what the row says; and `whose_id`, the process, or negative
the record without a process. With `used` there is also one row per process and interval in which it
used something, and the others have only what was used after the last reading: so each part of its
usage has the time at which it was used. `used_ns` is where that time starts; in an interval, of
which the other times are the end, it is the reading of all processes before, and `read_ns` its own
reading (monotonic). `was_read` is 1 in a row that has only the rest after a reading, and NULL in an
interval.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from elsa.measures import MEASURES
from elsa.report.query.selection import Selection
from elsa.report.query.statement import Condition, Query, listed, values_of
from elsa.store import job_members
from elsa.store.rollups import (
    END_IN_JOBS,
    HOW,
    IN_INTERVALS_OF_JOBS,
    OF_PART,
    PARTS,
    PROCESSES,
    USED,
)

OUT = "case when u.until_ns is null then u.ended_ns else u.until_ns + u.started_ns - u.start_ns end"
"""When a process left its job, real time in ns, over rows `u` of job_process_usage: where it was
removed, by the clock at its start, as in job_usage; NULL while it is a member and runs."""
_COLUMN = re.compile(r"\bu\.(\w+)")
_LIFE = "coalesce(u.end_ns - u.start_ns, u.ended_ns - u.started_ns)"
_MEMBERSHIP = (
    "coalesce(u.until_ns, u.end_ns) - case when u.since_ns > u.start_ns then u.since_ns else"
    " u.start_ns end"
)
_ENTERED = "u.started_ns"
_ENTERED_JOB = "u.started_ns + max(u.since_ns - u.start_ns, 0)"
_REST = "coalesce(u.end_ns - u.rest_since_ns, u.ended_ns - u.started_ns)"
_REST_IN_JOB = "coalesce(u.until_ns, u.end_ns) - max(u.since_ns, u.start_ns, u.rest_since_ns)"


def _times(out: str, length: str, entered: str, rest: str | None = None) -> dict[str, str]:
    rest_ns = f"{out} - ({rest or length})"
    return {
        # The first of both, as the clock may have been set back or the machine have slept.
        "entered_ns": f"coalesce(min({entered}, {out} - ({length})), {entered})",
        "out_ns": out,
        "in_ns": f"{out} - ({length})",
        "rest_ns": rest_ns,
        "used_ns": rest_ns,
        "read_ns": "null",
        "was_read": "0" if rest is None else "u.rest_since_ns > u.start_ns",
        "whose_id": "u.process_id",
        "since_start_ns": "u.started_ns",
    }


_OF_HOST = _times("u.ended_ns", _LIFE, _ENTERED)
_OF_INTERVAL = dict.fromkeys(("out_ns", "in_ns", "entered_ns", "rest_ns"), "u.ended_ns") | {
    "used_ns": "u.ended_ns + 1 - (u.used_until_ns - u.used_since_ns)",
    "was_read": "null",
    "read_ns": "u.used_until_ns",
    "since_start_ns": "(select p.start_ns + c.offset_ns from process as p join clock as c"
    " on c.id = p.clock_id where p.id = u.used_by)",
    "whose_id": "u.used_by",
}
# The times of a row, by its view.
_DERIVED = {
    "incarnation_usage": _OF_HOST,
    "unjoined_record_usage": _OF_HOST | {"whose_id": "-u.acct_id"},
    "end_usage": _times("u.ended_ns", _LIFE, _ENTERED, _REST),
    "interval_usage": _OF_INTERVAL,
    "job_process_usage": _times(OUT, _MEMBERSHIP, _ENTERED_JOB),
    END_IN_JOBS: _times(OUT, _MEMBERSHIP, _ENTERED_JOB, _REST_IN_JOB),
    IN_INTERVALS_OF_JOBS: _OF_INTERVAL,
}
# Of the view interval_counters, which is read in less than half the time of interval_usage.
_COUNTERS = {"process_id", "command", "uid", "gid", "ended_ns", "ended_hour"}
_COUNTERS |= {"user_ns", "system_ns", "run_ns"}
_COUNTERS |= {name for name, measure in MEASURES.items() if measure.in_intervals}
# The columns of job_process_usage for processes that were in a job from their start to their end.
_WHOLE_LIFE = f"""(
        select
            m.job_id,
            case m.how {HOW} end as how,
            0 as since_ns, null as until_ns, 1 as memberships, 0 as part_life, 0 as part_life_whole,
            i.ended_hour as out_hour, i.*
        from ({{}}) as m cross join {{}} as i on i.process_id = m.process_id
    )"""
# A process in several jobs counts once: in the job where it was for its whole life, else in the
# oldest.
_BETTER = """select 1 from job_member as o
        where o.process_id = u.process_id and +o.job_id in ({})
            and (o.part_life, o.job_id) < (u.part_life, u.job_id)"""
_BETTER_OF_INTERVAL = """select 1 from job_member as o
        join job_member as t on t.process_id = u.used_by and t.job_id = u.job_id
        where o.process_id = u.used_by and +o.job_id in ({})
            and (o.part_life, o.job_id) < (t.part_life, t.job_id)"""
# The processes that may have lived in a window, and those that ended in some hours.
_AMONG_LIVED = "select l.id from lived as l"
_AMONG_ENDED = "select e.id from ended as e"
# Those that were members for a part of their lifetime.
_AMONG_PART = "select o.process_id from of_part as o"
NAMES = {"user": "user_name(u.uid)", "group": "group_name(u.gid)"}
"""The names of users and groups, if all rows are of one host."""
NAMES_APART = {"user": "user_name(u.uid, u.host_id)", "group": "group_name(u.gid, u.host_id)"}
"""The same where rows are of several hosts: the name that each has on the host of the row."""
_IDS = {"user": "u.uid", "group": "u.gid"}


def names(selection: Selection) -> dict[str, str]:
    """The columns of users and groups over rows `u`: their names, or ids if the selection has
    `ids`.
    """
    if selection.ids:
        return _IDS
    return NAMES_APART if selection.apart else NAMES


def columns_of(texts: Iterable[str]) -> set[str]:
    """The columns of `u` that SQL uses."""
    return set(_COLUMN.findall(" ".join(texts)))


def rows(
    selection: Selection,
    expressions: Iterable[str],
    *more: Condition,
    members: bool = False,
    used: bool = False,
    whole: str = "",
    lived: str = "",
) -> Query:
    """The from clause for the rows of a selection, with the columns that the expressions need; with
    `members`, one row per job and process; with `used`, each part of its usage when it was used.

    `whole` is a further condition on the memberships `s` from start to end. `lived` is SQL for the
    processes that the conditions leave, if these are few. Each view is asked for the needed columns
    alone, since SQLite would compute every column of a union of the views.
    """
    conditions = [*selection.conditions(), *more]
    needed = sorted(columns_of(expressions) or {"process_id"})
    tables = {}
    if selection.lived():
        tables["lived"] = selection.lived()
        lived = _AMONG_LIVED
    if selection.jobs is None and not members:
        ended = selection.window._replace(until=None) if selection.clip else selection.window
        hours = [] if selection.alive else ended.hours("u.ended_hour")
        conditions += [Condition(text) for text in hours]
        parts = [
            _part(view, _DERIVED[view], needed, [*conditions, *_among(selection, view)])
            for view in PARTS[USED if used else PROCESSES]
        ]
        return _together(parts, tables)
    among = None if selection.jobs is None else listed(selection.jobs)
    found = _members(among, lived)
    parts = _of_jobs(
        among,
        found,
        needed,
        conditions,
        members=members or selection.job is not None,
        whole=whole,
        used=used,
        of_intervals=_among(selection, IN_INTERVALS_OF_JOBS),
    )
    return _together(parts, tables | found.tables)


def _among(selection: Selection, view: str) -> list[Condition]:
    """Conditions that let SQLite look up what may have lived in a window, instead of reading all.
    Records without a process have no id, and are few.
    """
    if not selection.lived():
        return []
    if view == "unjoined_record_usage":
        return [
            Condition(text) for text in selection.window._replace(until=None).hours("u.ended_hour")
        ]
    if view in ("interval_usage", IN_INTERVALS_OF_JOBS):
        return [Condition(text) for text in selection.window.hours("u.ended_hour")]
    return [Condition(f"u.process_id in ({_AMONG_LIVED})")]


def members(
    among: str,
    expressions: Iterable[str],
    condition: Condition,
    *more: Condition,
    hours: str,
    ended: str,
) -> Query:
    """The same with `used` for the jobs that the SQL `among` lists, where conditions leave only
    what ended in a job in the hours that SQL lists, or the processes that the SQL `ended` lists.
    """
    found = _ended_members(among, hours, ended)
    parts = _of_jobs(
        among,
        found,
        sorted(columns_of(expressions)),
        [condition, *more],
        members=True,
        used=True,
        of_intervals=[Condition(f"u.ended_hour in ({hours})")],
    )
    return _together(parts, found.tables)


def memberships(processes: str, expressions: Iterable[str], *more: Condition) -> Query:
    """The from clause for one row per job and process, of the processes that SQL lists."""
    view = "job_process_usage"
    conditions = [Condition(f"u.process_id in ({processes})"), *more]
    return _together([_part(view, _DERIVED[view], sorted(columns_of(expressions)), conditions)])


def _together(parts: list[Query], tables: Mapping[str, str] = MappingProxyType({})) -> Query:
    """The union of the parts. They read the tables, each of which SQL lists once."""
    sql = "\n    union all\n".join(part.sql for part in parts)
    if tables:
        made = [f"{name} as materialized (\n        {text}\n    )" for name, text in tables.items()]
        sql = f"    with {', '.join(made)}\n{sql}"
    return Query(f"from (\n{sql}\n) as u", values_of(parts))


def _of_jobs(
    among: str | None,
    found: _Members,
    needed: list[str],
    conditions: list[Condition],
    *,
    members: bool,
    used: bool,
    whole: str = "",
    of_intervals: Iterable[Condition] = (),
) -> list[Query]:
    """The rows of job_process_usage, in two parts: each process is in one of them for all its jobs.

    Most processes were in their jobs from start to end, so a job is charged all that they used: to
    look that up takes half the time of the view.
    """
    once = among is not None and not members
    job = "min(s.job_id) as job_id" if once else "s.job_id"
    wanted = f" and {whole}" if whole else ""
    whole = f"{wanted} and s.process_id not in ({_AMONG_PART})"
    whole_lives = f"""select {job}, s.process_id, s.how from (
            select s.job_id, s.process_id, s.how from {found.stored}
                and s.since_ns = 0 and s.until_ns is null{whole}
            union all
            select s.* from {found.inherited}{whole}
        ) as s
        {"group by s.process_id" if once else ""}"""
    part = [Condition(f"u.process_id in ({_AMONG_PART})")]
    # The plus keeps SQLite from looking up each process in each job of the list.
    theirs_alone = [] if among is None else [Condition(f"+u.job_id in ({among})")]
    if once:
        part.append(Condition(f"not exists ({_BETTER.format(among)})"))
    processes, of_jobs = (
        ("end_usage", END_IN_JOBS) if used else ("incarnation_usage", "job_process_usage")
    )
    parts = [
        _part(_WHOLE_LIFE.format(whole_lives, processes), _DERIVED[processes], needed, conditions),
        _part(of_jobs, _DERIVED[of_jobs], needed, [*part, *theirs_alone, *conditions]),
    ]
    if used:
        better = [Condition(f"not exists ({_BETTER_OF_INTERVAL.format(among)})")] if once else []
        chosen = [*of_intervals, *theirs_alone, *better, *conditions]
        view = IN_INTERVALS_OF_JOBS
        parts.append(_part(view, _DERIVED[view], needed, chosen))
    return parts


class _Members(NamedTuple):
    """Where the members of jobs are: SQL for memberships `s`, up to the last condition."""

    stored: str
    """From clause: the rows of table membership."""
    inherited: str
    """From clause: those in the processes' own rows."""
    tables: dict[str, str]
    """The tables that this reads, and the processes that were members for a part of their lifetime.
    """


def _members(among: str | None, lived: str) -> _Members:
    """All members of jobs. Where SQL lists the processes that `lived`, their memberships are looked
    up, instead of the members of each job.
    """
    # The plus keeps SQLite from reading all members of each job.
    theirs = "" if among is None else f" and {'+' if lived else ''}s.job_id in ({among})"
    if lived:
        theirs += f" and s.process_id in ({lived})"
    stored = f"membership as s where true{theirs}"
    inherited = job_members.inherited(None if lived else among)
    return _Members(
        stored,
        f"({inherited}) as s where true{theirs if lived else ''}",
        {"of_part": f"select s.process_id from {stored} and {OF_PART}"},
    )


def _ended_members(among: str, hours: str, ended: str) -> _Members:
    """The members of jobs among the processes that the SQL `ended` lists, found by the blocks of
    ids that have some; and those that left a job in the hours.
    """
    blocks = "select e.block from ended_block as e"
    are_ended = f"+s.process_id in ({_AMONG_ENDED})"
    stored = f"{job_members.stored(among, blocks)} and {are_ended}"
    left = f"membership as s where s.left_hour in ({hours}) and +s.job_id in ({among})"
    of_part = (
        f"select s.process_id from {stored} and {OF_PART} union all select s.process_id from {left}"
    )
    tables = {
        "ended": ended,
        "ended_block": f"select distinct {job_members.block('e.id')} as block from ended as e",
        "of_part": of_part,
    }
    inherited = job_members.inherited(among, blocks)
    return _Members(stored, f"({inherited}) as s where {are_ended}", tables)


def _part(
    view: str, derived: Mapping[str, str], needed: list[str], conditions: list[Condition]
) -> Query:
    columns = ", ".join(f"u.{name}" for name in needed)
    texts = [each.sql for each in conditions]
    if view == "interval_usage" and (columns_of(texts) | {*needed}) - derived.keys() <= _COUNTERS:
        view = "interval_counters"
    where = "\n    where " + "\n        and ".join(texts) if texts else ""
    added = sorted(derived.keys() & (columns_of(texts) | set(needed)))
    if added:
        listed = ", ".join(f"{derived[name]} as {name}" for name in added)
        view = f"(select u.*, {listed} from {view} as u)"
    return Query(
        f"    select {columns}\n    from {view} as u{where}",
        values_of(conditions),
    )
