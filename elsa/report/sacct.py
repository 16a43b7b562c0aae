"""Jobs as `sacct` of Slurm prints them, with the fields that have a meaning here. docs/compat.md
says what is equal and what is not.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from elsa.errors import UsageError
from elsa.report.query import rollup_source
from elsa.report.query.selection import Selection
from elsa.report.query.statement import values_of
from elsa.report.query.times import reported
from elsa.state.automatic_jobs import DISABLED
from elsa.text import printable

Job = Mapping[str, Any]
_COLUMNS = (
    *("job_id", "name", "owner_uid", "kind", "state", "close_reason", "created_at", "started_at"),
    *("ended_at", "wall_s", "processes", "cpu_s", "user_s", "system_s", "rss_kib", "vm_kib"),
    *("read_bytes", "write_bytes", "exit_status", "tags"),
)
_FORMAT = re.compile(r"(\w+)(?:%(-?\d{1,3}))?")
_UNKNOWN = "Unknown"
# Of jobs that did not end by themselves; processes of a disabled job may still run.
_STATE_OF_REASON = {"reboot": "NODE_FAIL", DISABLED: "CANCELLED"}
# All states of Slurm with their short names; no job here has one of those that state() does not
# give.
_STATES = {
    "BF": "BOOT_FAIL",
    "CA": "CANCELLED",
    "CD": "COMPLETED",
    "DL": "DEADLINE",
    "F": "FAILED",
    "NF": "NODE_FAIL",
    "OOM": "OUT_OF_MEMORY",
    "PD": "PENDING",
    "PR": "PREEMPTED",
    "R": "RUNNING",
    "RQ": "REQUEUED",
    "RS": "RESIZING",
    "RV": "REVOKED",
    "S": "SUSPENDED",
    "TO": "TIMEOUT",
}


class Field(NamedTuple):
    """A field of sacct."""

    name: str
    width: int
    text: Callable[[Job], str]


def _time(key: str) -> Callable[[Job], str]:
    def text(job: Job) -> str:
        if job[key] is None:
            return _UNKNOWN
        return datetime.fromisoformat(job[key]).astimezone().strftime("%Y-%m-%dT%H:%M:%S")

    return text


def _elapsed(seconds: float) -> str:
    """[DD-]HH:MM:SS."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{f'{days}-' if days else ''}{hour:02}:{minute:02}:{second:02}"


def _wall(write: Callable[[float], str]) -> Callable[[Job], str]:
    return lambda job: "" if job["elapsed_s"] is None else write(job["elapsed_s"])


def _cpu(key: str) -> Callable[[Job], str]:
    """[DD-[HH:]]MM:SS.mmm, without milliseconds from an hour on."""

    def text(job: Job) -> str:
        used_s = job[key]
        if used_s is None:
            return ""
        if used_s >= 3600:
            return _elapsed(used_s)
        minute, milliseconds = divmod(round(used_s * 1000), 60_000)
        return f"{minute:02}:{milliseconds // 1000:02}.{milliseconds % 1000:03}"

    return text


def _kib(key: str, size: int = 1024) -> Callable[[Job], str]:
    return lambda job: "" if job[key] is None else f"{job[key] * size // 1024}K"


def state(job: Job) -> str:
    """The state of a job in the words of Slurm."""
    if job["state"] == "open":
        return "RUNNING"
    if job["close_reason"] in _STATE_OF_REASON:
        return _STATE_OF_REASON[job["close_reason"]]
    return "FAILED" if job["exit_status"] else "COMPLETED"


def exit_code(job: Job) -> str:
    """The exit code and the signal."""
    status = job["exit_status"] or 0
    return f"{status >> 8 & 0xFF}:{status & 0x7F}"


FIELDS = {
    field.name.lower(): field
    for field in (
        Field("JobID", 12, lambda job: str(job["job_id"])),
        Field("JobIDRaw", 12, lambda job: str(job["job_id"])),
        Field("JobName", 10, lambda job: str(job["name"])),
        Field("User", 9, lambda job: str(job["owner"])),
        Field("UID", 6, lambda job: str(job["owner_uid"])),
        Field("Partition", 10, lambda job: str(job["kind"])),
        Field("Account", 10, lambda job: str(json.loads(job["tags"]).get("account", ""))),
        Field("State", 10, state),
        Field("ExitCode", 8, exit_code),
        Field("Submit", 19, _time("created_at")),
        Field("Start", 19, _time("started_at")),
        Field("End", 19, _time("ended_at")),
        Field("Elapsed", 10, _wall(_elapsed)),
        Field("ElapsedRaw", 10, _wall(lambda seconds: str(int(seconds)))),
        Field("TotalCPU", 10, _cpu("cpu_s")),
        Field("UserCPU", 10, _cpu("user_s")),
        Field("SystemCPU", 10, _cpu("system_s")),
        Field("MaxRSS", 10, _kib("rss_kib")),
        Field("MaxVMSize", 10, _kib("vm_kib")),
        Field("MaxDiskRead", 12, _kib("read_bytes", 1)),
        Field("MaxDiskWrite", 12, _kib("write_bytes", 1)),
        Field("NTasks", 8, lambda job: str(job["processes"])),
        Field("Comment", 14, lambda job: str(job["tags"])),
    )
}


