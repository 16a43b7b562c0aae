"""Completion scripts of shells, made of the commands, where each shell looks for them."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the package itself may not be installed while it is built

from elsa.cli.completion import PROGRAMS, script  # noqa: E402

# Where each shell searches the script of a program.
PLACES = {
    "bash": "share/bash-completion/completions/{}",
    "zsh": "share/zsh/vendor-completions/_{}",
    "fish": "share/fish/vendor_completions.d/{}.fish",
}


def write(folder: Path) -> list[tuple[Path, str]]:
    """Write the script of every program for every shell. Returns each with its place."""
    written = []
    for shell, place in PLACES.items():
        for program in PROGRAMS:
            path = folder / shell / program
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(script(shell, program) + "\n")
            written.append((path, place.format(program)))
    return written
