"""/proc/PID/cmdline as text: the arguments quoted as for a shell, what looks like a secret left out. Pure."""

from __future__ import annotations

import shlex

from elsa.decode.comm import escape
from elsa.decode.redact import Redactor

# Longer command lines are cut: they are for people to recognise a process by.
MOST = 4096


def decode_cmdline(data: bytes, redact: Redactor) -> str | None:
    """The command line, at most MOST characters; None where there is none (a kernel thread, a zombie)."""
    if not data:
        return None
    arguments = [argument.decode("utf-8", "surrogateescape") for argument in data[: 4 * MOST].removesuffix(b"\0").split(b"\0")]
    return shlex.join(escape(argument.encode("utf-8", "surrogateescape")) for argument in redact(arguments))[:MOST]
