"""What the members of a job use: those that still run, read from /proc by whoever asks, and those
that have ended, from the warehouse.

jobd only tells who is in the job; nothing here makes it wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from elsa.control import protocol
from elsa.control.client import Client
from elsa.decode.comm import escape_comm
from elsa.decode.procfs import Stat, parse_io, parse_memory, parse_stat
from elsa.errors import DataError, ElsaError
from elsa.host.proc_scan import TICKS_PER_S
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs
from elsa.run import jobd_usage
from elsa.state.incarnation import TICK_NS

# jobd turns a start into real time, and a start in /proc is cut to a tick: both may be off by one.
SLACK_NS = 3 * TICK_NS


class Running(NamedTuple):
    """What a living process used so far, or since it came into the job; None where that may not be
    read.
    """

    pid: int
    cpu_s: float
    threads: int
    rss_kib: int
    peak_rss_kib: int
    read_chars: int | None
    write_chars: int | None
    read_bytes: int | None
    write_bytes: int | None

    def since(self, before: Sequence[int | None] | None) -> Running:
        """Less what it had used when it came in: CPU time in ns, then I/O. Of peaks nobody knows a
        part.
        """
        if before is None:
            return self
        cpu_ns, *io = before
        now = (self.read_chars, self.write_chars, self.read_bytes, self.write_bytes)
        left = [
            None if one is None or other is None else max(one - other, 0)
            for one, other in zip(now, io, strict=True)
        ]
        cpu_s = self.cpu_s if cpu_ns is None else max(self.cpu_s - cpu_ns / 1e9, 0.0)
        return Running(self.pid, cpu_s, self.threads, self.rss_kib, self.peak_rss_kib, *left)


class Figures(NamedTuple):
    """A sum over processes; None is unknown."""

    processes: int
    cpu_s: float | None
    peak_rss_kib: int | None
    """The largest, not the sum."""
    read_chars: int | None
    write_chars: int | None
    read_bytes: int | None
    write_bytes: int | None


@dataclass
class JobNow:
    """A job, its members and what they use."""

    job: Mapping[str, Any]
    living: int
    members: list[tuple[Mapping[str, Any], Running | None]]
    """As jobd tells of them, and what /proc did; None of who is gone."""
    finished: Figures | None
    """Of those that ended, and of those that were taken out."""
    without_figures: int
    """How many of the finished ones the warehouse knows no usage of."""
    why: str
    """Why the finished ones are unknown."""
    whole: int = 0
    """How many of the members came in later, but are shown whole, as what they had used by then is
    not known.
    """
    fineness: jobd_usage.Fineness | None = None
    """Of the CPU time of the finished ones."""

    @property
    def running(self) -> Figures:
        """The sum over those that were found running."""
        return total(one for _, one in self.members)

    @property
    def together(self) -> Figures | None:
        """Running and finished ones."""
        if self.finished is None:
            return None
        return Figures(
            *(
                _both(name, getattr(self.running, name), getattr(self.finished, name))
                for name in Figures._fields
            )
        )


_IO = ("read_chars", "write_chars", "read_bytes", "write_bytes")


def total(members: Iterable[Running | None]) -> Figures:
    """The sum over those that were found running."""
    found = [one for one in members if one is not None]
    peak = max((one.peak_rss_kib for one in found), default=0)
    return Figures(
        len(found), sum(one.cpu_s for one in found), peak, *(_sum(found, name) for name in _IO)
    )


def _sum(found: Iterable[Running], name: str) -> int | None:
    values = [getattr(one, name) for one in found]
    return None if None in values else sum(values)


def _both(name: str, one: Any, other: Any) -> Any:  # noqa: ANN401 - int or float
    if name == "peak_rss_kib":
        return max((value for value in (one, other) if value is not None), default=None)
    if one is None or other is None:
        return None
    return one + other


def look(client: Client, procfs: Procfs, ref: protocol.JobRef, limit: int) -> JobNow:
    """A job as it is now, with at most `limit` of its members."""
    seen_ns = clocks.monotonic_ns()
    reply = client.request("show", job=ref, limit=limit)
    offsets = clocks.offsets()
    members = [
        (_named(procfs, member), running(procfs, member, offsets)) for member in reply["members"]
    ]
    finished, without, why, before, fineness = None, 0, "", {}, None
    try:
        db = client.warehouse()
        client.request("sync")
        known = jobd_usage.known(db, int(reply["job"]["id"]), seen_ns)
        # Who ended between the two looks is among the finished ones.
        members = [
            (member, None if member["process_id"] in known.ended else one)
            for member, one in members
        ]
        before, without = known.before, known.processes - known.told
        finished, fineness = _finished(known), known.fineness
    except ElsaError as error:
        why = str(error)
    late = [
        (member, one) for member, one in members if one is not None and not member["from_birth"]
    ]
    whole = sum(int(member["process_id"]) not in before for member, _ in late)
    members = [
        (member, one and one.since(before.get(int(member["process_id"]))))
        for member, one in members
    ]
    return JobNow(reply["job"], reply["living"], members, finished, without, why, whole, fineness)


def _finished(known: jobd_usage.Known) -> Figures:
    """Nothing is 0 as long as nobody has ended, and unknown if nobody told of those who have."""
    if known.told or not known.processes:
        return Figures(
            known.processes,
            known.cpu_s,
            known.rss_kib,
            *(known.io if known.told else (0,) * len(known.io)),
        )
    return Figures(known.processes, None, None, *known.io)


def running(procfs: Procfs, member: Mapping[str, Any], offsets: clocks.Offsets) -> Running | None:
    """What a member used so far; None if it is gone, or in no pid namespace that we see.

    Its pid may have passed to another: the start tells, before and after.
    """
    if member["pid"] is None:
        return None
    pid = int(member["pid"])
    before = _stat(procfs, pid)
    threads = procfs.read_threads_io(pid)
    status = procfs.read_status(pid)
    after = _stat(procfs, pid)
    if (
        before is None
        or after is None
        or status is None
        or before.starttime_ticks != after.starttime_ticks
    ):
        return None
    if not _is(member, after, offsets):
        return None
    try:
        rss_kib, peak_kib = parse_memory(status) or (0, 0)
        io = [parse_io(data) for data in threads]
    except DataError:
        return None
    ended = member.get("ended_threads") or {}
    names = zip(("rchar", "wchar", "read_bytes", "write_bytes"), _IO, strict=True)
    sums = [
        sum(getattr(one, name) or 0 for one in io) + ended.get(key, 0) if io else None
        for name, key in names
    ]
    return Running(
        pid,
        (after.utime_ticks + after.stime_ticks) / TICKS_PER_S,
        after.num_threads,
        rss_kib,
        peak_kib,
        *sums,
    )


def _named(procfs: Procfs, member: Mapping[str, Any]) -> Mapping[str, Any]:
    """Names are known to jobd from execs; who only forked has that of its parent, which /proc
    tells.
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


def _is(member: Mapping[str, Any], stat: Stat, offsets: clocks.Offsets) -> bool:
    """Whether this is the process that jobd speaks of: born when it joined, or before where it
    joined later.
    """
    start_at_ns = (
        stat.starttime_ticks * 1_000_000_000 // TICKS_PER_S
        - offsets.boottime_ns
        + offsets.realtime_ns
    )
    later_ns = int(member["since_at_ns"]) - start_at_ns
    return later_ns >= -SLACK_NS and (later_ns <= SLACK_NS or not member["from_birth"])
