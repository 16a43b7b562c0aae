"""What the members of a job use: those that still run, read from /proc by the caller, and those
that have ended, from the warehouse.

jobd only reports which processes are in the job; nothing here makes it wait.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from elsa.control import protocol
from elsa.control.client import Client
from elsa.decode.comm import escape_comm
from elsa.decode.procfs import Stat, parse_io, parse_memory, parse_pss, parse_stat
from elsa.errors import DataError, ElsaError, UsageError
from elsa.host.proc_scan import TICKS_PER_S
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs
from elsa.run import jobd_usage
from elsa.run.jobd_usage import EndedMembers
from elsa.run.usage_sums import NOTHING, JobPeak, Usage
from elsa.state.incarnation import TICK_NS

# jobd turns a start into real time, and a start in /proc is cut to a tick: both may be off by one.
START_SLACK_NS = 3 * TICK_NS


class Running(NamedTuple):
    """A member that runs, and what it has used so far, or since it joined the job."""

    pid: int
    threads: int
    rss_kib: int
    usage: Usage
    """I/O is None where it may not be read."""

    def since(self, before: Usage | None) -> Running:
        """The same without what the process had used when it joined."""
        return self._replace(usage=self.usage.since(before))

    def as_object(self) -> dict[str, Any]:
        """What programs get."""
        used = self.usage._asdict()
        del used["processes"]
        return {"pid": self.pid, "threads": self.threads, "rss_kib": self.rss_kib, **used}


Members = list[tuple[Mapping[str, Any], Running | None]]


@dataclass
class JobNow:
    """A job, its members and what they use."""

    job: Mapping[str, Any]
    living: int
    members: Members
    """As jobd reports them, with what /proc shows; None where the process is gone."""
    ended: EndedMembers | None
    """None where the warehouse could not be read."""
    why: str = ""
    """Why it could not."""
    whole: int = 0
    """Members that joined while they ran, but are shown with all that they used, since what they
    had used before is not known.
    """

    @property
    def running(self) -> Usage:
        """The sum over the members that were read."""
        return total(process for _, process in self.members)

    @property
    def finished(self) -> Usage | None:
        """Of the members that have ended or left."""
        return None if self.ended is None else self.ended.usage

    @property
    def peak(self) -> JobPeak | None:
        """The peak of all members together, as far as known."""
        if self.ended is None or self.ended.whole is None:
            return None
        together = self.together
        return self.ended.whole.at_least(together and together.peak_rss_kib)

    @property
    def together(self) -> Usage | None:
        """Running and finished members."""
        return None if self.finished is None else self.running.plus(self.finished)


def total(members: Iterable[Running | None]) -> Usage:
    """The sum over the members that were read."""
    used = (process.usage for process in members if process is not None)
    return functools.reduce(Usage.plus, used, NOTHING)


def read_job(client: Client, procfs: Procfs, ref: protocol.JobRef, limit: int) -> JobNow:
    """A job as it is now, with at most `limit` of its members."""
    (now,) = _with_ended(client, [_shown(client, procfs, ref, limit)])
    return now


def read_jobs(
    client: Client, procfs: Procfs, refs: Iterable[protocol.JobRef], limit: int
) -> list[JobNow]:
    """The same of several jobs, without those that have ended meanwhile."""
    shown = []
    for ref in refs:
        with contextlib.suppress(UsageError):
            shown.append(_shown(client, procfs, ref, limit))
    return _with_ended(client, shown)


class _Shown(NamedTuple):
    """What jobd and /proc say of a job."""

    asked_ns: int
    job: Mapping[str, Any]
    living: int
    members: Members


def _shown(client: Client, procfs: Procfs, ref: protocol.JobRef, limit: int) -> _Shown:
    asked_ns = clocks.monotonic_ns()
    reply = client.request("show", job=ref, limit=limit)
    offsets = clocks.offsets()
    members = [
        (_named(procfs, member), running(procfs, member, offsets)) for member in reply["members"]
    ]
    return _Shown(asked_ns, reply["job"], reply["living"], members)


def _with_ended(client: Client, shown: Sequence[_Shown]) -> list[JobNow]:
    """The jobs with their members that have ended, which are read once for all of them."""
    if not shown:
        return []
    try:
        db = client.warehouse()
        client.request("sync")
        every = jobd_usage.ended_members(
            db, [each.job for each in shown], [each.asked_ns for each in shown]
        )
    except ElsaError as error:
        return [
            JobNow(job, living, members, None, str(error), len(_joined_later(members)))
            for _, job, living, members in shown
        ]
    return [_together(each, ended) for each, ended in zip(shown, every, strict=True)]


def _together(shown: _Shown, ended: EndedMembers) -> JobNow:
    # A member that ended between the two readings is among the finished ones.
    members = [
        (member, None if member["process_id"] in ended.recent else process)
        for member, process in shown.members
    ]
    whole = len(_joined_later(members) - ended.before.keys())
    members = [
        (member, process and process.since(ended.before.get(int(member["process_id"]))))
        for member, process in members
    ]
    return JobNow(shown.job, shown.living, members, ended, whole=whole)


def _joined_later(members: Members) -> set[int]:
    """The process ids of the running members that joined while they ran."""
    return {
        int(member["process_id"])
        for member, process in members
        if process is not None and not member["from_birth"]
    }


def running(procfs: Procfs, member: Mapping[str, Any], offsets: clocks.Offsets) -> Running | None:
    """What a member has used so far; None if it is gone, or in no pid namespace that we see.

    Its pid may have passed to another process: its start time is compared, before and after.
    """
    if member["pid"] is None:
        return None
    pid = int(member["pid"])
    before = _stat(procfs, pid)
    threads = procfs.read_threads_io(pid)
    status = procfs.read_status(pid)
    after = _stat(procfs, pid)
    if before is None or after is None or status is None:
        return None
    if before.starttime_ticks != after.starttime_ticks or not _is(member, after, offsets):
        return None
    try:
        rss_kib, peak_kib = parse_memory(status) or (0, 0)
        io = [parse_io(data) for data in threads]
    except DataError:
        return None
    ended = member.get("ended_threads") or {}
    names = {
        "rchar": "read_chars",
        "wchar": "write_chars",
        "read_bytes": "read_bytes",
        "write_bytes": "write_bytes",
    }
    sums = (
        sum(getattr(thread, name) or 0 for thread in io) + ended.get(key, 0) if io else None
        for name, key in names.items()
    )
    cpu_s = (after.utime_ticks + after.stime_ticks) / TICKS_PER_S
    return Running(pid, after.num_threads, rss_kib, Usage(1, cpu_s, peak_kib, *sums))


def memory_kib(
    procfs: Procfs, members: Iterable[Mapping[str, Any]], offsets: clocks.Offsets, enough: float
) -> int | None:
    """The memory of all members together, which is read more exactly if it seems to be more than
    `enough`: with what they share counted once. None if that cannot be read.
    """
    pids = [int(member["pid"]) for member in members if _lives(procfs, member, offsets)]
    resident = [parse_memory(procfs.read_status(pid) or b"") for pid in pids]
    together = sum(memory[0] for memory in resident if memory is not None)
    if together <= enough:
        return together
    shares = [parse_pss(data) for pid in pids if (data := procfs.read_smaps_rollup(pid))]
    known = [share for share in shares if share is not None]
    return sum(known) if known else None


def _named(procfs: Procfs, member: Mapping[str, Any]) -> Mapping[str, Any]:
    """Names come to jobd with execs; a process that only forked has its parent's, which /proc
    shows.
    """
    if member["comm"] is not None or member["pid"] is None:
        return member
    comm = procfs.read_comm(int(member["pid"]))
    return {**member, "comm": None if comm is None else escape_comm(comm)}


def _stat(procfs: Procfs, pid: int) -> Stat | None:
    data = procfs.read_stat(pid)
    try:
        return parse_stat(data) if data is not None else None
    except DataError:
        return None


def _lives(procfs: Procfs, member: Mapping[str, Any], offsets: clocks.Offsets) -> bool:
    return member["pid"] is not None and still_is(procfs, member, offsets)


def still_is(procfs: Procfs, member: Mapping[str, Any], offsets: clocks.Offsets) -> bool:
    """Whether the pid of a member is still that of this process."""
    stat = _stat(procfs, int(member["pid"]))
    return stat is not None and _is(member, stat, offsets)


def _is(member: Mapping[str, Any], stat: Stat, offsets: clocks.Offsets) -> bool:
    """Whether this is the process that jobd means: it started when it joined, or before if it
    joined later.
    """
    started_ns = stat.starttime_ticks * 1_000_000_000 // TICKS_PER_S
    start_at_ns = started_ns - offsets.boottime_ns + offsets.realtime_ns
    later_ns = int(member["since_at_ns"]) - start_at_ns
    return later_ns >= -START_SLACK_NS and (later_ns <= START_SLACK_NS or not member["from_birth"])
