"""A bar on a terminal for what takes a while; nothing at all elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

Show = Callable[[int, int], None]


@contextmanager
def bar(label: str, *, from_total: int, quiet: bool = False) -> Iterator[Show]:
    """A function that is told what is done and what there is to do.

    With less than `from_total` to do, or no terminal to show it on, no bar is shown.
    """
    visible = not quiet and sys.stderr.isatty()
    shown: list[Any] = []  # click's bar, once there is one

    def show(done: int, total: int) -> None:
        if visible and not shown and total >= from_total:
            shown.append(click.progressbar(length=total, label=label, file=sys.stderr))
        for one in shown:
            one.update(max(done - one.pos, 0))

    try:
        yield show
    finally:
        for one in shown:
            one.render_finish()
