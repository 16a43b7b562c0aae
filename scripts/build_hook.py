"""What a wheel has in share/: man pages and the completion scripts of shells, made of the commands.
Hatchling calls this before it puts a wheel together.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hatchling.builders.config import BuilderConfig
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    Interface = BuildHookInterface[BuilderConfig]
else:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface as Interface

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the package itself may not be installed while its wheel is built

from scripts import completions, man  # noqa: E402


class BuildHook(Interface):
    """What hatchling calls."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files; an editable installation goes without."""
        if version == "editable":
            return
        shared = build_data["shared_data"]
        for path in man.write(ROOT / "build/man"):
            shared[str(path)] = f"share/man/man1/{path.name}"
        for path, place in completions.write(ROOT / "build/completion"):
            shared[str(path)] = place
