"""Tables of the commands that are no reports, in the style of the reports."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence

from elsa.report.render import table
from elsa.text import cleaned


def terminal_width() -> int | None:
    """The width of the terminal that stdout is; None if it is none."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return shutil.get_terminal_size().columns


def lines(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Collection[str] = (),
    room: int | None = None,
    least_important: Sequence[str] = (),
) -> list[str]:
    """A table that fits into this room, with a note on columns that were left out. None is an empty
    cell; texts have no character that moves the cursor.
    """
    texts = [["" if cell is None else cleaned(str(cell)) for cell in row] for row in rows]
    shown, left_out = table.plain(
        headings, texts, right=right, room=room, least_important=least_important
    )
    note = f"no room for: {', '.join(left_out)}; widen the terminal"
    return [*shown, note] if left_out else shown
