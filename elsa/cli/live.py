"""Usage of jobs on the terminal: the tables of `elsa job show` and `elsa job top`, and the
refreshing screen.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from elsa.run.live_usage import Figures, JobNow, Running
from elsa.store.measures import LONGEST_TICK_NS, tick

CLEAR, HOME, TO_END, TO_LINE_END = "\x1b[2J", "\x1b[H", "\x1b[J", "\x1b[K"
UNKNOWN = "-"
# What a terminal that does not know its size is taken for.
UNSIZED = (80, 24)
# How long the first rate takes.
RATE_S = 0.5


def size(count: int | None) -> str:
    """Bytes, short."""
    if count is None:
        return UNKNOWN
    value = float(count)
    for unit in ("B", "K", "M", "G"):
        if value < 1024:
            return f"{value:.0f}{unit}" if unit == "B" else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}T"


def _kib(count: int | None) -> str:
    return UNKNOWN if count is None else size(count * 1024)


USAGE = ("cpu s", "rss", "chars read", "chars written", "read", "written")


def usage_cells(one: Running | None) -> tuple[str, ...]:
    """Cells under USAGE."""
    if one is None:
        return (UNKNOWN,) * len(USAGE)
    return (
        f"{one.cpu_s:.2f}",
        _kib(one.rss_kib),
        *map(size, (one.read_chars, one.write_chars, one.read_bytes, one.write_bytes)),
    )


SUMMARY = ("", "processes", "cpu s", "peak rss", "chars read", "chars written", "read", "written")


def summary(now: JobNow) -> list[tuple[str, ...]]:
    """Rows under SUMMARY: running, finished, together."""
    rows = [("running", now.running), ("finished", now.finished), ("together", now.together)]
    return [(name, *_figures(figures)) for name, figures in rows]


def _figures(one: Figures | None) -> tuple[str, ...]:
    if one is None:
        return (UNKNOWN,) * (len(SUMMARY) - 1)
    sizes = map(size, (one.read_chars, one.write_chars, one.read_bytes, one.write_bytes))
    return (
        str(one.processes),
        UNKNOWN if one.cpu_s is None else f"{one.cpu_s:.2f}",
        _kib(one.peak_rss_kib),
        *sizes,
    )


def words(now: JobNow) -> list[str]:
    """What must be said beside the figures."""
    said = [f"finished: unknown: {now.why}"] if now.why else []
    if now.without_figures:
        have = "has" if now.without_figures == 1 else "have"
        said.append(
            f"{now.without_figures} of the finished processes {have} no statistics: the figures are"
            " at least so much"
        )
    said += fineness([now])
    if now.whole:
        life, are, they = (
            ("its life", "is", "it") if now.whole == 1 else ("their life", "are", "they")
        )
        said.append(
            f"{now.whole} of the running processes joined in the middle of {life}, and {are} shown"
            f" whole: what {they} had used is not known"
        )
    if len(now.members) < now.living:
        said.append(f"only {len(now.members)} of {now.living} living processes were looked at")
    return said


def fineness(jobs: Sequence[JobNow]) -> list[str]:
    """What of the CPU time of finished processes is measured and what sampled, with the bound. The
    jobs live, so they are of one boot.
    """
    known = [now.fineness for now in jobs if now.fineness is not None]
    sampled, threads = (sum(getattr(one, name) for one in known) for name in ("sampled", "threads"))
    if not sampled + threads:
        return []
    tick_ns = known[0].tick_ns
    tick_s = (tick_ns or LONGEST_TICK_NS) / 1e9
    words = []
    if threads:
        words.append(
            f"{threads} thread{'' if threads == 1 else 's'} measured, up to {threads * tick_s:.2f}"
            " s more was used"
        )
    if sampled:
        bound = f"up to {sampled * tick_s:.2f} s more or less"
        words.append(
            f"{sampled} process{'' if sampled == 1 else 'es'} shorter than a tick ({tick(tick_ns)})"
            f" sampled, {bound}"
        )
    return [f"finished: CPU time of {'; of '.join(words)}"]


def as_object(now: JobNow) -> dict[str, Any]:
    """What programs get."""
    members = [
        {**member, "usage": one._asdict() if one is not None else None}
        for member, one in now.members
    ]
    sums = {"running": now.running, "finished": now.finished, "together": now.together}
    usage = {
        name: figures._asdict() if figures is not None else None for name, figures in sums.items()
    }
    return {
        "job": dict(now.job),
        "living": now.living,
        "members": members,
        "usage": usage,
        "notes": words(now),
    }


class Rates:
    """CPUs used since the last look."""

    def __init__(self) -> None:
        self._before: dict[object, tuple[float, float]] = {}

    def next(self, figures: Mapping[Any, float], now_s: float) -> dict[object, float | None]:
        """By key; None for what was not there before."""
        rates: dict[object, float | None] = {}
        for key, cpu_s in figures.items():
            then = self._before.get(key)
            rates[key] = (
                max(cpu_s - then[0], 0.0) / (now_s - then[1]) if then and now_s > then[1] else None
            )
        self._before = {key: (cpu_s, now_s) for key, cpu_s in figures.items()}
        return rates


# Columns that a narrow terminal can do without, the first to go first.
_LEAST = (
    "member since",
    "ppid",
    "read",
    "written",
    "user",
    "peak rss",
    "rss",
    "chars read",
    "chars written",
    "id",
)
GAP, PADDING = 2, 2  # tabulate's: between two columns, and beside a heading


def _width(header: str, cells: Sequence[object]) -> int:
    return max(len(header) + PADDING, *(len(str(cell)) for cell in cells), 0)


def fitting(
    headers: Sequence[str], rows: Sequence[Sequence[object]], width: int | None
) -> tuple[list[str], list[list[object]], list[str]]:
    """The columns for which there is room, and words about those that are left out."""
    columns = [(header, [row[place] for row in rows]) for place, header in enumerate(headers)]
    gone: list[str] = []
    for least in _LEAST:
        if width is None or sum(GAP + _width(*column) for column in columns) - GAP <= width:
            break
        kept = [column for column in columns if column[0] != least]
        gone += [least] if len(kept) < len(columns) else []
        columns = kept
    left = [list(cells) for cells in zip(*(cells for _, cells in columns), strict=True)]
    words = [f"no room for: {', '.join(gone)}; widen the terminal"] if gone else []
    return [header for header, _ in columns], left, words


def refresh(draw: Callable[[int | None], Sequence[str]], every_s: float) -> None:
    """Draw again and again, for so many columns, until q or Ctrl-C; where nobody watches look
    twice, for the rates, and print once.
    """
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        draw(None)
        time.sleep(min(every_s, RATE_S))
        print("\n".join(draw(None)))
        return
    with _keys(), contextlib.suppress(KeyboardInterrupt):
        sys.stdout.write(CLEAR)
        first = True
        while True:
            columns, height = (
                size or usual for size, usual in zip(os.get_terminal_size(), UNSIZED, strict=True)
            )
            lines = [
                line if len(line) < columns else line[: columns - 2] + ">"
                for line in draw(columns - 1)
            ]
            if len(lines) >= height:
                lines = [
                    *lines[: height - 2],
                    (
                        f"... {len(lines) - height + 2} more lines: make the terminal higher, or"
                        " use elsa job show"
                    ),
                ]
            sys.stdout.write(HOME + "".join(f"{line}{TO_LINE_END}\r\n" for line in lines) + TO_END)
            sys.stdout.flush()
            if _quit_within(min(every_s, RATE_S) if first else every_s):
                return
            first = False


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Keys come at once and are not shown."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quit_within(seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0]:
            key = os.read(sys.stdin.fileno(), 1)
            if key in (b"", b"q", b"Q"):
                return True
    return False
