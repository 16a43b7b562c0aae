"""The measures (elsa/measures.py) as SQL: aggregates over rows `u` of process_usage, and over rows
that hold partial sums.

64 bits hold 292 years of nanoseconds, which 256 busy CPUs use in 14 months, and SQLite's sum()
fails beyond. So the upper and lower halves of the integers are summed separately and combined: to
an integer if the sum fits 64 bits, else to the nearest double. Stored sums are exact whatever their
size (elsa/store/sums.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from elsa.measures import MEASURES, Measure


class Aggregate(NamedTuple):
    """An aggregate in SQL."""

    fold: str
    """The fold of a measure, or number: a sum of counts."""
    text: str
    """The expression that is aggregated."""

    @property
    def halves(self) -> tuple[str, str]:
        """Two sums that cannot overflow: of the bits above the lower 32, in units of 2**32, and of
        the lower 32 bits.
        """
        operand = f"({self.text})" if " " in self.text else self.text
        return f"sum({operand} >> 32)", f"sum({operand} & 4294967295)"

    @property
    def sql(self) -> str:
        """The aggregate as one expression that does not overflow."""
        high, low = self.halves
        return f"{high} * 4294967296 + {low}" if self.fold == "sum" else self.plain

    @property
    def plain(self) -> str:
        """The same in half the time, but SQLite raises "integer overflow" if a sum is too large."""
        known = {"float": "sum({})", "number": "coalesce(sum({}), 0)", "union": "sum(distinct {})"}
        return known.get(self.fold, f"{self.fold}({{}})").format(self.text)


def over_rows(measure: Measure) -> Aggregate:
    """The aggregate over rows of a view, in the unit of `each`."""
    return Aggregate(measure.fold, measure.operand)


def over_parts(measure: Measure, column: str) -> Aggregate:
    """The aggregate over rows that hold partial aggregates."""
    return Aggregate("number" if measure.fold == "count" else measure.fold, column)


def of_rows(measure: Measure, share: str | None = None) -> str:
    """The measure over rows; with `share`, only the share of each row that falls into a window."""
    if share is None or measure.fold not in ("sum", "float"):
        return scaled(measure, over_rows(measure).sql)
    total = f"round(sum(({measure.operand}) * {share}))"
    if measure.scale == 1:
        return (
            f"case when {total} < 9223372036854775807 then cast({total} as integer) else"
            f" {total} end"
        )
    return scaled(measure, total)


def of_sums(measure: Measure) -> str:
    """The measure over rows `u` that hold partial sums."""
    return scaled(measure, over_parts(measure, f"u.{measure.rolled}").sql)


def scaled(measure: Measure, total: str) -> str:
    """A total in the unit of `each`, in the measure's own unit."""
    if measure.scale == 1:
        return total
    return f"({total}) / {measure.scale:.0e}".replace("e+0", "e")


Measures = Mapping[str, Measure]


def reported(measures: Measures, *, usage: bool) -> dict[str, Measure]:
    """The measures that are known of processes: where taskstats reported none of them, all but
    those that only taskstats reports, which are half of the measures. These are NULL.
    """
    return {key: one for key, one in measures.items() if usage or one.source != "taskstats"}


def columns(measures: Measures) -> dict[str, Aggregate]:
    """The rollup columns of these measures, with the aggregate of each over rows `u` of a view."""
    return {measure.rolled: over_rows(measure) for measure in measures.values()}


def parts(measures: Measures) -> dict[str, str]:
    """The same columns, with what one row `u` of a view adds to each."""
    return {measure.rolled: _part(measure) for measure in measures.values()}


def _part(measure: Measure) -> str:
    return f"({measure.operand}) is not null" if measure.fold == "count" else measure.operand


def of_parts(measures: Measures) -> dict[str, Aggregate]:
    """The same columns, with the aggregate of each over rows that hold partial sums."""
    return {measure.rolled: over_parts(measure, measure.rolled) for measure in measures.values()}


REAL = tuple(name for name, aggregate in columns(MEASURES).items() if aggregate.fold == "float")
"""The columns that are floats."""
