"""/proc/PID/cmdline as text: the arguments quoted as for a shell, what looks like a secret left
out. Pure.
"""

from __future__ import annotations

import shlex

from elsa.decode.comm import escape
from elsa.decode.redact import Redactor

# Longer command lines are cut: they are for people to recognise a process by.
MOST = 4096
# How a line that was cut ends. No whole line does: an argument that holds this stands in quotes.
CUT = "…"
# Bytes of arguments that are looked at.
MOST_BYTES = 4 * MOST


def decode_cmdline(data: bytes, redact: Redactor) -> str | None:
    """The command line, at most MOST characters, with CUT at its end where there was more; None
    where there is none (a kernel thread).
    """
    if not data:
        return None
    part = data[:MOST_BYTES].removesuffix(b"\0")
    arguments = [argument.decode("utf-8", "surrogateescape") for argument in part.split(b"\0")]
    line = shlex.join(
        escape(argument.encode("utf-8", "surrogateescape")) for argument in redact(arguments)
    )
    return line if len(line) <= MOST and len(data) <= MOST_BYTES else line[: MOST - len(CUT)] + CUT
