"""Which jobs are meant by an id, a name, a run number (nightly#-2), a glob, a tag or a kind."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from elsa.errors import UsageError
from elsa.kernel import accounts
from elsa.report.query.choices import GLOB, Asked, jobs_of_hosts, kind_conditions, visible
from elsa.report.query.statement import THESE, Condition, values_of
from elsa.report.query.warehouse import HostNames, of_fleet, several_hosts
from elsa.state import job_kinds
from elsa.text import printable

_RUN = re.compile(r"(.+)#(-?[1-9][0-9]{0,8})", re.DOTALL)
# How many series of one name a note lists.
_MOST_SERIES = 4


def latest(
    connection: sqlite3.Connection, text: str, hosts: Iterable[str] = ()
) -> tuple[int, list[str]]:
    """The id of a job, by its id or name; of several jobs with one name, the latest, with notes on
    the others. `hosts` are names and globs of those whose jobs may be meant. Raises UsageError.
    """
    ids, words = series(connection, text, jobs_of_hosts(connection, hosts), globs=False)
    if len(ids) > 1:
        name = printable(text)
        words.insert(
            0,
            f"{len(ids)} jobs have the name {name}; this is the latest, job {ids[-1]}; {name}#-2"
            " is the one before",
        )
    return ids[-1], words


def series(
    connection: sqlite3.Connection,
    text: str,
    among: Iterable[Condition] = (),
    *,
    globs: bool = True,
    only: bool = False,
) -> tuple[tuple[int, ...], list[str]]:
    """The runs of an id or name that can be compared with each other, the oldest first: those with
    the kind, owner and host of the latest, with a note on others of that name; of a glob all that
    match. With `only` it is an error if there are others: anybody may give a job that name. `among`
    are conditions on the columns of job_usage. Raises UsageError.
    """
    job_id = by_id(connection, text)
    if job_id is not None:
        return (job_id,), []
    runs, number = _runs(connection, text, globs=globs)
    runs = _among(connection, runs, among)
    if not runs:
        raise UsageError(f"no run of {printable(text)} is among the chosen jobs")
    if only:
        _refuse_others(connection, runs, text, _qualified(connection, text)[0])
    words: list[str] = []
    if len({run.name for run in runs}) == 1:
        every, runs = runs, [run for run in runs if run.series == runs[-1].series]
        words = _other_series(connection, every, runs[-1])
    ids = _ids(runs) if number is None else _run_of_each(runs, number, text)
    return tuple(ids), words


def job_ids(connection: sqlite3.Connection, text: str) -> list[int]:
    """The ids of all jobs with an id, a name or a glob, or of one run of each name (`nightly#-2`),
    the oldest first. Raises UsageError if there is none.
    """
    job_id = by_id(connection, text)
    if job_id is not None:
        return [job_id]
    runs, number = _runs(connection, text, globs=True)
    return _ids(runs) if number is None else _run_of_each(runs, number, text)


class _Run(NamedTuple):
    """A job, as one run of its series: of the jobs with the same name, kind, owner and host."""

    id: int
    name: str
    kind: str
    owner_uid: int
    host_id: int | None

    @property
    def series(self) -> tuple[object, ...]:
        return self[1:]

    def owner(self, names: HostNames) -> str | None:
        """The name of its owner on its host."""
        return names.user(self.owner_uid, self.host_id)

    def place(self, names: HostNames) -> str:
        """On which host it ran, where there are several."""
        return f" on {names.host(self.host_id)}" if len(names.hosts) > 1 else ""


def _ids(runs: Iterable[_Run]) -> list[int]:
    return [run.id for run in runs]


def _runs(
    connection: sqlite3.Connection, text: str, *, globs: bool
) -> tuple[list[_Run], int | None]:
    """The jobs that a name or glob means, the oldest first, and which of the runs (`nightly#-2`);
    None for all. Raises UsageError if there is none.
    """
    runs, number = _named(connection, text, globs=globs), None
    if not runs and (run := _RUN.fullmatch(text)):
        runs, number = _named(connection, run[1], globs=globs), int(run[2])
    if not runs:
        raise UsageError(
            f"no job has the id or name {visible(text)}; see them with: elsa report jobs"
        )
    return runs, number


def _named(connection: sqlite3.Connection, text: str, *, globs: bool) -> list[_Run]:
    """The jobs with a name, or else a glob, the oldest first. `service:nginx` and `anna:nightly`
    are the jobs of that kind or owner, or else a name.
    """
    name, conditions = _qualified(connection, text)
    runs = _with_name(connection, name, conditions, globs=globs) if conditions else []
    return runs or _with_name(connection, text, [], globs=globs)


def _qualified(connection: sqlite3.Connection, text: str) -> tuple[str, list[Condition]]:
    """A name without the kind and owner before it, and the conditions that these are."""
    conditions = []
    before, colon, after = text.partition(":")
    if colon and before in job_kinds.CHOICES:
        kinds = ", ".join(f"'{kind}'" for kind in sorted(job_kinds.chosen([before])))
        conditions.append(Condition(f"j.kind in ({kinds})"))
        text = after
        before, colon, after = text.partition(":")
    if colon and of_fleet(connection):
        named = "select a.id, a.host_id from temp.account as a where a.kind = 'user' and a.name = ?"
        conditions.append(Condition(f"(j.owner_uid, b.host_id) in ({named})", (before,)))
        text = after
    elif colon and (owner_uid := _known_uid(before)) is not None:
        conditions.append(Condition("j.owner_uid = ?", (owner_uid,)))
        text = after
    return text, conditions


def _known_uid(text: str) -> int | None:
    try:
        return accounts.uid(text)
    except KeyError:
        return None


def _with_name(
    connection: sqlite3.Connection, name: str, conditions: list[Condition], *, globs: bool
) -> list[_Run]:
    more = "".join(f" and {condition.sql}" for condition in conditions)
    # Ids of several hosts are in no order of time.
    order = "j.created_at_ns, j.id" if several_hosts(connection) else "j.id"
    asked = f"""select j.id, j.name, j.kind, j.owner_uid, b.host_id
        from job as j left join boot as b on b.id = j.boot_id
        where j.name {{}} ?{more} order by {order}"""
    values = (name, *values_of(conditions))
    rows = connection.execute(asked.format("="), values).fetchall()
    if not rows and globs and GLOB.search(name):
        rows = connection.execute(asked.format("glob"), values).fetchall()
    return [_Run(*row) for row in rows]


def _among(
    connection: sqlite3.Connection, runs: list[_Run], among: Iterable[Condition]
) -> list[_Run]:
    """The runs that meet conditions on the columns of job_usage."""
    listed = [Condition(f"u.job_id in ({THESE})", (json.dumps(_ids(runs)),)), *among]
    where = " and ".join(condition.sql for condition in listed)
    found = connection.execute(
        f"select u.job_id from (select j.id as job_id, j.* from job as j) as u where {where}",
        values_of(listed),
    )
    ids = {number for (number,) in found}
    return [run for run in runs if run.id in ids]


def _other_series(connection: sqlite3.Connection, runs: list[_Run], chosen: _Run) -> list[str]:
    """A note on the series of one name that were not chosen."""
    names = HostNames(connection)
    counts = _by_series(runs)
    others = {run: count for run, count in counts.items() if run.series != chosen.series}
    if not others:
        return []
    listed = ", ".join(
        f"{_qualifier(names, run, counts)} (latest job {run.id}{run.place(names)})"
        for run in list(others)[:_MOST_SERIES]
    )
    more = f" and {len(others) - _MOST_SERIES} more" if len(others) > _MOST_SERIES else ""
    return [
        f"this is {_qualifier(names, chosen, counts)} of {chosen.owner(names)};"
        f" the same name have {listed}{more}"
    ]


def _refuse_others(
    connection: sqlite3.Connection, runs: list[_Run], text: str, unqualified: str
) -> None:
    """Raise UsageError if the runs of a name or glob have several kinds, owners or hosts."""
    name = text if runs[0].name == text else unqualified
    counts = _by_series(run._replace(name=name) for run in runs)
    if len(counts) == 1:
        return
    # With both kind and owner, no later job of another kind can come in between.
    names = HostNames(connection)
    listed = [printable(f"{run.kind}:{run.owner(names)}:{name}") for run in reversed(counts)]
    more = f" and {len(listed) - _MOST_SERIES} more" if len(listed) > _MOST_SERIES else ""
    raise UsageError(
        f"jobs of several kinds, owners or hosts have the name {printable(text)}; write which is"
        f" meant: {', '.join(dict.fromkeys(listed[:_MOST_SERIES]))}{more}"
        + (", and with --host of which host" if len({run.host_id for run in runs}) > 1 else "")
    )


def _by_series(runs: Iterable[_Run]) -> dict[_Run, int]:
    """The latest run of each series, and how many runs it has."""
    of_series: dict[tuple[object, ...], list[_Run]] = defaultdict(list)
    for run in runs:
        of_series[run.series].append(run)
    return {each[-1]: len(each) for each in of_series.values()}


def _qualifier(names: HostNames, run: _Run, among: Iterable[_Run]) -> str:
    """How a series is chosen among others of its name: by its kind, its owner or both. An id or
    --host chooses a host.
    """
    kind, owner = run.kind, run.owner(names)
    others = [other for other in among if other.series != run.series]
    if all(other.kind != kind for other in others):
        return printable(f"{kind}:{run.name}")
    if all(other.owner_uid != run.owner_uid for other in others):
        return printable(f"{owner}:{run.name}")
    return printable(f"{kind}:{owner}:{run.name}")


def _run_of_each(runs: list[_Run], number: int, text: str) -> list[int]:
    """The run with a number of each series: 1 is the first, -1 the last. Raises UsageError if there
    are runs, but none has it.
    """
    of_series = defaultdict(list)
    for run in runs:
        of_series[run.series].append(run.id)
    place = number - 1 if number > 0 else number
    ids = sorted(each[place] for each in of_series.values() if -len(each) <= place < len(each))
    if not ids:
        most = max(map(len, of_series.values()))
        there = "is 1 run, #1 or #-1"
        if most > 1:
            there = f"are {most} runs, #1 to #{most} or #-{most} to #-1"
        raise UsageError(f"{printable(text)}: there {there}")
    return ids


def several_runs(connection: sqlite3.Connection, names: Iterable[str]) -> Iterator[str]:
    """Notes on names that several jobs have."""
    for name in names:
        if by_id(connection, name) is not None or GLOB.search(name):
            continue
        runs, number = _runs(connection, name, globs=False)
        counts = _by_series(runs)
        if len(counts) > 1:
            listed = ", ".join(
                f"{count} {_qualifier(HostNames(connection), run, counts)}"
                for run, count in list(counts.items())[-_MOST_SERIES:]
            )
            more = f" and {len(counts) - _MOST_SERIES} more" if len(counts) > _MOST_SERIES else ""
            yield (
                f"jobs of several kinds, owners or hosts have the name {printable(name)}, and all"
                f" are meant: {listed}{more}"
            )
        elif len(runs) > 1 and number is None:
            yield (
                f"{len(runs)} jobs have the name {printable(name)}; all of them are meant;"
                f" {printable(name)}#-1 is the latest"
            )


def by_id(connection: sqlite3.Connection, text: str) -> int | None:
    """The id of a job that a text is; None if there is none with it."""
    if not (text.isascii() and text.isdigit()):
        return None
    number = min(int(text), 2**63 - 1)
    exists = connection.execute("select 1 from job where id = ?", (number,)).fetchone()
    return number if exists else None


def jobs_of(connection: sqlite3.Connection, asked: Asked) -> tuple[int, ...] | None:
    """The ids of jobs by ids, names, globs, tags and kinds; None without any of these options.
    Raises UsageError.
    """
    chosen: set[int] | None = None
    if asked.get("job"):
        chosen = set()
        for text in asked["job"]:
            chosen.update(job_ids(connection, text))
    if asked.get("tag"):
        tagged = jobs_with_tags(connection, asked["tag"])
        chosen = tagged if chosen is None else chosen & tagged
    if asked.get("kind"):
        (condition,) = kind_conditions(asked) or [Condition("true")]
        rows = connection.execute(f"select u.id from job as u where {condition.sql}")
        of_kind = {number for (number,) in rows}
        chosen = of_kind if chosen is None else chosen & of_kind
    return None if chosen is None else tuple(sorted(chosen))


def jobs_with_tags(connection: sqlite3.Connection, tags: Iterable[str]) -> set[int]:
    """The ids of jobs with all of these tags: KEY, or KEY=VALUE, where the value may be a glob.
    Raises UsageError.
    """
    chosen: set[int] | None = None
    for tag in tags:
        key, equals, value = tag.partition("=")
        rows = connection.execute(
            "select job_id from job_tag where key = ? and value glob ?",
            (key, value if equals else "*"),
        )
        ids = {number for (number,) in rows}
        chosen = ids if chosen is None else chosen & ids
    if not chosen:
        raise UsageError(
            f"no job has the tag {printable(' '.join(tags))}; see them with: elsa report jobs"
            " --columns job_id,name,tags"
        )
    return chosen
