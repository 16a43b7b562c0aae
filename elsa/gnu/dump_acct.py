"""dump-acct: accounting records, a line each, or as bytes in a format of choice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from elsa.decode.acct import BIG_ENDIAN, AcctRow
from elsa.gnu import text


def lines(rows: Iterable[AcctRow]) -> Iterator[bytes]:
    """A line per record: name, version, ticks, ids, KiB, flags, exit code, terminal, start."""
    for (
        flag,
        version,
        tty,
        status,
        uid,
        gid,
        pid,
        ppid,
        btime,
        etime,
        utime,
        stime,
        mem,
        io,
        _,
        _,
        _,
        _,
        comm,
    ) in rows:
        yield b"%-16.16s|v%d|%9.2f|%9.2f|%9.2f|%6d|%6d|%9.2f|%9.2f|%8d|%8d|%b|%8d|%-8.8s|%b\n" % (
            text.command(comm),
            version & ~BIG_ENDIAN,
            *(utime, stime, etime, uid, gid, mem, io, text.signed(pid), text.signed(ppid)),
            text.flags(flag),
            status >> 8,
            text.terminal(tty),
            text.date(btime),
        )
