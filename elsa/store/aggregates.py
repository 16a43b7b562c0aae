"""The registry of measures (elsa/measures.py) as SQL: aggregates over rows `u` of process_usage, and
over rows that hold sums of parts.

64 bits hold 292 years of nanoseconds, which 256 busy CPUs use in 14 months, and SQLite's sum()
fails beyond. So the halves of the integers are summed separately and put together: an integer as
long as it fits 64 bits, else the nearest double. Where sums are stored they are exact whatever their
size (elsa/store/sums.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from elsa.measures import MEASURES, Measure


class Aggregate(NamedTuple):
    """One aggregate in SQL."""

    fold: str
    """As of a measure, or number: a sum of counts."""
    text: str
    """Over what: an expression."""

    @property
    def halves(self) -> tuple[str, str]:
        """A sum in two that cannot overflow: of what is above 32 bits, in units of 2**32, and of
        the rest.
        """
        operand = f"({self.text})" if " " in self.text else self.text
        return f"sum({operand} >> 32)", f"sum({operand} & 4294967295)"

    @property
    def sql(self) -> str:
        """The whole of it."""
        high, low = self.halves
        return f"{high} * 4294967296 + {low}" if self.fold == "sum" else self.plain

    @property
    def plain(self) -> str:
        """The same in half the time, but SQLite gives up with an "integer overflow" where a sum is
        too large.
        """
        known = {"float": "sum({})", "number": "coalesce(sum({}), 0)", "union": "sum(distinct {})"}
        return known.get(self.fold, f"{self.fold}({{}})").format(self.text)


def over_rows(measure: Measure) -> Aggregate:
    """The aggregate over rows of a view, in the unit of what each adds."""
    return Aggregate(measure.fold, measure.operand)


def over_parts(measure: Measure, column: str) -> Aggregate:
    """The aggregate over rows that hold aggregates of parts."""
    return Aggregate("number" if measure.fold == "count" else measure.fold, column)


def of_rows(measure: Measure, share: str | None = None) -> str:
    """The measure of many rows; with a share, the part of each sum that falls into a window."""
    if share is None or measure.fold not in ("sum", "float"):
        return _scaled(measure, over_rows(measure).sql)
    total = f"round(sum(({measure.operand}) * {share}))"
    if measure.scale == 1:
        return (
            f"case when {total} < 9223372036854775807 then cast({total} as integer) else"
            f" {total} end"
        )
    return _scaled(measure, total)


def of_sums(measure: Measure) -> str:
    """The same over rows `u` that hold sums of parts."""
    return _scaled(measure, over_parts(measure, f"u.{measure.rolled}").sql)


def _scaled(measure: Measure, total: str) -> str:
    if measure.scale == 1:
        return total
    return f"({total}) / {measure.scale:.0e}".replace("e+0", "e")


Measures = Mapping[str, Measure]


def columns(measures: Measures) -> dict[str, Aggregate]:
    """The columns that rollups have for these measures, each with its aggregate over rows `u` of a
    view.
    """
    return {measure.rolled: over_rows(measure) for measure in measures.values()}


def parts(measures: Measures) -> dict[str, str]:
    """The same columns, each with what one row `u` of a view adds to it."""
    return {
        measure.rolled: f"({measure.operand}) is not null"
        if measure.fold == "count"
        else measure.operand
        for measure in measures.values()
    }


def of_parts(measures: Measures) -> dict[str, Aggregate]:
    """The same columns, each with its aggregate over rows that hold parts."""
    return {measure.rolled: over_parts(measure, measure.rolled) for measure in measures.values()}


REAL = tuple(name for name, aggregate in columns(MEASURES).items() if aggregate.fold == "float")
"""The columns that are floats."""
