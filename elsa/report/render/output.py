"""The output options that all reports share: format, columns, order and units, as in
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

# A width in characters; with a hyphen, text is left-aligned.
_WIDTH = re.compile(r"-?\d{1,4}", re.ASCII)
FORMATS = ("table", "csv", "tsv", "json", "jsonl", "parsable")
# Without --columns, these formats have every column; tables and sacct's parsable have the most
# important columns.
_WIDE = ("csv", "tsv", "json", "jsonl")


class ColumnsHelp(Exception):  # noqa: N818 (not an error)
    """`--columns help`: the columns that a report has, one per line."""


@dataclass(frozen=True)
class Output:
    """The output options that were given."""

    form: str = "table"
    columns: str | None = None
    sort: str | None = None
    limit: int | None = None
    units: str = "auto"
    header: bool = True
    width: int | None = None
    """The width of the terminal; None if there is none, and tables may have any width."""
    colour: bool = False
    raw: bool = False
    """Write text in csv unchanged, even if a spreadsheet would run it as a formula."""

    def __post_init__(self) -> None:
        if self.units != "auto" and self.form not in ("table", "parsable"):
            raise UsageError(
                f"--units is for tables and parsable: {self.form} always has raw values, in the"
                " units of the columns' names"
            )

        if self.raw and self.form != "csv":
            raise UsageError(
                f"--raw is for csv: {self.form} never changes text for the sake of spreadsheets"
            )

    def choose(
        self, available: Iterable[str], shown: Iterable[str], *, by_name: Iterable[str] = ()
    ) -> tuple[str, ...]:
        """The columns to write, of those that a report has, or has only if they are asked for by
        name. Raises UsageError or ColumnsHelp.
        """
        has, usual = tuple(available), tuple(shown)
        every = (*has, *by_name)
        if self.columns is None:
            if self.form in _WIDE:
                return has
            # What the rows are sorted by is shown too.
            return tuple(dict.fromkeys((*usual, *(key for key, _ in self.sorting(every)))))
        if self.columns.strip().lower() == "help":
            raise ColumnsHelp("\n".join(f"{key:<22}  {COLUMNS[key].doc}" for key in every))
        if self.columns.strip().lower() == "all":
            return has
        chosen = [known(name, every, "--columns") for name, _ in self._named()]
        extended = self.columns.lstrip().startswith("+")
        return tuple(dict.fromkeys([*(usual if extended else ()), *chosen]))

    def asks_for(self, key: str) -> bool:
        """Whether a column is asked for by name, to be shown or to sort by."""
        words = [name for name, _ in self._named()]
        words += [word.lstrip("+-") for word in self._sort_words()]
        return any(" ".join(word.lower().split()) in (key, COLUMNS[key].heading) for word in words)

    def widths(self, shown: tuple[str, ...]) -> dict[str, int]:
        """The widths that were asked for, by column; negative for left-aligned text."""
        return {known(name, shown, "--columns"): width for name, width in self._named() if width}

    def ordered(
        self, columns: tuple[str, ...], rows: list[tuple[Any, ...]]
    ) -> list[tuple[Any, ...]]:
        """Sort rows that do not come from SQL as --sort says; unknown values come last. Raises
        UsageError.
        """
        for key, largest_first in reversed(self.sorting(columns)):
            place = columns.index(key)
            known_rows = [row for row in rows if row[place] is not None]
            known_rows.sort(key=lambda row: row[place], reverse=largest_first)
            rows = known_rows + [row for row in rows if row[place] is None]
        return rows

    def order(self, columns: Mapping[str, str], usual: str) -> str:
        """The order by clause for columns with these expressions; unknown values come last. Raises
        UsageError.
        """
        terms = [
            f"{columns[key]}{' desc' if largest_first else ''} nulls last"
            for key, largest_first in self.sorting(tuple(columns))
        ]
        return f"order by {', '.join(terms) or usual}"

    def sorting(self, has: tuple[str, ...]) -> list[tuple[str, bool]]:
        """The columns of --sort, and whether the largest comes first: of figures, unless a + stands
        before the name. Raises UsageError.
        """
        chosen = []
        for word in self._sort_words():
            key = known(word.lstrip("+-"), has, "--sort")
            chosen.append((key, word[:1] == "-" or (COLUMNS[key].metric and word[:1] != "+")))
        return chosen

    def sorted_by(self, shown: tuple[str, ...]) -> set[str]:
        """Which of the shown columns the rows are sorted by."""
        names = {word.lstrip("+-").lower() for word in self._sort_words()}
        return {key for key in shown if names & {key, COLUMNS[key].heading}}

    def _sort_words(self) -> list[str]:
        return [] if self.sort is None else [part.strip() for part in self.sort.split(",")]

    def _named(self) -> list[tuple[str, int]]:
        """The columns that were asked for, each with its width; 0 for no width."""
        columns = []
        parts = [part.strip() for part in (self.columns or "").split(",")]
        added = [part for part in parts if part.startswith("+")]
        if added and not parts[0].startswith("+"):
            raise UsageError(
                f"--columns: {printable(added[0])} adds to the default columns, but"
                f" {printable(parts[0])} replaces them; write a + before the first, or before none"
            )
        for part in parts:
            name, percent, width = part.removeprefix("+").partition("%")
            if percent and not _WIDTH.fullmatch(width):
                raise UsageError(
                    f"--columns: cannot read the width of {printable(part)}; write for example"
                    f" {printable(name)}%20"
                )
            columns.append((name, int(width) if percent else 0))
        return columns


def known(name: str, has: tuple[str, ...], option: str) -> str:
    """The column that a name or heading given with an option stands for. Raises UsageError."""
    key = " ".join(name.lower().split())
    if key in has:
        return key
    with_heading = [each for each in has if COLUMNS[each].heading == key]
    if with_heading:
        return with_heading[0]
    import difflib  # needed only for a mistyped name

    headings = {COLUMNS[each].heading: each for each in has}
    near = difflib.get_close_matches(key, (*has, *headings), 1, 0.6)
    hint = f"did you mean {headings.get(near[0], near[0])}? " if near else ""
    raise UsageError(
        f"{option}: this report has no column {printable(name)!r}; {hint}--columns help lists"
        " them all"
    )
