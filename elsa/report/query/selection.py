"""Which processes a report is about. All reports select by the same options: jobs, users, commands,
exits, states, and a window of time.

The values of the options (`Asked`) are resolved once, with the warehouse and the names of this
host, into a frozen `Selection`, which gives SQL conditions with bound values. Values of one option
are alternatives, except tags; conditions of different options must all hold.
"""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple

from elsa.decode import comm, tty
from elsa.errors import UsageError
from elsa.kernel import accounts
from elsa.report.query.statement import THESE, Condition
from elsa.report.query.times import PERIODS, Days, Window, at, days, window
from elsa.report.query.warehouse import HostNames, of_fleet, same_users, several_hosts
from elsa.state import job_kinds
from elsa.store.process_lookup import lived
from elsa.text import printable

Asked = Mapping[str, tuple[str, ...]]
"""The values of each option; options of time have at most one value."""
_GLOB = re.compile(r"[*?]|\[.+\]")
_RUN = re.compile(r"(.+)#(-?[1-9][0-9]{0,8})", re.DOTALL)
_ALWAYS = Window()
# How many series of one name a note lists.
_MOST_SERIES = 4

# The states of processes and jobs, under names that include those of sacct.
_STATES = {
    "running": "u.state = 'running'",
    "ended": "u.state = 'ended'",
    "completed": "u.exit_status = 0",
    "failed": "u.exit_status <> 0",
}
_JOB_STATES = {
    "open": "u.closed_at is null",
    "closed": "u.closed_at is not null",
    "running": "u.running > 0",
    "completed": "u.closed_at is not null and u.exit_status = 0",
    "failed": "u.exit_status <> 0",
}
_SHORT = {"r": "running", "cd": "completed", "f": "failed"}
_EXITS = {
    "nonzero": "u.exit_status <> 0",
    "failed": "u.exit_status <> 0",
    "signal": "u.exit_status & 127 <> 0",
    "core": "u.exit_status & 128 <> 0",
}
_CODE = "(u.exit_status & 127 = 0 and u.exit_status >> 8 & 255 = ?)"
_SIGNAL = "u.exit_status & 127 = ?"


@dataclass(frozen=True)
class Selection:
    """The selected processes."""

    window: Window = _ALWAYS
    clip: bool = False
    """Take every process that ran in the window, for its part in it, instead of processes that
    ended in it.
    """
    jobs: tuple[int, ...] | None = None
    """Ids; None means all processes. A process in several of these jobs counts once: in the job
    where it was for its whole lifetime, else in the oldest.
    """
    choices: tuple[Condition, ...] = ()
    """All other conditions, on the columns of a process."""
    job_conditions: tuple[Condition, ...] = ()
    """In lists of jobs: conditions on the columns of job_usage."""
    apart: bool = False
    """The warehouse has several hosts: users of different hosts are different users."""
    same_users: bool = False
    """But they are the same where both the id and the name are the same."""
    ids: bool = False
    """Select ids instead of names: for SQL that is shown, since only ELSA has the functions that
    look names up.
    """
    words: tuple[str, ...] = ()
    """Notes on how the options were understood."""
    alive: bool = False
    """Take every process that lived at some time in the window, instead of processes that ended in
    it.
    """

    def __bool__(self) -> bool:
        """Whether anything is chosen at all."""
        return bool(self.window or self.jobs is not None or self.choices)

    @property
    def job(self) -> int | None:
        """The job, if there is exactly one."""
        return self.jobs[0] if self.jobs is not None and len(self.jobs) == 1 else None

    def conditions(self) -> list[Condition]:
        """All conditions on the rows of elsa.report.query.statement.rows, except on the jobs."""
        return [*(Condition(text) for text in self.of_window()), *self.choices]

    def of_window(self) -> list[str]:
        """The conditions of the window."""
        since, until = self.window
        if self.alive:
            return self._of_alive()
        if not self.clip:
            return self.window.where("u.out_ns")
        if not self.window:
            return ["u.out_ns is not null"]
        conditions = []
        if since is not None:
            # A lifetime without length is in the window in which it ended.
            conditions.append(
                f"(u.out_ns > {since} or (u.rest_ns = u.out_ns and u.out_ns = {since}))"
            )
        if until is not None:
            conditions.append(f"u.in_ns < {until}")
        return conditions

    def _of_alive(self) -> list[str]:
        # Also what ended in the first moment, since it counts in this window.
        since, until = self.window
        conditions = []
        if since is not None:
            conditions.append(f"(u.out_ns is null or u.out_ns >= {since})")
        if until is not None:
            conditions.append(f"u.entered_ns < {until}")
        return conditions

    def lived(self) -> str:
        """SQL that lists the processes that may have lived in the window; empty: all of them."""
        since, until = self.window
        return lived(since, until) if self.alive and since is not None else ""


