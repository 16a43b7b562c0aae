"""Names that ELSA gives to what it makes on the host, and by which it knows it again."""

from __future__ import annotations

import re

_OWN_GROUP = re.compile(r"elsa-run-([0-9]+)")


def own_group(pid: int) -> str:
    """The name of the control group that the program with this pid makes for a command."""
    return f"elsa-run-{pid}"


def maker_of_group(name: str) -> int | None:
    """The pid of the program that made the control group with this name; None: another did."""
    match = _OWN_GROUP.fullmatch(name)
    return None if match is None else int(match[1])
