"""How a long operation reports its progress."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Takes how much is done, and how much there is to do."""


def no_progress(_done: int, _total: int) -> None:
    """Report nothing."""
