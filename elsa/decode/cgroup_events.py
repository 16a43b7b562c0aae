"""Which control group each process is in, and which program each exec starts: the records of perf
rings (include/uapi/linux/perf_event.h) as typed records, in order of time across CPUs (pure).

What follows from them:
* a child starts in the group of its parent (the connector's FORK);
* Attach moves a process, BornInto says that it started in another group than its parent's;
* Sampled, at each exec and at the end of each process, proves where the process is: it corrects
  whatever was concluded before.
* Made and Removed give names to ids. An id is not used again in a boot.
* Emptied says that the last process has left a group, which may be removed at any moment.

Order: a move is recorded after it was made, so a child that the moved process forks meanwhile may
have an earlier fork than the Attach; its own sample corrects that. The same holds between the
connector and these records: read the connector first, then the rings, and apply a record after the
connector's events of an earlier time.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import NamedTuple

from elsa.decode.tracepoint import parse_format, reader, text_at
from elsa.errors import DataError

HOLD_BACK_NS = 3_000_000
"""How much later than its time stamp a record may be written and is still put in order."""

# struct perf_event_header: type, misc, size. Of a sample with PERF_SAMPLE_IDENTIFIER, TID and TIME:
# identifier at 8, pid 16, tid 20, time 24; then the size of the raw data at 32 and these from 36
# on; behind them, or at 32 without raw data, the id of the control group.
_HEADER = struct.Struct("=I2xHQIIQ")
_LONG = struct.Struct("=Q")
_BEFORE_RAW, _RAW = "32xI", 36
_BARE, _BARE_SIZE = 32, 40
# PERF_RECORD_LOST: id at 8, lost 16; then as sample_id_all has it: pid 24, tid, time 32,
# identifier.
_LOST = struct.Struct("=16xQ8xQ8x")
_RECORD_LOST, _RECORD_SAMPLE = 2, 9


class Attach(NamedTuple):
    """A process was moved into a group."""

    time_ns: int
    pid: int
    """The leader of the process; of a threaded group the thread that was moved."""
    cgroup_id: int
    path: str


class Made(NamedTuple):
    """A group was made."""

    time_ns: int
    cgroup_id: int
    path: str


class Removed(NamedTuple):
    """A group was removed. No living process was in it."""

    time_ns: int
    cgroup_id: int
    path: str


class Emptied(NamedTuple):
    """A group and those below it have no living process any more. Not put in order: what is to be
    read of the group has to be read at once.
    """

    time_ns: int
    cgroup_id: int
    path: str


class BornInto(NamedTuple):
    """A process was started in another group than its parent's (CLONE_INTO_CGROUP); its first
    sample says in which.
    """

    time_ns: int
    pid: int
    parent_tgid: int


class Sampled(NamedTuple):
    """A process started a program, or ended: then it was in this group."""

    time_ns: int
    pid: int
    """The thread: at an end the last one of the process, where the kernel tells (Linux 6.16)."""
    tgid: int
    cgroup_id: int | None
    """None where the kernel samples another hierarchy than the one that is followed."""
    filename: str | None
    """As it was given to execve(2), perhaps relative or a script; None at an end."""


class Lost(NamedTuple):
    """The ring of a CPU was full, and this is the first record that was written since."""

    time_ns: int
    records: int


class ExitGroup(NamedTuple):
    """A process calls exit_group(2), with another code than 0."""

    time_ns: int
    tgid: int
    code: int
    """0 to 255, as wait(2) has it."""


_EXIT = "sched_process_exit"
_TIME = itemgetter(0)

Record = Attach | Made | Removed | Emptied | BornInto | Sampled | Lost | ExitGroup


class Decoder:
    """Decodes what the rings gave, and puts it in order of time.

    `opened` has, by the name of a tracepoint, its format and the filter that the kernel accepted;
    `names` says which identifier belongs to which tracepoint, and may grow. Raises DataError where
    a tracepoint is not as it has to be.
    """

    def __init__(self, opened: Mapping[str, tuple[bytes, str]], names: Mapping[int, str]) -> None:
        self._names = names
        unknown = opened.keys() - _HANDLERS.keys() - {_EXIT}
        if unknown:
            raise DataError(f"nothing is known of the tracepoint {min(unknown)}")
        self._handlers = {
            name: _HANDLERS[name](described)
            for name, (described, _) in opened.items()
            if name != _EXIT
        }
        # Without a filter the end of every thread is received: the leader's stands for the process.
        self._leaders_only = _EXIT in opened and not opened[_EXIT][1]
        self._held: list[Record] = []
        self._emptied: list[Emptied] = []

    def decode(self, chunks: Iterable[bytes], until_ns: int) -> list[Record]:
        """The records up to this time, in order of time: of these chunks, and those that were held
        back before. Later ones are held back until then.

        `until_ns` is to be HOLD_BACK_NS before the rings were read. A record that comes later still
        is first among the next. Raises DataError for bytes that are no records; what was decoded
        before is kept.
        """
        held = self._held
        for chunk in chunks:
            try:
                self._decode(chunk, held.append)
            except struct.error:
                raise DataError("a record of a perf ring is shorter than it has to be") from None
        held.sort(key=_TIME)
        count = bisect_right(held, until_ns, key=_TIME)
        ready = held[:count]
        del held[:count]
        return ready

    def take_emptied(self) -> list[Emptied]:
        """The groups that were emptied, by what was decoded since the last call."""
        emptied, self._emptied = self._emptied, []
        return emptied

    def _decode(self, chunk: bytes, append: Callable[[Record], None]) -> None:
        """The hot path: the end of a process is decoded here, all else by handlers."""
        names, handlers, leaders_only = self._names, self._handlers, self._leaders_only
        header, long, new = _HEADER.unpack_from, _LONG.unpack_from, tuple.__new__
        position, end = 0, len(chunk)
        while position < end:
            kind, size, identifier, tgid, pid, time_ns = header(chunk, position)
            following = position + size
            if size < _HEADER.size or following > end:
                raise DataError("a record of a perf ring has a wrong size")
            if kind == _RECORD_SAMPLE:
                name = names.get(identifier)
                if name == _EXIT:
                    if size < _BARE_SIZE:
                        raise DataError("a record of a perf ring is shorter than it has to be")
                    if pid == tgid or not leaders_only:
                        cgroup = long(chunk, position + _BARE)[0]
                        append(new(Sampled, (time_ns, pid, tgid, cgroup, None)))
                elif name in handlers:
                    record = handlers[name](chunk[position:following], time_ns, pid, tgid)
                    if isinstance(record, Emptied):
                        self._emptied.append(record)
                    else:
                        append(record)
                else:
                    raise DataError("a record of a perf ring is of an unknown tracepoint")
            elif kind == _RECORD_LOST:
                lost, time_ns = _LOST.unpack_from(chunk[position:following])
                append(Lost(time_ns, lost))
            position = following


Handler = Callable[[bytes, int, int, int], Record]
"""From a sample, its time, pid and tgid. Raises DataError or struct.error."""


def _attach(described: bytes) -> Handler:
    fields = parse_format(described)
    read = reader(fields, ("dst_id", "pid", "dst_path"), _BEFORE_RAW)
    text = fields["dst_path"]

    def handle(record: bytes, time_ns: int, _pid: int, _tgid: int) -> Attach:
        size, cgroup, pid, path = read(record, 0)
        return Attach(time_ns, pid, cgroup, text_at(text, path, record, _RAW, _RAW + size))

    return handle


def _group(kind: type[Made | Removed | Emptied]) -> Callable[[bytes], Handler]:
    def handler(described: bytes) -> Handler:
        fields = parse_format(described)
        read, text = reader(fields, ("id", "path"), _BEFORE_RAW), fields["path"]

        def handle(record: bytes, time_ns: int, _pid: int, _tgid: int) -> Record:
            size, cgroup, path = read(record, 0)
            return kind(time_ns, cgroup, text_at(text, path, record, _RAW, _RAW + size))

        return handle

    return handler


def _newtask(described: bytes) -> Handler:
    read = reader(parse_format(described), ("pid",), _BEFORE_RAW)

    def handle(record: bytes, time_ns: int, _pid: int, tgid: int) -> BornInto:
        return BornInto(time_ns, read(record, 0)[1], tgid)

    return handle


def _exec(described: bytes) -> Handler:
    fields = parse_format(described)
    read, text = reader(fields, ("filename",), _BEFORE_RAW), fields["filename"]

    def handle(record: bytes, time_ns: int, pid: int, tgid: int) -> Sampled:
        size, path = read(record, 0)
        end = _RAW + size
        cgroup = _LONG.unpack_from(record, end)[0] if len(record) > end else None
        filename = text_at(text, path, record, _RAW, end)
        return tuple.__new__(Sampled, (time_ns, pid, tgid, cgroup, filename))

    return handle


def _exit_group(described: bytes) -> Handler:
    read = reader(parse_format(described), ("error_code",), _BEFORE_RAW)

    def handle(record: bytes, time_ns: int, _pid: int, tgid: int) -> ExitGroup:
        return ExitGroup(time_ns, tgid, read(record, 0)[1] & 0xFF)

    return handle


_HANDLERS: Mapping[str, Callable[[bytes], Handler]] = {
    "cgroup_attach_task": _attach,
    "cgroup_mkdir": _group(Made),
    "cgroup_rmdir": _group(Removed),
    "cgroup_notify_populated": _group(Emptied),
    "task_newtask": _newtask,
    "sched_process_exec": _exec,
    "sys_enter_exit_group": _exit_group,
}
"""By the name of a tracepoint, what makes its handler of its format."""
