"""The protocol of the control socket: a line of JSON each way, described in docs/protocol.md. No
I/O here. What clients may ask for is in elsa.control.operations, which clients need not import.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from elsa import errors
from elsa.errors import ElsaError, UnavailableError, UsageError

VERSION = 1
MAX_REQUEST = 64 * 1024
"""Bytes of a request line without its newline: room for all pids and the largest tags."""
MAX_PID = 4_194_304
"""PID_MAX_LIMIT of 64-bit kernels (include/linux/threads.h)."""
MAX_MEMBERS = 10_000
"""How many members one `show` may list."""
MAX_MESSAGE = 1000

JobRef = int | str
"""A job by its id, or by its name if only one open job has it."""

# kind of an error reply <-> the class that the client raises
ERROR_KINDS: dict[str, type[ElsaError]] = {
    "usage": errors.UsageError,
    "data": errors.DataError,
    "input": errors.InputMissingError,
    "unavailable": errors.UnavailableError,
    "retry": errors.RetryError,
    "permission": errors.PrivilegeError,
    "config": errors.ConfigError,
    "failure": errors.ElsaError,
}


def encode_request(op: str, fields: Mapping[str, Any]) -> bytes:
    """The line of a request."""
    line = _dump({"elsa": VERSION, "op": op, **fields})
    if len(line) > MAX_REQUEST + 1:
        raise UsageError(
            f"the request is longer than {MAX_REQUEST} bytes; ask for fewer processes or tags at a"
            " time"
        )
    return line


def encode_reply(reply: Mapping[str, Any] | ElsaError) -> bytes:
    """The line of a reply: what was asked for, or the error."""
    if not isinstance(reply, ElsaError):
        return _dump({"elsa": VERSION, "ok": True, **reply})
    kind = next(kind for kind, family in ERROR_KINDS.items() if isinstance(reply, family))
    return _dump(
        {"elsa": VERSION, "ok": False, "error": {"kind": kind, "message": _one_line(str(reply))}}
    )


def parse_reply(line: bytes) -> dict[str, Any]:
    """What a reply carries; if it carries an error, raise it as the server did."""
    try:
        message = load(line)
    except UsageError as error:
        raise UnavailableError(f"what answers is not jobd: {error}") from None
    if message.pop("elsa", None) != VERSION:
        raise UnavailableError(
            f"jobd speaks another protocol than {VERSION}, which this command speaks: is one of the"
            " two older?"
        )
    if message.pop("ok", None) is True:
        return message
    failure = message.get("error")
    if not isinstance(failure, dict):
        raise UnavailableError("what answers is not jobd: neither a reply nor an error")
    raise ERROR_KINDS.get(str(failure.get("kind")), ElsaError)(
        _one_line(str(failure.get("message")))
    )  # it may be no jobd of ours


def _one_line(message: str) -> str:
    """An error as one printable line: nothing in it can move a terminal's cursor."""
    return "".join(c if c.isprintable() else " " for c in message[:MAX_MESSAGE])


def _dump(message: Mapping[str, Any]) -> bytes:
    text = json.dumps(message, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return (
        text.encode("utf-8", "backslashreplace") + b"\n"
    )  # half a surrogate pair becomes \udcXX, which is how JSON writes it


def load(line: bytes) -> dict[str, Any]:
    """The object in a line. Raises UsageError."""
    try:
        message = json.loads(
            line.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except RecursionError:
        raise UsageError("not a request: nested too deeply") from None
    except ValueError as error:  # not UTF-8, not JSON, a number of thousands of digits
        raise UsageError(f"not a line of JSON: {ascii(str(error))[1:-1][:200]}") from None
    if not isinstance(message, dict):
        raise UsageError("not an object")
    return message


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; a key that comes twice is an error, since readers differ in which one they
    believe.
    """
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key comes twice")
    return table


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")
