"""lastcomm: which commands were executed, the last to end first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from elsa.decode.acct import AcctRow
from elsa.errors import UsageError
from elsa.gnu import text


class Wanted(NamedTuple):
    """What a record must match: any of all these, or with `strict` every one. Nothing given: every
    record matches.
    """

    names: tuple[bytes, ...] = ()
    """Each the name of a command, a user or a terminal."""
    users: tuple[bytes, ...] = ()
    commands: tuple[bytes, ...] = ()
    ttys: tuple[bytes, ...] = ()
    strict: bool = False

    def check(self) -> None:
        """UsageError where strict matching could never match."""
        if self.strict and any(
            len(set(several)) > 1 for several in (self.users, self.commands, self.ttys)
        ):
            raise UsageError(
                "--strict-match takes one --user, one --command and one --tty at most, as no record"
                " has two of them"
            )

    def matches(self, user: bytes, command: bytes, tty: bytes) -> bool:
        """Whether a record of this user, command and terminal is wanted."""
        given = ((self.users, user), (self.commands, command), (self.ttys, tty))
        if not self.strict:
            asked = any(self[:4])
            return (
                not asked
                or any(name in (user, tty, command) for name in self.names)
                or any(value in some for some, value in given)
            )
        # The original compares each bare name with all three at once, and of the command only as
        # many bytes as it has.
        if not all(name == user == tty and name.startswith(command) for name in self.names):
            return False
        return all(not some or value in some for some, value in given)


def lines(
    rows: Iterable[AcctRow],
    wanted: Wanted,
    *,
    controls: bool = False,
    paging: bool = False,
    pid: bool = False,
) -> Iterator[bytes]:
    """The lines of lastcomm for these records, which come in the order in which they are to be
    printed.

    With `controls` unprintable bytes of command names come as they are; with `paging` faults take
    the place of user and terminal.
    """
    wanted.check()
    everything = not any(wanted[:4])
    for (
        flag,
        _,
        tty,
        _,
        uid,
        _,
        process,
        parent,
        second,
        _,
        utime,
        stime,
        _,
        _,
        _,
        minflt,
        majflt,
        swaps,
        comm,
    ) in rows:
        user, terminal, command = text.user(uid), text.terminal(tty), text.command(comm)
        if not everything and not wanted.matches(user, command, terminal):
            continue
        name = command if controls else text.masked(command)
        middle = (
            b"%6.0fmin %6.0fmaj %4.0fswp" % (minflt, majflt, swaps)
            if paging
            else b"%-8.8s %-8.8s" % (user, terminal)
        )
        end = b" %d %d\n" % (text.signed(process), text.signed(parent)) if pid else b"\n"
        cpu = (utime + stime) / 100
        yield b"%-16.16s %b %b %6.2f secs %-16.16s%b" % (
            name,
            text.flags(flag),
            middle,
            cpu,
            text.date(second),
            end,
        )
