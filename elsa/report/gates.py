"""Gates on comparisons: how much larger a figure may be than in earlier runs, as in `cpu:+20%`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from elsa.errors import UsageError
from elsa.report.compare import COMPARED, LEAST_RUNS, Side, percentile
from elsa.report.render.columns import COLUMNS
from elsa.report.render.output import known
from elsa.text import printable

_GATE = re.compile(r"(.+):\+?(\d{1,6}(?:\.\d+)?)\s*%")
# The spread of normally distributed figures is 1.4826 times the median distance from the median;
# beyond three spreads is one run in several hundred.
_SPREADS = 3 * 1.4826


class Gate(NamedTuple):
    """A figure, and by how many percent it may grow."""

    key: str
    percent: float


class Verdicts(NamedTuple):
    """What fails, and notes on figures without verdict."""

    failed: list[str]
    words: list[str]


def gates(texts: Sequence[str], option: str = "--fail-on") -> list[Gate]:
    """The gates as they are written, also several with commas. Raises UsageError."""
    found = []
    for text in (part.strip() for whole in texts for part in whole.split(",")):
        match = _GATE.fullmatch(text)
        if match is None:
            raise UsageError(
                f"{option}: cannot read {printable(text)}; write for example cpu:+20%,peak:+10%"
            )
        found.append(Gate(known(match[1], COMPARED, option), float(match[2])))
    return found


def judge(
    asked: Sequence[Gate], base: Side, new: Side, figures: Mapping[int, Mapping[str, Any]]
) -> Verdicts:
    """A figure fails if its median is larger than that of the base by more than the gate allows,
    and by more than the runs of the base differ among each other.
    """
    failed, words = [], []
    for key, percent in asked:
        before, after = (
            [figures[job][key] for job in side.jobs if figures[job][key] is not None]
            for side in (base, new)
        )
        column = COLUMNS[key]
        if len(before) < LEAST_RUNS or not after:
            words.append(
                f"no verdict on {column.heading}: it is known of {len(before)} runs to compare with"
                f" and {len(after)} new; at least {LEAST_RUNS} and 1 are needed"
            )
            continue
        middle, value = percentile(before, 0.5), percentile(after, 0.5)
        spread = _SPREADS * percentile([abs(each - middle) for each in before], 0.5)
        if value > max(middle * (1 + percent / 100), middle + spread):
            more = f"{(value - middle) / middle * 100:.1f} % more" if middle else "more"
            failed.append(
                f"{column.heading} {column.text(value)} is {more} than the median of"
                f" {len(before)} runs, {column.text(middle)} (allowed: +{percent:g} %)"
            )
    return Verdicts(failed, words)
