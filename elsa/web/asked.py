"""What a page is asked for, from its address, and the command that asks for the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from werkzeug.datastructures import MultiDict

from elsa.errors import UsageError
from elsa.report.query.choices import Asked, escape_glob
from elsa.report.query.times import PERIODS
from elsa.report.render.output import Output
from elsa.text import quoted

TIMES = ("since", "until", *PERIODS)
"""The choices of time, as the options of reports have them."""
ROWS = 100
"""How many rows a table has, as on the command line."""
FEW_ROWS = 25
"""The same of jobs: their notes are about every process of each."""
ALWAYS = "1970-01-01"
"""Before this nothing was recorded."""
_MORE = 4
"""How many times as many rows the next page has."""
_MOST_SHOWN = 1600
MOST_ROWS = 10_000
"""How many rows a download has."""
# Values of these options are not split at commas on the command line
# (elsa/cli/report/shared_options.py).
_WHOLE = ("tag", "cmdline", *TIMES)


Arguments: TypeAlias = MultiDict[str, str]
"""The names and values in an address."""


@dataclass(frozen=True)
class Ask:
    """A report that is asked for."""

    report: str
    """The name of the command below `elsa report`."""
    asked: Asked
    output: Output
    arguments: tuple[str, ...] = ()
    """What is not an option."""
    options: tuple[tuple[str, str], ...] = ()
    """Options of this report alone."""
    usual: int | None = ROWS
    """How many rows the command prints without --limit."""

    def command(self, db: str | None = None) -> str:
        """The command line that prints the same."""
        words = ["elsa", "report", self.report, *self.arguments]
        for name, value in self.options:
            words += [f"--{name}", value]
        for name, values in self.asked.items():
            for value in values:
                words += _option(name, value if name in _WHOLE else _escaped(value))
        output = self.output
        for name, text in (("columns", output.columns), ("sort", output.sort)):
            if text is not None:
                words += _option(name, text)
        if output.form != "table":
            words += ["--format", output.form]
        if output.limit not in (None, self.usual if output.form == "table" else None):
            words += ["--limit", str(output.limit)]
        if db is not None:
            words += _option("db", db)
        return " ".join(map(quoted, words))


def _option(name: str, value: str) -> list[str]:
    """A value that starts with a hyphen would be taken for an option."""
    return [f"--{name}={value}"] if value.startswith("-") else [f"--{name}", value]


def _escaped(value: str) -> str:
    r"""A value in which the command line finds no second one: `\,` is a comma, and `\ ` a blank at
    either end.
    """
    text = re.sub(r"\\\\|,", lambda match: {",": r"\,"}.get(match[0], match[0]), value)
    return re.sub(r"^ | $", r"\\ ", text)


def just(name: str) -> str:
    """What chooses this name alone: not what it means as a glob, nor without a blank at its end."""
    return re.sub("^ | $", "[ ]", escape_glob(name))


def name(text: str) -> str:
    """What chooses the jobs with a name, which is a glob only if no job has it as its name."""
    return just(text) if text != text.strip(" ") else text


def choices(arguments: Arguments, kinds: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The choices of these kinds and of time that were made."""
    found = {
        kind: tuple(text.strip(" ") for text in arguments.getlist(kind) if text.strip(" "))
        for kind in kinds
    }
    found |= {name: (text,) for name in TIMES if (text := arguments.get(name, "").strip())}
    return {kind: values for kind, values in found.items() if values}


def output(arguments: Arguments, limit: int | None = ROWS, columns: str | None = None) -> Output:
    """How the rows are written: as the table of a page, or as a download. Raises UsageError."""
    form = arguments.get("format", "")
    given = arguments.get("limit", "")
    if limit is not None and given.isascii() and given.isdigit() and len(given) < 9:
        limit = min(max(int(given), 1), _MOST_SHOWN)
    sort = arguments.get("sort", "").strip() or None
    if form in ("csv", "json"):
        return Output(form, columns, sort, MOST_ROWS)
    if form:
        raise UsageError("format: write csv or json, or leave it out for the page")
    return Output("table", columns, sort, limit)


def more_rows(output: Output, rows: int) -> str | None:
    """The limit at which there are more rows; None if all are shown, or as many as may be."""
    if output.limit is None or rows < output.limit or output.limit >= _MOST_SHOWN:
        return None
    return str(min(output.limit * _MORE, _MOST_SHOWN))


def with_default(
    asked: Mapping[str, tuple[str, ...]], **default: str
) -> dict[str, tuple[str, ...]]:
    """The choices, with a default time where none was chosen."""
    if any(name in asked for name in TIMES):
        return dict(asked)
    return {**asked, **{name: (value,) for name, value in default.items()}}


def now() -> datetime:
    """The time by the clock of this host."""
    return datetime.now().astimezone()
