"""/proc/PID/cmdline as text: the arguments quoted as for a shell, what looks like a secret left out. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from elsa.decode.comm import escape

# Longer command lines are cut: they are for people to recognise a process by.
MOST = 4096
HIDDEN = "***"
# user:password@ in a URL
_URL = re.compile(r"(?<=://)([^/@:\s]*):[^/@\s]+(?=@)")


def decode_cmdline(data: bytes, secret: re.Pattern[str]) -> str | None:
    """The command line, at most MOST characters; None where there is none (a kernel thread, a zombie).

    `secret` is looked for in the names of options and variables: then `--name=value`, `NAME=value` and `--name value` lose the value. So
    does a password in a URL.
    """
    if not data:
        return None
    arguments = [escape(argument) for argument in data[: 4 * MOST].removesuffix(b"\0").split(b"\0")]
    return shlex.join(_without_secrets(arguments, secret))[:MOST]


def _without_secrets(arguments: list[str], secret: re.Pattern[str]) -> Iterator[str]:
    hide_next = False
    for position, argument in enumerate(arguments):
        if hide_next and not argument.startswith("-"):
            yield HIDDEN
            hide_next = False
            continue
        name, equals, _ = argument.partition("=")
        hide_next = False
        if equals and secret.search(name):
            yield f"{name}={HIDDEN}"
        else:
            hide_next = position > 0 and argument.startswith("-") and secret.search(argument) is not None
            yield _URL.sub(rf"\1:{HIDDEN}", argument)
