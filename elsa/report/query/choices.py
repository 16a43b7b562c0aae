"""Options that choose processes or jobs (--user, --exit, --exe, --cgroup) as SQL conditions."""

from __future__ import annotations

import re
import signal
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping

from elsa.decode import comm, tty
from elsa.errors import UsageError
from elsa.kernel import accounts
from elsa.report.query.statement import Condition, values_of
from elsa.report.query.warehouse import of_fleet
from elsa.state import job_kinds
from elsa.text import printable

Asked = Mapping[str, tuple[str, ...]]
"""The values of each option; options of time have at most one value."""
GLOB = re.compile(r"[*?]|\[.+\]")
"""A value with such a part is a glob."""

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
_HOST_OF_JOB = (
    "(select b.host_id from job as j join boot as b on b.id = j.boot_id where j.id = u.job_id)"
)
Maker = Callable[[str], Condition]
"""Makes a condition of a value."""


def process_conditions(connection: sqlite3.Connection, asked: Asked) -> list[Condition]:
    """Conditions on the columns of a process. Raises UsageError."""
    makers = _OF_PROCESS
    if of_fleet(connection):  # there each host has users and groups of its own
        makers = makers | {
            "user": lambda text: _in_fleet(connection, "user", text, "u.uid", "u.host_id"),
            "group": lambda text: _in_fleet(connection, "group", text, "u.gid", "u.host_id"),
        }
    conditions = _conditions(asked, makers)
    if asked.get("host"):
        hosts = ", ".join(map(str, host_ids(connection, asked["host"])))
        conditions.append(Condition(f"u.host_id in ({hosts})"))
    return conditions


def job_conditions(connection: sqlite3.Connection, asked: Asked) -> list[Condition]:
    """Conditions on the columns of job_usage. Raises UsageError."""
    makers = _OF_JOB
    if of_fleet(connection):
        makers = makers | {
            "user": lambda text: _in_fleet(connection, "user", text, "u.owner_uid", _HOST_OF_JOB)
        }
    return [
        *kind_conditions(asked),
        *jobs_of_hosts(connection, asked.get("host", ())),
        *_conditions(asked, makers),
    ]


def _conditions(asked: Asked, makers: Mapping[str, Maker]) -> list[Condition]:
    """The condition of each option: that of at least one of its values."""
    return [
        _any_of([make(text) for text in asked[kind]])
        for kind, make in makers.items()
        if asked.get(kind)
    ]


def _any_of(parts: list[Condition]) -> Condition:
    if len(parts) == 1:
        return parts[0]
    return Condition(
        "(" + " or ".join(part.sql for part in parts) + ")",
        values_of(parts),
    )


def kind_conditions(asked: Asked) -> list[Condition]:
    """The condition that a job `u` is of the kinds that were asked for; none if these are all.
    Raises UsageError.
    """
    kinds = job_kinds.chosen(asked.get("kind", ()))
    if kinds == frozenset(job_kinds.KINDS):
        return []
    listed = ", ".join(f"'{kind}'" for kind in sorted(kinds))
    return [Condition(f"u.kind in ({listed})")]


def jobs_of_hosts(connection: sqlite3.Connection, hosts: Iterable[str]) -> list[Condition]:
    """The condition that jobs `u` are of some hosts, by names and globs; none without any."""
    ids = ", ".join(map(str, host_ids(connection, hosts)))
    if not ids:
        return []
    of_hosts = (
        f"select j.id from job as j join boot as b on b.id = j.boot_id where b.host_id in ({ids})"
    )
    return [Condition(f"u.job_id in ({of_hosts})")]


def host_ids(connection: sqlite3.Connection, texts: Iterable[str]) -> list[int]:
    """The ids of hosts, by names and globs. Raises UsageError."""
    all_ids: set[int] = set()
    for text in texts:
        ids = {
            number
            for (number,) in connection.execute(
                f"select id from host where name {_operator(text)} ?", (text,)
            )
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
                f"--host: nothing is recorded of a host {visible(text)}; write one of {known}"
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


def visible(text: str) -> str:
    """A value as an error shows it, which is seen also if it is empty."""
    return printable(text) or "''"


def escape_glob(text: str) -> str:
    """A glob that matches just this text."""
    return re.sub(r"[*?\[]", lambda match: f"[{match[0]}]", text)


def _operator(text: str) -> str:
    return "glob" if GLOB.search(text) else "="


def _number(text: str) -> bool:
    """Whether a text is a number that a column of SQLite can hold."""
    return text.isascii() and text.isdigit() and len(text) < 19


def uid_of(text: str) -> int:
    """The uid of a user, by name or number. Raises UsageError."""
    try:
        return accounts.uid(text)
    except KeyError:
        raise UsageError(
            f"--user: this host knows no user {visible(text)}; write a name, a uid or uid:N"
        ) from None


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
        raise UsageError(f"--{kind}: no host of the fleet knows a {kind} {visible(text)}")
    return Condition(f"{id_} = ?", (int(number),))


def _gid(text: str) -> int:
    try:
        return accounts.gid(text)
    except KeyError:
        raise UsageError(
            f"--group: this host knows no group {visible(text)}; write a name, a gid or gid:N"
        ) from None


def _tty(text: str) -> int:
    try:
        return tty.number(text)
    except ValueError:
        raise UsageError(
            f"--tty: cannot read {visible(text)}; write for example pts/3, tty1, ttyS0, 136:3 or"
            " none"
        ) from None


def _pid(text: str) -> int:
    if _number(text):
        return int(text)
    raise UsageError(f"--pid: {visible(text)} is not a pid; write a number")


def _state(text: str, known: Mapping[str, str]) -> Condition:
    word = text.strip().lower()
    sql = known.get(_SHORT.get(word, word))
    if sql is None:
        raise UsageError(f"--state: cannot read {visible(text)}; write one of {', '.join(known)}")
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
            f"--exit: cannot read {visible(text)}; write for example 0, 3, nonzero, signal,"
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
    value = "t.value" if "/" in text else _FILE
    texts = _texts(Condition(f"{value} {_operator(text)} ?", (text,)))
    # Also as the path was given to execve, which is that of a script.
    return Condition(
        f"""u.process_id in (
            select g.process_id from program as g where g.exe_id in ({texts.sql})
            union all select p.id from process as p where p.exe_id in ({texts.sql})
        )""",
        texts.values * 2,
    )


def _cmdline(text: str) -> Condition:
    if GLOB.search(text):
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
    pattern = text.rstrip("/") if GLOB.search(text) else escape_glob(text.rstrip("/"))
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


_OF_PROCESS: dict[str, Maker] = {
    "user": lambda text: Condition("u.uid = ?", (uid_of(text),)),
    "group": lambda text: Condition("u.gid = ?", (_gid(text),)),
    "command": lambda text: Condition(f"u.command {_operator(text)} ?", (comm.wanted(text),)),
    "tty": lambda text: Condition("u.tty = ?", (_tty(text),)),
    "pid": lambda text: Condition("u.pid = ?", (_pid(text),)),
    "exit": _exit,
    "state": lambda text: _state(text, _STATES),
    "exe": _exe,
    "cmdline": _cmdline,
    "cgroup": _cgroup,
}
_OF_JOB: dict[str, Maker] = {
    "user": lambda text: Condition("u.owner_uid = ?", (uid_of(text),)),
    "exit": _exit,
    "state": lambda text: _state(text, _JOB_STATES),
    "cgroup": _cgroup_of_job,
}
