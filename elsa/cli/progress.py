"""Show a progress bar for long operations, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from elsa.progress import Progress


@contextmanager
def bar(label: str, *, from_total: int, quiet: bool = False) -> Iterator[Progress]:
    """A function that takes how much is done and the total, and draws the bar.

    No bar is drawn for a total below `from_total`, or if stderr is not a terminal.
    """
    visible = not quiet and sys.stderr.isatty()
    drawn: Any = None

    def show(done: int, total: int) -> None:
        nonlocal drawn
        if visible and drawn is None and total >= from_total:
            drawn = click.progressbar(length=total, label=label, file=sys.stderr)
        if drawn is not None:
            drawn.update(max(done - drawn.pos, 0))

    try:
        yield show
    finally:
        if drawn is not None:
            drawn.render_finish()