def resolve(
    connection: sqlite3.Connection, asked: Asked, now: datetime, *, clip: bool = False
) -> Selection:
    """The processes that the options select. Raises UsageError."""
    choices = []
    for kind, make in _choices(connection).items():
        if asked.get(kind):
            parts = [make(text) for text in asked[kind]]
            choices.append(any_of(parts))
    if asked.get("host"):
        hosts = ", ".join(map(str, host_ids(connection, asked["host"])))
        choices.append(Condition(f"u.host_id in ({hosts})"))
    words = (
        *cut_commands(asked.get("command", ())),
        *_several_runs(connection, asked.get("job", ())),
    )
    return Selection(
        asked_window(asked, now),
        clip,
        jobs_of(connection, asked),
        tuple(choices),
        apart=several_hosts(connection),
        same_users=same_users(connection),
        words=words,
    )


def host_ids(connection: sqlite3.Connection, texts: Iterable[str]) -> list[int]:
    """The ids of hosts, by names and globs. Raises UsageError."""
    all_ids: set[int] = set()
    for text in texts:
        how = "glob" if _GLOB.search(text) else "="
        ids = {
            number
            for (number,) in connection.execute(f"select id from host where name {how} ?", (text,))
        }
        if not ids:
            known = ", ".join(
                printable(name)
                # Several hosts of a fleet that have one name are known by name#id.
                for (name,) in connection.execute(
                    "select name from host order by instr(name, ? || '#') = 1 desc, id limit 10",
                    (text,),
                )
            )
            raise UsageError(
                f"--host: nothing is recorded of a host {_said(text)}; write one of {known}"
            )
        all_ids |= ids
    return sorted(all_ids)


def cut_commands(texts: Iterable[str]) -> Iterator[str]:
    """Notes on command names that are longer than the kernel keeps."""
    for text in texts:
        if comm.is_too_long(text):
            kept, name = printable(comm.wanted(text)), printable(text)
            yield (
                f"--command {name}: the kernel keeps {comm.LONGEST} bytes of a name, so this"
                f" matches every command with the name {kept}"
            )


def asked_window(asked: Asked, now: datetime) -> Window:
    """The window of --since and --until, of --day, --week or --month, or the moment of --at. Raises
    UsageError.
    """
    for text in asked.get("at", ()):
        others = [name for name in ("since", "until", *PERIODS) if asked.get(name)]
        if others:
            raise UsageError(f"--at is a moment; leave out --{' and --'.join(others)}")
        return at(text, now)
    days = asked_days(asked, now)
    if days is not None:
        return days.window()
    since, until = (next(iter(asked.get(name, ())), None) for name in ("since", "until"))
    return window(since, until, now)


def asked_days(asked: Asked, now: datetime) -> Days | None:
    """The days of --day, --week or --month; None without these. Raises UsageError."""
    given = [kind for kind in PERIODS if asked.get(kind)]
    if not given:
        return None
    others = [name for name in ("since", "until", *given[1:]) if asked.get(name)]
    if others:
        leave_out = " and ".join(f"--{name}" for name in others)
        raise UsageError(f"--{given[0]} is a window of its own; leave out {leave_out}")
    (text,) = asked[given[0]]
    return days(given[0], text, now)


