"""Bar charts as text."""

from __future__ import annotations

from collections.abc import Sequence

from elsa.report.render.columns import Column

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_PLAIN_WIDTH = 60


def bars(
    points: Sequence[tuple[str, float | None]],
    column: Column,
    width: int | None,
    *,
    blocks: bool,
    units: str = "auto",
) -> str:
    """One line per point: label, bar, value. `width` is the width of the terminal. With `blocks`,
    bars are drawn in eighths of a character, otherwise with #.
    """
    texts = [column.text(value, units) for _, value in points]
    labels = max((len(label) for label, _ in points), default=0)
    room = max(10, (width or _PLAIN_WIDTH + labels) - labels - max(map(len, texts), default=0) - 4)
    most = max((value for _, value in points if value), default=0) or 1
    lines = [
        f"{label:<{labels}}  {_bar((value or 0) / most * room, blocks=blocks):<{room}} "
        f" {text:>{max(map(len, texts))}}"
        for (label, value), text in zip(points, texts, strict=True)
    ]
    unit = f" in {column.heading_unit}" if column.heading_unit else ""
    return "\n".join([f"{column.heading}{unit}", *lines])


def _bar(length: float, *, blocks: bool) -> str:
    if not blocks:
        return "#" * round(length)
    eighths = round(length * 8)
    return _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
