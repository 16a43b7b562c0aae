"""A bar on a terminal for what takes a while; nothing at all elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import click

Show = Callable[[int, int], None]


@contextmanager
def bar(label: str, *, from_total: int, quiet: bool = False) -> Iterator[Show | None]:
    """A function that is told what is done and what there is to do; with less than `from_total` to do no bar is shown.

    None where there is no terminal to show it on.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    with ExitStack() as shown:
        opened = None

        def show(done: int, total: int) -> None:
            nonlocal opened
            if opened is None and total >= from_total:
                opened = shown.enter_context(click.progressbar(length=total, label=label, file=sys.stderr))
            if opened is not None:
                opened.update(max(done - opened.pos, 0))

        yield show