def any_of(parts: list[Condition]) -> Condition:
    """At least one of several conditions."""
    if len(parts) == 1:
        return parts[0]
    return Condition(
        "(" + " or ".join(part.sql for part in parts) + ")",
        tuple(value for part in parts for value in part.values),
    )


def resolve_jobs(
    connection: sqlite3.Connection, asked: Asked, now: datetime, *, clip: bool = False
) -> Selection:
    """The jobs that the options select for a list of jobs; the window is for their processes.
    Raises UsageError.
    """
    return Selection(
        asked_window(asked, now),
        clip,
        job_conditions=tuple(_job_conditions(connection, asked)),
        apart=several_hosts(connection),
    )


def _job_conditions(connection: sqlite3.Connection, asked: Asked) -> list[Condition]:
    """Conditions on the columns of job_usage. A name means every job that has it."""
    conditions = []
    if asked.get("job"):
        ids = sorted({number for text in asked["job"] for number in job_ids(connection, text)})
        conditions.append(Condition(f"u.job_id in ({THESE})", (json.dumps(ids),)))
    if asked.get("tag"):
        tagged = json.dumps(_tagged(connection, asked["tag"]))
        conditions.append(Condition(f"u.job_id in ({THESE})", (tagged,)))
    conditions += kind_conditions(asked)
    conditions += _jobs_of_hosts(connection, asked.get("host", ()))
    makers: dict[str, Callable[[str], Condition]] = {
        "user": lambda text: Condition("u.owner_uid = ?", (uid_of(text),)),
        **({"user": partial(_owner_in_fleet, connection)} if of_fleet(connection) else {}),
        "exit": _exit,
        "state": lambda text: _word(text, _JOB_STATES, "--state"),
        "cgroup": _cgroup_of_job,
    }
    return conditions + [
        any_of([make(text) for text in asked[kind]])
        for kind, make in makers.items()
        if asked.get(kind)
    ]


def _jobs_of_hosts(connection: sqlite3.Connection, hosts: Iterable[str]) -> list[Condition]:
    """The condition that jobs `u` are of some hosts, by names and globs; none without any."""
    ids = ", ".join(map(str, host_ids(connection, hosts)))
    if not ids:
        return []
    of_hosts = (
        f"select j.id from job as j join boot as b on b.id = j.boot_id where b.host_id in ({ids})"
    )
    return [Condition(f"u.job_id in ({of_hosts})")]


def kind_conditions(asked: Asked) -> list[Condition]:
    """The condition that a job `u` is of the kinds that were asked for; none if these are all.
    Raises UsageError.
    """
    kinds = job_kinds.chosen(asked.get("kind", ()))
    if kinds == frozenset(job_kinds.KINDS):
        return []
    listed = ", ".join(f"'{kind}'" for kind in sorted(kinds))
    return [Condition(f"u.kind in ({listed})")]


def latest(
    connection: sqlite3.Connection, text: str, hosts: Iterable[str] = ()
) -> tuple[int, list[str]]:
    """The id of a job, by its id or name; of several jobs with one name, the latest, with notes on
    the others. `hosts` are names and globs of those whose jobs may be meant. Raises UsageError.
    """
    ids, words = series(connection, text, _jobs_of_hosts(connection, hosts), globs=False)
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
            f"no job has the id or name {_said(text)}; see them with: elsa report jobs"
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
    values = (name, *(value for condition in conditions for value in condition.values))
    rows = connection.execute(asked.format("="), values).fetchall()
    if not rows and globs and _GLOB.search(name):
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
        tuple(value for condition in listed for value in condition.values),
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


def _several_runs(connection: sqlite3.Connection, names: Iterable[str]) -> Iterator[str]:
    """Notes on names that several jobs have."""
    for name in names:
        if by_id(connection, name) is not None or _GLOB.search(name):
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
        tagged = set(_tagged(connection, asked["tag"]))
        chosen = tagged if chosen is None else chosen & tagged
    if asked.get("kind"):
        (condition,) = kind_conditions(asked) or [Condition("true")]
        rows = connection.execute(f"select u.id from job as u where {condition.sql}")
        of_kind = {number for (number,) in rows}
        chosen = of_kind if chosen is None else chosen & of_kind
    return None if chosen is None else tuple(sorted(chosen))


