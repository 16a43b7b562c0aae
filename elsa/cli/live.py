"""Show the usage of jobs on the terminal: the tables of `elsa job show` and `elsa job top`, and the
screen that refreshes itself.
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

from elsa import durations
from elsa.formats import size
from elsa.measures import LONGEST_TICK_NS, tick
from elsa.run.live_usage import JobNow, Running
from elsa.run.usage_sums import Usage
from elsa.text import counted

CLEAR, HOME, TO_END, TO_LINE_END = "\x1b[2J", "\x1b[H", "\x1b[J", "\x1b[K"
UNKNOWN = "-"
# The size that is assumed for a terminal that does not report its own.
DEFAULT_SIZE = (80, 24)
# The first rates are shown after this time.
RATE_S = 0.5


def _size(count: int | None) -> str:
    return UNKNOWN if count is None else size(count)


def _kib(count: int | None) -> str:
    return UNKNOWN if count is None else size(count * 1024)


USAGE = ("cpu", "rss", "chars read", "chars written", "read", "written")


def usage_cells(process: Running | None) -> tuple[str, ...]:
    """The cells of the columns USAGE."""
    if process is None:
        return (UNKNOWN,) * len(USAGE)
    used = process.usage
    return _seconds(used.cpu_s), _kib(process.rss_kib), *map(_size, used.io)


def _seconds(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else durations.text(seconds)


SUMMARY = ("", "processes", "cpu", "peak rss", "chars read", "chars written", "read", "written")


def summary(now: JobNow) -> list[tuple[str, ...]]:
    """The rows of the table SUMMARY: running, finished, together."""
    rows = [("running", now.running), ("finished", now.finished), ("together", now.together)]
    return [(name, *_cells(usage)) for name, usage in rows]


def _cells(used: Usage | None) -> tuple[str, ...]:
    if used is None:
        return (UNKNOWN,) * (len(SUMMARY) - 1)
    return str(used.processes), _seconds(used.cpu_s), _kib(used.peak_rss_kib), *map(_size, used.io)


def notes(now: JobNow) -> list[str]:
    """Notes on what the figures do not include, and on how exact they are."""
    lines = [f"finished: unknown: {now.why}"] if now.why else []
    if now.peak is not None:
        lines.append(f"peak of all processes together: {_kib(now.peak.kib)}, {now.peak.by}")
    without = 0 if now.ended is None else now.ended.without_usage
    if without:
        lines.append(
            f"{without} of the finished processes {'has' if without == 1 else 'have'} no"
            " statistics: the figures are lower bounds"
        )
    lines += precision([now])
    if now.whole:
        they = "it" if now.whole == 1 else "they"
        lines.append(
            f"{now.whole} of the running processes joined the job after {they} had started; all"
            f" that {they} used is shown, since what {they} had used before is not known"
        )
    if len(now.members) < now.living:
        lines.append(f"only {len(now.members)} of {now.living} living processes were read")
    return lines


def precision(jobs: Sequence[JobNow]) -> list[str]:
    """A note on how much CPU time of finished processes was measured and how much was sampled, with
    the bounds. All jobs are of one boot, since they are open.
    """
    known = [now.ended.precision for now in jobs if now.ended is not None]
    sampled = sum(each.sampled for each in known)
    threads = sum(each.threads for each in known)
    if not sampled + threads:
        return []
    tick_ns = known[0].tick_ns
    tick_s = (tick_ns or LONGEST_TICK_NS) / 1e9
    parts = []
    if threads:
        parts.append(
            f"{counted(threads, 'thread')} measured, up to "
            f"{durations.at_most(threads * tick_s)} more was used"
        )
    if sampled:
        bound = f"up to {durations.text(sampled * tick_s)} more or less"
        parts.append(
            f"{counted(sampled, 'process')} shorter than a tick ({tick(tick_ns)}) sampled, {bound}"
        )
    return [f"finished: CPU time of {'; of '.join(parts)}"]


def as_object(now: JobNow) -> dict[str, Any]:
    """The job for --format json."""
    members = [
        {**member, "usage": process.as_object() if process is not None else None}
        for member, process in now.members
    ]
    sums = {"running": now.running, "finished": now.finished, "together": now.together}
    usage = {name: used._asdict() if used is not None else None for name, used in sums.items()}
    return {
        "job": dict(now.job),
        "living": now.living,
        "members": members,
        "usage": usage,
        "peak": now.peak._asdict() if now.peak is not None else None,
        "notes": notes(now),
    }


class Rates:
    """How many CPUs were used since the last call."""

    def __init__(self) -> None:
        self._before: Mapping[int, float] = {}
        self._before_s = 0.0

    def next(self, cpu_s: Mapping[int, float], now_s: float) -> dict[int, float | None]:
        """The rate of each key, from its CPU time; None for a key that is new."""
        elapsed_s = now_s - self._before_s
        rates = {
            key: max(used - self._before[key], 0.0) / elapsed_s
            if key in self._before and elapsed_s > 0
            else None
            for key, used in cpu_s.items()
        }
        self._before, self._before_s = dict(cpu_s), now_s
        return rates


LEAST_IMPORTANT = (
    *("member since", "ppid", "read", "written", "user", "owner", "kind", "peak rss", "rss"),
    *("chars read", "chars written", "id"),
)
"""The columns that are left out first on a narrow terminal, in this order."""
NUMBERS = {
    *("id", "alive", "pid", "ppid", "cpus", "processes", "members", "cpu", "rss", "peak rss"),
    *("chars read", "chars written", "read", "written"),
}
"""The columns that are aligned to the right."""


def refresh(draw: Callable[[int | None], Sequence[str]], every_s: float) -> None:
    """Draw repeatedly, for the width of the terminal, until q or Ctrl-C. If stdout is not a
    terminal, draw twice, since rates need two, and print once.
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
                size or usual
                for size, usual in zip(os.get_terminal_size(), DEFAULT_SIZE, strict=True)
            )
            lines = [
                line if len(line) < columns else line[: columns - 2] + ">"
                for line in draw(columns - 1)
            ]
            if len(lines) >= height:
                more = len(lines) - height + 2
                note = f"... {more} more lines: make the terminal higher, or use elsa job show"
                lines = [*lines[: height - 2], note]
            sys.stdout.write(HOME + "".join(f"{line}{TO_LINE_END}\r\n" for line in lines) + TO_END)
            sys.stdout.flush()
            if _quit_within(min(every_s, RATE_S) if first else every_s):
                return
            first = False


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Read keys without waiting for Enter, and without an echo."""
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
