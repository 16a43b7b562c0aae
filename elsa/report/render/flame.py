"""A flame graph as an SVG picture. Each command is a bar above the command that started it, and its
width is its cost.

In a browser a click on a bar zooms to it, and commands can be searched; where scripts do not run
the picture is the same without that. It is drawn here, since there is no maintained Python library
for it. Other tools can read the folded stacks.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from elsa import durations
from elsa.formats import size
from elsa.report.folded import Frame, walk
from elsa.text import printable

WIDTH, ROW, MARGIN, TOP = 1200, 17, 10, 44
# Narrower bars are invisible. Deeper stacks are unreadable, and some viewers refuse them.
LEAST, DEEPEST = 0.3, 500
_LETTER = 7.4
_STYLE = (
    "text{font:12px monospace;fill:#222}.h{font:16px"
    " sans-serif}rect{stroke:#fff;stroke-width:.5}g:hover rect{stroke:#000}.f{cursor:pointer}"
    ".m rect{fill:#a7c}.above{opacity:.5}#bar{display:none}#bar text{cursor:pointer;fill:#06c}"
)
_SCRIPT = Path(__file__).with_name("flame.js")


def draw(top: Frame, title: str, weight: str) -> Iterator[str]:
    """The picture, line by line."""
    scale = (WIDTH - 2 * MARGIN) / top.total if top.total else 0.0
    placed = [
        (frame, x)
        for frame, x in _placed(top)
        if frame.total * scale >= LEAST and frame.depth < DEEPEST
    ]
    height = TOP + ROW * (max((frame.depth for frame, _ in placed), default=0) + 1) + MARGIN
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0'
        f' {WIDTH} {height}" data-sizes="{WIDTH - 2 * MARGIN} {MARGIN} {_LETTER}">'
    )
    yield f"<style>{_STYLE}</style>"
    yield f'<rect width="{WIDTH}" height="{height}" fill="#fffdf7"/>'
    yield (
        f'<text class="h" x="{MARGIN}" y="24">{escape(printable(title))}:'
        f" {amount(top.total, weight)}</text>"
    )
    yield (
        f'<g id="bar"><text id="share" x="{WIDTH - 250}" y="24"></text>'
        f'<text id="search" x="{WIDTH - 120}" y="24">Search</text>'
        f'<text id="reset" x="{WIDTH - 55}" y="24">Reset</text></g>'
    )
    for frame, x in placed:
        yield _bar(
            frame,
            x * scale,
            frame.total * scale,
            height,
            f"{amount(frame.total, weight)}, {frame.total / top.total:.1%}",
        )
    yield f"<script><![CDATA[{_script()}]]></script>"
    yield "</svg>"


def _script() -> str:
    return "\n" + _SCRIPT.read_text(encoding="utf-8")


def policy() -> str:
    """The content security policy (CSP) under which the picture works: its own style and script
    alone.
    """
    style, script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (_STYLE, _script())
    )
    return f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'"


def amount(value: int, weight: str) -> str:
    """A weight with its unit, as text."""
    if weight == "io":
        return f"{size(value)} of I/O"
    return f"{durations.text(value / 1e6)} {'CPU' if weight == 'cpu' else 'wall'}"


def _placed(top: Frame) -> Iterator[tuple[Frame, int]]:
    """Every frame except the root, with the sum of the weights to its left."""
    left = {id(top): 0}
    for frame in walk(top):
        at = left.pop(id(frame))
        if frame is not top:
            yield frame, at
        for name in sorted(frame.below):
            left[id(frame.below[name])] = at
            at += frame.below[name].total


def _bar(frame: Frame, left: float, width: float, height: int, what: str) -> str:
    x = MARGIN + left
    y = height - MARGIN - ROW * (frame.depth + 1)
    # A command has the same warm colour everywhere.
    shade = zlib.crc32(frame.name.encode())
    colour = f"#{205 + shade % 50:02x}{90 + (shade >> 8) % 130:02x}{(shade >> 16) % 60:02x}"
    letters = int((width - 4) / _LETTER)
    name = frame.name if len(frame.name) <= letters else frame.name[: letters - 1] + "+"
    shown = escape(name) if letters >= 3 else ""
    text = f'<text x="{x + 3:.1f}" y="{y + 12}">{shown}</text>'
    bar = (
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 1}" rx="2" fill="{colour}"/>'
    )
    place = f'data-x="{left:.3f}" data-w="{width:.3f}" data-d="{frame.depth}"'
    return (
        f'<g class="f" {place} data-n={quoteattr(frame.name)}>'
        f"<title>{escape(frame.name)}: {what}</title>{bar}{text}</g>"
    )
