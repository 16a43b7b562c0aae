"""dump-acct: accounting records, a line each, or as bytes in a format of choice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from elsa.decode.acct import BIG_ENDIAN, AcctRow
from elsa.report.gnu import words


def lines(rows: Iterable[AcctRow]) -> Iterator[bytes]:
    """A line per record: name, version, ticks, ids, KiB, flags, exit code, terminal, start."""
    for flag, version, tty, status, uid, gid, pid, ppid, btime, etime, utime, stime, mem, io, _, _, _, _, comm in rows:
        yield b"%-16.16s|v%d|%9.2f|%9.2f|%9.2f|%6d|%6d|%9.2f|%9.2f|%8d|%8d|%b|%8d|%-8.8s|%b\n" % (
            words.command(comm),
            version & ~BIG_ENDIAN,
            *(utime, stime, etime, uid, gid, mem, io, words.signed(pid), words.signed(ppid)),
            words.flags(flag),
            status >> 8,
            words.terminal(tty),
            words.date(btime),
        )
