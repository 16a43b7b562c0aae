"""/proc/PID/cmdline as text: the arguments quoted as for a shell, what looks like a secret left out. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from elsa.decode.comm import escape

# Longer command lines are cut: they are for people to recognise a process by.
MOST = 4096
HIDDEN = "***"
# user:password@ or token@ in a URL
_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_USER = ("-u", "--user")


def decode_cmdline(data: bytes, secret: re.Pattern[str]) -> str | None:
    """The command line, at most MOST characters; None where there is none (a kernel thread, a zombie).

    `secret` is looked for in the names of options, variables and headers: then `--name=value`, `NAME=value`, `--name value` and
    `Name: value` lose the value. So does who logs in with what in a URL, and what follows the user in `-u user:value`.
    """
    if not data:
        return None
    arguments = [escape(argument) for argument in data[: 4 * MOST].removesuffix(b"\0").split(b"\0")]
    return shlex.join(_without_secrets(arguments, secret))[:MOST]


def _without_secrets(arguments: list[str], secret: re.Pattern[str]) -> Iterator[str]:
    header = re.compile(rf"""((?:{secret.pattern})[\w-]*["']?\s*[:=]\s*["']?)[^"'&;,]+""", secret.flags)
    before = ""
    for position, argument in enumerate(arguments):
        name, equals, _ = argument.partition("=")
        named = position > 1 and before.startswith("-") and "=" not in before and secret.search(before)
        if named and not argument.startswith("-"):
            yield HIDDEN
        elif before in _USER and ":" in argument:
            yield f"{argument.partition(':')[0]}:{HIDDEN}"
        elif equals and secret.search(name) and ":" not in name and " " not in name:
            yield f"{name}={HIDDEN}"
        else:
            yield header.sub(lambda match: match[1] + HIDDEN, _URL.sub(HIDDEN, argument))
        before = argument
