"""Budgets of a command, as in `cpu=60s,peak=2G`: what it may cost. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from elsa import durations
from elsa.errors import UsageError
from elsa.text import printable

_SIZE = re.compile(r"(\d{1,9}(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?")
CPU, WALL, PEAK = "cpu", "wall", "peak"
_TIMES = {CPU: "cpu_s", WALL: "wall_s"}


class Limit(NamedTuple):
    """What a figure may be at most: seconds, or bytes of a peak."""

    name: str
    most: float


def limits(text: str, option: str = "--budget") -> list[Limit]:
    """The limits of a budget as it is written. Raises UsageError."""
    found = []
    for part in text.lower().split(","):
        name, _, value = (word.strip() for word in part.partition("="))
        most: float | None = None
        if name in _TIMES:
            most = durations.seconds(value)
        elif name == PEAK and (match := _SIZE.fullmatch(value)):
            most = float(match[1]) * 1024 ** " kmgt".index(match[2] or " ")
        if most is None:
            raise UsageError(
                f"{option}: cannot read {printable(part)}; write for example"
                " cpu=60s,wall=10m,peak=2G"
            )
        found.append(Limit(name, most))
    return found


class Verdict(NamedTuple):
    """Lines on the limits that are exceeded, and on those of which that is not known."""

    over: list[str]
    unknown: list[str]


def judge(budget: list[Limit], values: Mapping[str, Any]) -> Verdict:
    """Compare the figures of a cost report with a budget."""
    verdict = Verdict([], [])
    for name, most in budget:
        used, text = _used(name, values), _peak if name == PEAK else _time_of(most)
        if used is None:
            verdict.unknown.append(f"whether {name} is within {text(most)} is not known")
        elif used > most:
            verdict.over.append(
                f"{name} {text(used)} is over the budget of {text(most)}, by {text(used - most)}"
            )
    return verdict


def _used(name: str, values: Mapping[str, Any]) -> float | None:
    if name in _TIMES:
        time_s = values[_TIMES[name]]
        return None if time_s is None else float(time_s)
    # All processes together, where the command's control group counted that.
    group = values["group"]
    if group is not None and group["memory_peak"] is not None:
        return float(group["memory_peak"])
    peak_kib = values.get("job_peak_kib", values["peak_rss_kib"])
    return None if peak_kib is None else peak_kib * 1024.0


def _time_of(most_s: float) -> Callable[[float], str]:
    """How times are written beside a limit: in milliseconds if the limit has them."""
    if round(most_s, 2) == most_s:
        return durations.text
    return lambda time_s: f"{time_s * 1000:.1f} ms"


def _peak(count: float) -> str:
    return f"{count / 1024**2:.1f} MiB"
