"""A select statement with its bound values: to run, or to show (--explain).

Where a report is about processes, `rows` is its source: one row per process or accounting record,
under the alias `u`, with the columns of the view process_usage (of job_process_usage, if jobs are
chosen), and two more: `in_ns` and `out_ns`, the real times at which the process started and ended;
in a job, at which it entered and left.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from elsa.store import job_members
from elsa.store.rollups import HOW, PART_OF_LIFE, PARTS

if TYPE_CHECKING:
    from elsa.report.query.selection import Selection

OUT = "case when u.until_ns is null then u.ended_ns else u.until_ns + u.started_ns - u.start_ns end"
"""When a process left its job, real time in ns, over rows `u` of job_process_usage: where it was
removed, by the clock at its start, as in job_usage; NULL while it is a member and runs."""
_COLUMN = re.compile(r"\bu\.(\w+)")
_LIFE = "coalesce(u.end_ns - u.start_ns, u.ended_ns - u.started_ns)"
_MEMBERSHIP = (
    "coalesce(u.until_ns, u.end_ns) - case when u.since_ns > u.start_ns then u.since_ns else"
    " u.start_ns end"
)
_OF_HOST = {"out_ns": "u.ended_ns", "in_ns": f"u.ended_ns - {_LIFE}"}
_OF_JOB = {"out_ns": OUT, "in_ns": f"{OUT} - ({_MEMBERSHIP})"}
THESE = "select value from json_each(?)"
"""The ids of a json list."""
# The columns of job_process_usage for processes that were in a job from their start to their end.
_WHOLE_LIFE = f"""(
        select
            m.job_id,
            case m.how {HOW} end as how,
            0 as since_ns, null as until_ns, 1 as memberships, 0 as part_life, 0 as part_life_whole,
            i.ended_hour as out_hour, i.*
        from ({{}}) as m cross join incarnation_usage as i on i.process_id = m.process_id
    )"""
# A process in several jobs counts once: in the job where it was for its whole life, else in the
# oldest.
_BETTER = """select 1 from job_member as o
        where o.process_id = u.process_id and +o.job_id in ({})
            and (o.part_life, o.job_id) < (u.part_life, u.job_id)"""
NAMES = {"user": "user_name(u.uid)", "group": "group_name(u.gid)"}
"""The names of users and groups, if all rows are of one host."""
NAMES_APART = {"user": "user_name(u.uid, u.host_id)", "group": "group_name(u.gid, u.host_id)"}
"""The same where rows are of several hosts: the name that each has on the host of the row."""
_IDS = {"user": "u.uid", "group": "u.gid"}
# Keys that SQL wants in quotes.
_RESERVED = ("group",)


class Query(NamedTuple):
    """SQL and the values for its question marks."""

    sql: str
    values: tuple[object, ...] = ()

    def run(self, connection: sqlite3.Connection) -> sqlite3.Cursor:
        """Run it."""
        return connection.execute(self.sql, self.values)

    def readable(self) -> str:
        """The statement with its values in their places, as the sqlite3 shell takes it if the
        selection has `ids`. No SQL of ours has a question mark that is not a parameter.
        """
        first, *rest = self.sql.split("?")
        text = first + "".join(
            literal(value) + part for value, part in zip(self.values, rest, strict=True)
        )
        return text.strip() + ";"


class Condition(NamedTuple):
    """One condition on the rows, with the values for its question marks."""

    sql: str
    values: tuple[object, ...] = ()


def literal(value: object) -> str:
    """A value as SQL text. Characters that cannot be printed are written as char(N)."""
    if value is None:
        return "null"
    if not isinstance(value, str):
        return str(value)
    parts = re.split(r"([^ -~])", value)
    quoted = [
        (
            f"char({ord(part)})"
            if len(part) == 1 and not " " <= part <= "~"
            else "'" + part.replace("'", "''") + "'"
        )
        for part in parts
    ]
    return " || ".join(part for part in quoted if part != "''") or "''"


def select(columns: Mapping[str, str]) -> str:
    """A select list, each column under its key."""
    names = {key: f'"{key}"' if key in _RESERVED else key for key in columns}
    listed = ",\n    ".join(
        expression if expression == key else f"{expression} as {names[key]}"
        for key, expression in columns.items()
    )
    return f"select\n    {listed}"


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
    whole: str = "",
) -> Query:
    """The from clause for the rows of a selection, with the columns that the expressions need; with
    `members`, one row per job and process.

    `whole` is a further condition on the memberships `s` from start to end. Each view is asked for
    the needed columns alone, since SQLite would compute every column of a union of the views.
    """
    conditions = [*selection.conditions(), *more]
    needed = sorted(columns_of(expressions) or {"process_id"})
    if selection.jobs is None and not members:
        ended = selection.window._replace(until=None) if selection.clip else selection.window
        conditions += [Condition(text) for text in ended.hours("u.ended_hour")]
        parts = [_part(view, _OF_HOST, needed, conditions) for view in PARTS["process_usage"]]
    else:
        among = None if selection.jobs is None else listed(selection.jobs)
        parts = _of_jobs(
            among, needed, conditions, members=members or selection.job is not None, whole=whole
        )
    return _together(parts)


def members(
    among: str, expressions: Iterable[str], condition: Condition, *more: Condition, whole: str = ""
) -> Query:
    """The same for the jobs that the SQL `among` lists: one row per job and process."""
    return _together(
        _of_jobs(
            among, sorted(columns_of(expressions)), [condition, *more], members=True, whole=whole
        )
    )


def listed(ids: Iterable[int]) -> str:
    """SQL that lists ids, of any number."""
    return f"select value from json_each('{json.dumps([int(id_) for id_ in ids])}')"


def _together(parts: list[Query]) -> Query:
    sql = "\n    union all\n".join(part.sql for part in parts)
    return Query(f"from (\n{sql}\n) as u", tuple(value for part in parts for value in part.values))


def _of_jobs(
    among: str | None, needed: list[str], conditions: list[Condition], *, members: bool, whole: str
) -> list[Query]:
    """The rows of job_process_usage, in two parts: each process is in one of them for all its jobs.

    Most processes were in their jobs from start to end, so a job is charged all that they used: to
    look that up takes half the time of the view.
    """
    theirs, once = (
        "" if among is None else f" and s.job_id in ({among})",
        among is not None and not members,
    )
    odd = f"{PART_OF_LIFE}{theirs}"
    job = "min(s.job_id) as job_id" if once else "s.job_id"
    wanted = f" and {whole}" if whole else ""
    whole = f"{wanted} and s.process_id not in ({odd})"
    whole_lives = f"""select {job}, s.process_id, s.how from (
            select s.job_id, s.process_id, s.how from membership as s
            where s.since_ns = 0 and s.until_ns is null{theirs}{whole}
            union all
            select s.* from ({job_members.inherited(among)}) as s where true{whole}
        ) as s
        {"group by s.process_id" if once else ""}"""
    part = [Condition(f"u.process_id in ({odd})")]
    if among is not None:
        # The plus keeps SQLite from looking up each process in each job of the list.
        part.append(Condition(f"+u.job_id in ({among})"))
    if once:
        part.append(Condition(f"not exists ({_BETTER.format(among)})"))
    return [
        _part(_WHOLE_LIFE.format(whole_lives), _OF_HOST, needed, conditions),
        _part("job_process_usage", _OF_JOB, needed, part + conditions),
    ]


def _part(
    view: str, derived: Mapping[str, str], needed: list[str], conditions: list[Condition]
) -> Query:
    columns = ", ".join(f"u.{name}" for name in needed)
    texts = [each.sql for each in conditions]
    where = "\n    where " + "\n        and ".join(texts) if texts else ""
    added = sorted(derived.keys() & (columns_of(texts) | set(needed)))
    if added:
        listed = ", ".join(f"{derived[name]} as {name}" for name in added)
        view = f"(select u.*, {listed} from {view} as u)"
    return Query(
        f"    select {columns}\n    from {view} as u{where}",
        tuple(value for each in conditions for value in each.values),
    )
