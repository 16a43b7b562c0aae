"""Logins: who was logged in on which line from when to when, from the records of wtmp (struct
utmpx, utmpx.h of glibc) or the rows of wtmpdb.

A login ends with the logout on its line, or without one with the next login there, a shutdown or
the next boot. Of the last the end is an upper bound: the host may have been down before.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from elsa.errors import DataError

SECOND_US = 1_000_000
# 64-bit Linux has 32-bit times in this struct where it also runs 32-bit programs (x86, s390x,
# powerpc); elsewhere a long and a struct timeval of 64 bits.
_SHORT = struct.Struct("=hxxi32s4s32s256shhiii16x20x")
_LONG = struct.Struct("=hxxi32s4s32s256shhqqq16x20x4x")


_LAST_TYPE = 9  # ACCOUNTING


class Type(IntEnum):
    """ut_type of the records that matter (utmpx.h)."""

    RUN_LVL = 1
    BOOT_TIME = 2
    NEW_TIME = 3
    OLD_TIME = 4
    LOGIN_PROCESS = 6
    USER_PROCESS = 7
    DEAD_PROCESS = 8


class Record(NamedTuple):
    """A record of wtmp."""

    type: int
    line: str
    user: str
    time_us: int
    """Real time in microseconds since 1970."""


class Login(NamedTuple):
    """Somebody was logged in."""

    user: str
    line: str
    since_us: int
    until_us: int | None
    """None: still logged in."""
    exact: bool
    """Whether the end is known from a logout or shutdown; else it may have been earlier."""


def _shape(data: bytes) -> struct.Struct:
    return _LONG if len(data) % _SHORT.size and not len(data) % _LONG.size else _SHORT


def torn(data: bytes) -> int:
    """How many bytes at the end of a wtmp file are no whole record."""
    return len(data) % _shape(data).size


def records(data: bytes) -> Iterator[Record]:
    """The whole records of a wtmp file of this machine. Raises DataError if it is none."""
    shape, rest = _shape(data), torn(data)
    if rest and rest == len(data):
        raise DataError("no whole record")
    for fields in shape.iter_unpack(data[: len(data) - rest]):
        type_, _, line, _, user, _, _, _, _, seconds, micros = fields
        if not 0 <= type_ <= _LAST_TYPE:
            raise DataError(f"a record has the type {type_}, which does not exist")
        yield Record(type_, _text(line), _text(user), seconds * SECOND_US + micros)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def logins(of: Iterable[Record]) -> list[Login]:
    """The logins, in the order of their ends; those without an end last."""
    ended: list[Login] = []
    on_line: dict[str, tuple[str, int]] = {}
    old_us: int | None = None

    def end(line: str, time_us: int, *, exact: bool) -> None:
        user, since_us = on_line.pop(line)
        ended.append(Login(user, line, since_us, max(since_us, time_us), exact))

    for record in of:
        if record.type == Type.OLD_TIME:
            old_us = record.time_us
        elif record.type == Type.NEW_TIME and old_us is not None:
            step_us, old_us = record.time_us - old_us, None
            on_line = {line: (user, at + step_us) for line, (user, at) in on_line.items()}
        elif record.type == Type.BOOT_TIME or _is_shutdown(record):
            for line in list(on_line):
                end(line, record.time_us, exact=record.type != Type.BOOT_TIME)
        elif record.type in (Type.USER_PROCESS, Type.DEAD_PROCESS, Type.LOGIN_PROCESS):
            if record.line in on_line:
                end(record.line, record.time_us, exact=record.type == Type.DEAD_PROCESS)
            if record.type == Type.USER_PROCESS and record.user:
                on_line[record.line] = record.user, record.time_us
    open_ = (Login(user, line, at, None, exact=True) for line, (user, at) in on_line.items())
    return [*ended, *open_]


def _is_shutdown(record: Record) -> bool:
    return record.type == Type.RUN_LVL and record.user == "shutdown"


def of_wtmpdb(rows: Iterable[tuple[int, str, int, int | None, str | None]]) -> list[Login]:
    """The same from rows of wtmpdb: type (1 boot, 3 login), user, login and logout in microseconds,
    line; in the order of their logins.
    """
    known = list(rows)
    boots = [at for type_, _, at, _, _ in known if type_ == 1]
    found = []
    for type_, user, since_us, until_us, line in known:
        if type_ == 3:
            end = until_us or next((at for at in boots if at > since_us), None)
            found.append(Login(user, line or "", since_us, end, until_us == end))
    return found
