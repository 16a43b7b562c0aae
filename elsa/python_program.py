"""Start another Python program of ELSA with the interpreter and the modules of this one."""

from __future__ import annotations

import sys


def command(statement: str, *arguments: str) -> list[str]:
    """The command that runs a Python statement, with these arguments in sys.argv.

    The program searches modules where this one does: a package may keep them in a folder that only
    its launchers know.
    """
    program = f"import sys; sys.path[:] = {sys.path!r}; {statement}"
    return [sys.executable, "-P", "-c", program, *arguments]
