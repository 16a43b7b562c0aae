"""How a report is written, in one language for all reports: format, columns, order, units;
`--columns a,b%20 --sort -cpu_s`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from elsa.errors import UsageError
from elsa.report.render.columns import COLUMNS
from elsa.text import printable

# So many characters at most, to the left with a hyphen.
_WIDTH = re.compile(r"-?\d{1,4}", re.ASCII)
FORMATS = ("table", "csv", "tsv", "json", "jsonl", "parsable")
# These carry every column unless some are chosen; a table and sacct's parsable those that matter
# most.
_WIDE = ("csv", "tsv", "json", "jsonl")


class ColumnsHelp(Exception):  # noqa: N818 (not an error)
    """`--columns help`: the columns that a report has, one a line."""


@dataclass(frozen=True)
class Output:
    """What was asked for; a report says what it has."""

    form: str = "table"
    columns: str | None = None
    sort: str | None = None
    limit: int | None = None
    units: str = "auto"
    header: bool = True
    width: int | None = None
    """Of the terminal; None where there is none, and a table is as wide as it is."""
    colour: bool = False
    raw: bool = False
    """Csv with text as it is, also what a spreadsheet takes for a formula."""

    def __post_init__(self) -> None:
        if self.units != "auto" and self.form not in ("table", "parsable"):
            raise UsageError(
                f"--units is for tables and parsable: {self.form} always has raw values, in the"
                " units of the columns' names"
            )

        if self.raw and self.form != "csv":
            raise UsageError(
                f"--raw is for csv: in {self.form} nothing is written for the sake of spreadsheets"
            )

    def choose(self, available: Iterable[str], shown: Iterable[str]) -> tuple[str, ...]:
        """The columns to write, of those that a report has. Raises UsageError, or ColumnsHelp."""
        has, usual = tuple(available), tuple(shown)
        if self.columns is None:
            return has if self.form in _WIDE else usual
        if self.columns.strip().lower() == "help":
            raise ColumnsHelp("\n".join(f"{key:<22}  {COLUMNS[key].doc}" for key in has))
        if self.columns.strip().lower() == "all":
            return has
        chosen = [known(name, has, "--columns") for name, _ in self._named()]
        extended = self.columns.startswith("+")
        return tuple(dict.fromkeys([*(usual if extended else ()), *chosen]))

    def widths(self) -> dict[str, int]:
        """The widths that were asked for, by column; negative: text to the left."""
        return {name.lower(): width for name, width in self._named() if width}

    def ordered(
        self, columns: tuple[str, ...], rows: list[tuple[Any, ...]]
    ) -> list[tuple[Any, ...]]:
        """Rows that were made here and not by SQL, in the order that was asked for; what is unknown
        comes last. Raises UsageError.
        """
        for part in reversed((self.sort or "").split(",") if self.sort else []):
            word = part.strip()
            place = columns.index(known(word.lstrip("+-"), columns, "--sort"))
            there = [row for row in rows if row[place] is not None]
            there.sort(key=lambda row: row[place], reverse=word.startswith("-"))
            rows = there + [row for row in rows if row[place] is None]
        return rows

    def order(self, columns: Mapping[str, str], usual: str) -> str:
        """The order by clause, for columns with these expressions; what is unknown comes last.
        Raises UsageError.
        """
        if self.sort is None:
            return f"order by {usual}"
        terms = []
        for part in self.sort.split(","):
            word = part.strip()
            key = known(word.lstrip("+-"), tuple(columns), "--sort")
            terms.append(f"{columns[key]}{' desc' if word.startswith('-') else ''} nulls last")
        return f"order by {', '.join(terms)}"

    def _named(self) -> list[tuple[str, int]]:
        found = []
        for part in (self.columns or "").removeprefix("+").split(","):
            name, percent, width = part.strip().partition("%")
            if percent and not _WIDTH.fullmatch(width):
                raise UsageError(
                    f"--columns: cannot read the width of {printable(part)}; write for example"
                    f" {printable(name)}%20"
                )
            found.append((name, int(width) if percent else 0))
        return found


def known(name: str, has: tuple[str, ...], option: str) -> str:
    """The column that is meant by a name given with an option. Raises UsageError."""
    key = name.strip().lower()
    if key in has:
        return key
    import difflib  # only where somebody mistyped

    headings = {COLUMNS[each].heading: each for each in has}
    near = [headings[key]] if key in headings else difflib.get_close_matches(key, has, 1, 0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(
        f"{option}: this report has no column {printable(name)!r}; {hint}--columns help lists"
        " them all"
    )
