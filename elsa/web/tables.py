"""Reports as tables of pages: the same columns and texts as on a terminal, with links."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from elsa.report.render import writer
from elsa.report.render.columns import COLUMNS
from elsa.report.render.output import Output
from elsa.report.render.writer import Report, Row
from elsa.text import printable, quoted
from elsa.web import asked

if TYPE_CHECKING:
    from elsa.fleet.hosts import FleetHost

# Columns whose values lead to what is known of them. The choice has the name of the column.
_LINKS = ("user", "command")
_OF_USERS = ("owner",)
_USUAL = Output()
_ADVICE = (
    r"; --limit or --all shows more|; --kind manual lists manual jobs"
    r"| \(see: elsa report \w+\)|; see them with: elsa report jobs"
)


class Heading(NamedTuple):
    """The heading of a column."""

    text: str
    unit: str
    doc: str
    right: bool
    href: str | None
    """Sorts the table by this column."""
    sorted: str | None
    """How the table is sorted by it: ascending or descending."""


class Cell(NamedTuple):
    """A value as text."""

    text: str
    right: bool = False
    href: str | None = None
    look: str = ""
    """What kind of value it is: unknown, failed, ..."""


class Table(NamedTuple):
    """A table with all that belongs to it."""

    id: str
    title: str
    headings: list[Heading]
    rows: list[list[Cell]]
    notes: list[str]
    command: str
    downloads: list[tuple[str, str]]
    """Formats and addresses."""
    more: str | None
    """The address of a page with more rows."""


Address = Callable[..., str]
"""The address of a page by its name, with choices."""


class Links:
    """The addresses of a page and of others."""

    def __init__(
        self,
        address: Address,
        page: str,
        arguments: Iterable[tuple[str, str]],
        kept: Mapping[str, str] = MappingProxyType({}),
        *,
        of_fleet: bool = False,
    ) -> None:
        self.address = address
        self.page = page
        self._arguments = [(key, value) for key, value in arguments if value]
        self.kept = kept
        """The choices that links to processes, or of a fleet to their sums, keep."""
        self.of_fleet = of_fleet

    def keeping(self, **kept: str) -> Links:
        """The same with other choices that links to processes keep."""
        return Links(self.address, self.page, self._arguments, kept, of_fleet=self.of_fleet)

    def changed(self, **changes: str | None) -> str:
        """The address of this page with other arguments; None leaves one out."""
        kept = [pair for pair in self._arguments if pair[0] not in changes]
        kept += [(key, value) for key, value in changes.items() if value is not None]
        return f"?{urlencode(kept)}" if kept else "?"


def table(
    report: Report,
    output: Output,
    links: Links,
    command: str,
    title: str,
    **more: Any,  # noqa: ANN401
) -> Table:
    """The table of a report; `told` is the same with other texts in its cells."""
    rows = list(report.rows)
    told = more.get("told", report).rows
    shown = report.shown
    sortable = more.get("sortable", True)
    headings = [heading(key, links if sortable else None, output) for key in shown]
    cells = [
        _cells(report.columns, row, text, shown, links, output)
        for row, text in zip(rows, rows if told is report.rows else told, strict=True)
    ]
    notes = [] if rows else [report.nothing()]
    downloads = more.get("downloads", True)
    limit = asked.more_rows(output, len(rows)) if downloads else None
    return Table(
        more.get("id", links.page),
        title,
        headings,
        cells,
        on_page([*notes, *report.words]),
        command,
        [(form, links.changed(format=form)) for form in ("csv", "json")] if downloads else [],
        None if limit is None else links.changed(limit=limit),
    )


def of_hosts(found: Sequence[FleetHost], links: Links, output: Output, db: str | None) -> Table:
    """The hosts of a fleet, those that are not current first."""
    from elsa.fleet.hosts import HEADINGS, cells  # loads SQLAlchemy, which other pages do without

    some = sorted(found, key=lambda host: host.state == "current")[: output.limit]
    right = [name in ("id", "gaps") for name in HEADINGS]
    headings = [
        Heading(name, "", "", side, None, None) for name, side in zip(HEADINGS, right, strict=True)
    ]
    states = Counter(host.state for host in found)
    note = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    limit = asked.more_rows(output, len(some))
    return Table(
        "hosts",
        "Hosts",
        headings,
        [
            _cells_of_host(host, dict(zip(HEADINGS, cells(host), strict=True)), links, right)
            for host in some
        ],
        [note or "no host has pushed yet, and no role was added: elsa fleet add"],
        " ".join(["elsa fleet list", *([] if db is None else ["--db", quoted(db)])]),
        [],
        None if limit is None else links.changed(limit=limit),
    )


def _cells_of_host(
    host: FleetHost, values: Mapping[str, object], links: Links, right: Sequence[bool]
) -> list[Cell]:
    address = links.address("today", host=asked.just(host.known_as)) if host.known_as else None
    look = {"state": "good" if host.state == "current" else "bad"}
    return [
        Cell(
            "" if value is None else printable(str(value)),
            side,
            address if name == "host" else None,
            look.get(name, ""),
        )
        for (name, value), side in zip(values.items(), right, strict=True)
    ]


def on_page(words: Iterable[str]) -> list[str]:
    """Notes of reports, and errors, without what they advise for the command line. A host may have
    any name.
    """
    return [printable(re.sub(_ADVICE, "", text)) for text in words]


def download(report: Report, output: Output) -> str:
    """The rows as a program gets them."""
    text = io.StringIO()
    writer.write(report, output, text)
    return text.getvalue()


def heading(key: str, links: Links | None = None, output: Output = _USUAL) -> Heading:
    """The heading of a column; with links it sorts the table."""
    column = COLUMNS[key]
    if links is None:
        return Heading(column.heading, column.heading_unit, column.doc, column.right, None, None)
    how, following = None, key
    first = (output.sort or "").split(",")[0]
    if first.lstrip("+-") == key:
        largest_first = first.startswith("-") or (column.metric and not first.startswith("+"))
        how = "descending" if largest_first else "ascending"
        following = f"{'+' if largest_first else '-'}{key}"
    href = links.changed(sort=following)
    return Heading(column.heading, column.heading_unit, column.doc, column.right, href, how)


def _cells(
    columns: tuple[str, ...],
    row: Row,
    told: Row,
    shown: tuple[str, ...],
    links: Links,
    output: Output,
) -> list[Cell]:
    values, texts = (dict(zip(columns, each, strict=True)) for each in (row, told))
    return [cell(key, texts[key], links, values, output.units) for key in shown]


def cell(
    key: str,
    value: Any,  # noqa: ANN401
    links: Links,
    values: Mapping[str, Any],
    units: str = "auto",
) -> Cell:
    """A value of a column, as it is written; `values` are those of its row."""
    column = COLUMNS[key]
    text = column.text(value, units)
    if value is None:
        return Cell(text, column.right, None, "unknown")
    look = ""
    if key in ("complete", "usage_complete"):
        look = "good" if value else "bad"
    elif key in ("exit_status", "verdict"):
        look = "bad" if value not in (0, "same", "better") else "good"
    return Cell(text, column.right, _href(key, values.get(key, value), links, values), look)


def _href(key: str, value: Any, links: Links, values: Mapping[str, Any]) -> str | None:  # noqa: ANN401
    if key in ("job_id", "name") and values.get("job_id") is not None:
        return links.address("job", job_id=values["job_id"])
    if key == "host" and links.of_fleet:
        return links.address("today", **{**links.kept, "host": asked.just(value)})
    host = values.get("host") if links.of_fleet else None
    of_host = {} if host is None else {"host": asked.just(host)}
    if key in _LINKS and value != "" and values.get("uid", 0) is not None:  # the total has no uid
        text = asked.just(value) if key == "command" else printable(value)
        if key == "user" and links.of_fleet and "uid" in values:
            # Others may have the name. Of all hosts together, the row is of those that have both.
            text = f"uid:{values['uid']}" + (f":{printable(value)}" if host is None else "")
        chosen = {**links.kept, **of_host, key: text}
        if links.of_fleet:
            return links.address("used", by="day", **chosen)
        return links.address("processes", **chosen)
    if key in _OF_USERS:
        return links.address("jobs", show="all", user=value, **of_host)
    return None