def states(texts: Iterable[str]) -> frozenset[str]:
    """The states of -s, by their names or short names in either case. Raises UsageError."""
    found = set()
    for text in texts:
        word = text.strip().upper()
        if word not in _STATES and word not in _STATES.values():
            names = ", ".join(f"{name} ({short})" for short, name in _STATES.items())
            raise UsageError(f"-s: no state {printable(text)}; there are {names}")
        found.add(_STATES.get(word, word))
    return frozenset(found)


def chosen(text: str) -> list[tuple[Field, int]]:
    """The fields of -o with their widths, negative for text to the left. Raises UsageError."""
    fields = []
    for part in (word.strip() for word in text.split(",") if word.strip()):
        match = _FORMAT.fullmatch(part)
        field = FIELDS.get(match[1].lower()) if match else None
        if match is None or field is None:
            names = ", ".join(each.name for each in FIELDS.values())
            raise UsageError(f"-o: no field {printable(part)}; there are {names}")
        fields.append((field, int(match[2] or 0) or field.width))
    return fields


def jobs(
    connection: sqlite3.Connection, selection: Selection, wanted: frozenset[str], now: datetime
) -> list[Job]:
    """The jobs of a selection that were there in its window, the oldest first: those with a state
    that is wanted, or all.
    """
    since, until = selection.window
    there = ["true"]
    if since is not None:
        there.append(f"(j.closed_at_ns is null or j.closed_at_ns >= {since})")
    if until is not None:
        there.append(f"j.created_at_ns < {until}")
    view = rollup_source.job_usage(f"select j.id from job as j where {' and '.join(there)}")
    where = " and ".join(["true", *(each.sql for each in selection.job_conditions)])
    values = values_of(selection.job_conditions)
    columns = ", ".join(map(reported, _COLUMNS))
    owner = "owner_name(u.owner_uid, u.job_id)" if selection.apart else "user_name(u.owner_uid)"
    rows = connection.execute(
        f"select {columns}, {owner} from {view} as u where {where} order by u.job_id", values
    )
    found = (dict(zip((*_COLUMNS, "owner"), row, strict=True)) for row in rows)
    return [
        job | {"elapsed_s": _elapsed_s(job, now)}
        for job in found
        if not wanted or state(job) in wanted
    ]


def _elapsed_s(job: Job, now: datetime) -> float | None:
    """The wall time; that so far while the job runs."""
    if job["wall_s"] is not None or job["started_at"] is None or state(job) != "RUNNING":
        return job["wall_s"]  # type: ignore[no-any-return]
    return max(0.0, (now - datetime.fromisoformat(job["started_at"])).total_seconds())


def lines(
    found: Sequence[Job], fields: Sequence[tuple[Field, int]], mark: str | None, *, header: bool
) -> Iterator[str]:
    """The jobs in columns, or separated by a mark."""
    rows = [[printable(field.text(job)) for field, _ in fields] for job in found]
    names = [field.name for field, _ in fields]
    if mark is not None:
        rows = [[text.replace("|", "\\x7c") for text in row] for row in rows]
        yield from (mark.join(row) for row in ([names] if header else []) + rows)
        return
    if header:
        cut = [name[: abs(width)] for name, (_, width) in zip(names, fields, strict=True)]
        yield _padded(cut, fields)
        yield " ".join("-" * abs(width) for _, width in fields) + " "
    yield from (_padded(row, fields) for row in rows)


def _padded(row: Sequence[str], fields: Sequence[tuple[Field, int]]) -> str:
    cells = []
    for text, (_, width) in zip(row, fields, strict=True):
        cut = text if len(text) <= abs(width) else text[: abs(width) - 1] + "+"
        cells.append(f"{cut:<{-width}}" if width < 0 else f"{cut:>{width}}")
    return " ".join(cells) + " "


def as_json(found: Sequence[Job]) -> str:
    """The jobs as one object, with the names that `sacct --json` has."""
    return json.dumps({"jobs": [_object(job) for job in found]}, indent=2)


def _object(job: Job) -> dict[str, Any]:
    status = job["exit_status"]
    start, end = (
        None if job[key] is None else int(datetime.fromisoformat(job[key]).timestamp())
        for key in ("started_at", "ended_at")
    )
    return {
        "job_id": job["job_id"],
        "name": job["name"],
        "user": job["owner"],
        "partition": job["kind"],
        "state": {"current": [state(job)]},
        "exit_code": {
            "return_code": None if status is None else status >> 8 & 0xFF,
            "signal": {"id": None if status is None else status & 0x7F},
        },
        "time": {
            "start": start,
            "end": end,
            "elapsed": None if job["elapsed_s"] is None else int(job["elapsed_s"]),
            "total": _seconds(job["cpu_s"]),
            "user": _seconds(job["user_s"]),
            "system": _seconds(job["system_s"]),
        },
        "comment": {"job": job["tags"]},
    }


def _seconds(value: float | None) -> dict[str, int] | None:
    if value is None:
        return None
    whole, micros = divmod(round(value * 1_000_000), 1_000_000)
    return {"seconds": whole, "microseconds": micros}