def _tagged(connection: sqlite3.Connection, tags: Iterable[str]) -> list[int]:
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
    return sorted(chosen)


def _said(text: str) -> str:
    """A value as an error shows it, which is seen also if it is empty."""
    return printable(text) or "''"


def _number(text: str) -> bool:
    """Whether a text is a number that a column of SQLite can hold."""
    return text.isascii() and text.isdigit() and len(text) < 19


def uid_of(text: str) -> int:
    """The uid of a user, by name or number. Raises UsageError."""
    try:
        return accounts.uid(text)
    except KeyError:
        raise UsageError(
            f"--user: this host knows no user {_said(text)}; write a name, a uid or uid:N"
        ) from None


def _choices(connection: sqlite3.Connection) -> dict[str, Callable[[str], Condition]]:
    """The conditions of the choices: in a fleet each host has users and groups of its own."""
    if not of_fleet(connection):
        return _CHOICES
    return _CHOICES | {
        "user": lambda text: _in_fleet(connection, "user", text, "u.uid", "u.host_id"),
        "group": lambda text: _in_fleet(connection, "group", text, "u.gid", "u.host_id"),
    }


_HOST_OF_JOB = (
    "(select b.host_id from job as j join boot as b on b.id = j.boot_id where j.id = u.job_id)"
)


def _owner_in_fleet(connection: sqlite3.Connection, text: str) -> Condition:
    return _in_fleet(connection, "user", text, "u.owner_uid", _HOST_OF_JOB)


def _in_fleet(
    connection: sqlite3.Connection, kind: str, text: str, id_: str, host_id: str
) -> Condition:
    """The condition that a user or group has a name at the host of the row, or an id, or both:
    uid:1031:bob.
    """
    number = text.removeprefix("uid:" if kind == "user" else "gid:")
    number, both, name = number.partition(":") if number != text else (number, "", "")
    if both and _number(number):
        return Condition(f"({id_} = ? and {kind}_name({id_}, {host_id}) = ?)", (int(number), name))
    named = "select a.id, a.host_id from temp.account as a where a.kind = ? and a.name = ?"
    if number == text and connection.execute(named, (kind, text)).fetchone():
        return Condition(f"({id_}, {host_id}) in ({named})", (kind, text))
    if not _number(number):
        raise UsageError(f"--{kind}: no host of the fleet knows a {kind} {_said(text)}")
    return Condition(f"{id_} = ?", (int(number),))


def _gid(text: str) -> int:
    try:
        return accounts.gid(text)
    except KeyError:
        raise UsageError(
            f"--group: this host knows no group {_said(text)}; write a name, a gid or gid:N"
        ) from None


def _tty(text: str) -> int:
    try:
        return tty.number(text)
    except ValueError:
        raise UsageError(
            f"--tty: cannot read {_said(text)}; write for example pts/3, tty1, ttyS0, 136:3 or none"
        ) from None


def _pid(text: str) -> int:
    if _number(text):
        return int(text)
    raise UsageError(f"--pid: {_said(text)} is not a pid; write a number")


def _word(text: str, known: Mapping[str, str], option: str) -> Condition:
    word = text.strip().lower()
    sql = known.get(_SHORT.get(word, word))
    if sql is None:
        raise UsageError(f"{option}: cannot read {_said(text)}; write one of {', '.join(known)}")
    return Condition(sql)


def _exit(text: str) -> Condition:
    """The condition of a value of --exit: 0, 3, `code 3`, nonzero, signal, core, SIGKILL, KILL,
    `signal 9`, or 0:9 as in sacct.
    """
    word = " ".join(text.split()).lower()
    if word in _EXITS:
        return Condition(_EXITS[word])
    if (match := re.fullmatch(r"(?:code )?(\d{1,3})", word)) and int(match[1]) < 256:
        return Condition(_CODE, (int(match[1]),))
    if match := re.fullmatch(r"signal (\d{1,2})", word):
        return Condition(_SIGNAL, (int(match[1]),))
    if match := re.fullmatch(r"(\d{1,3}):(\d{1,2})", word):
        code, number = int(match[1]), int(match[2])
        return Condition(_SIGNAL, (number,)) if number else Condition(_CODE, (code,))
    try:
        return Condition(_SIGNAL, (signal.Signals["SIG" + word.upper().removeprefix("SIG")].value,))
    except KeyError:
        raise UsageError(
            f"--exit: cannot read {_said(text)}; write for example 0, 3, nonzero, signal,"
            " SIGKILL or core"
        ) from None


def _without_folder(path: str) -> str:
    """SQL for the place after the last slash of a path."""
    return f"1 + length(rtrim({path}, replace({path}, '/', '')))"


_FILE = f"substr(t.value, {_without_folder('t.value')})"
_FIRST_WORD = "substr(t.value, 1, instr(t.value || ' ', ' ') - 1)"
_LINE = f"substr(t.value, {_without_folder(_FIRST_WORD)})"


def _texts(condition: Condition) -> Condition:
    """The ids of stored texts `t` that meet a condition."""
    return Condition(f"select t.id from long_text as t where {condition.sql}", condition.values)


def _exe(text: str) -> Condition:
    how = "glob" if _GLOB.search(text) else "="
    texts = _texts(Condition(f"{'t.value' if '/' in text else _FILE} {how} ?", (text,)))
    # Also as the path was given to execve, which is that of a script.
    return Condition(
        f"""u.process_id in (
            select g.process_id from program as g where g.exe_id in ({texts.sql})
            union all select p.id from process as p where p.exe_id in ({texts.sql})
        )""",
        texts.values * 2,
    )


def _cmdline(text: str) -> Condition:
    if _GLOB.search(text):
        line = Condition(f"t.value glob ? or {_LINE} glob ?", (text, text))
    else:
        line = Condition("instr(t.value, ?) > 0", (text,))
    texts = _texts(line)
    return Condition(
        "u.process_id in (select g.process_id from program as g where g.cmdline_id in"
        f" ({texts.sql}))",
        texts.values,
    )


def _groups(text: str) -> Condition:
    """The ids of the paths of control groups: a path with all that is below it, or all paths with
    such a name in them.
    """
    pattern = text.rstrip("/") if _GLOB.search(text) else literal(text.rstrip("/"))
    start = "" if text.startswith("/") else "*/"
    return _texts(Condition("t.value || '/' glob ?", (f"{start}{pattern}/*",)))


def _cgroup(text: str) -> Condition:
    texts = _groups(text)
    # A process that ended before /proc could be read is known to be in the group by its job.
    return Condition(
        f"""u.process_id in (
            select g.process_id from program as g where g.cgroup_id in ({texts.sql})
            union all select m.process_id from all_memberships as m where m.job_id in (
                select j.id from job as j where j.cgroup_id in ({texts.sql})
            )
        )""",
        texts.values * 2,
    )


def _cgroup_of_job(text: str) -> Condition:
    texts = _groups(text)
    return Condition(
        f"u.job_id in (select j.id from job as j where j.cgroup_id in ({texts.sql}))", texts.values
    )


def literal(text: str) -> str:
    """A glob that matches just this text."""
    return re.sub(r"[*?\[]", lambda match: f"[{match[0]}]", text)


_CHOICES: dict[str, Callable[[str], Condition]] = {
    "user": lambda text: Condition("u.uid = ?", (uid_of(text),)),
    "group": lambda text: Condition("u.gid = ?", (_gid(text),)),
    "command": lambda text: Condition(
        f"u.command {'glob' if _GLOB.search(text) else '='} ?", (comm.wanted(text),)
    ),
    "tty": lambda text: Condition("u.tty = ?", (_tty(text),)),
    "pid": lambda text: Condition("u.pid = ?", (_pid(text),)),
    "exit": _exit,
    "state": lambda text: _word(text, _STATES, "--state"),
    "exe": _exe,
    "cmdline": _cmdline,
    "cgroup": _cgroup,
}
