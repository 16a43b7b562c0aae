#!/usr/bin/env python3
"""Writes what the views of sql/ have in common, and the tables of measures and columns in docs/:
the blocks between two comments, from elsa/measures.py, elsa/report/render/columns.py and
elsa/report/query/rollup_source.py.

    scripts/sql.py [--check]

Run `make sql` after a change to those; `make lint` checks with --check that this was done.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from itertools import dropwhile
from pathlib import Path
from textwrap import indent

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from elsa.measures import COUNTERS, MEASURES, OF_AUDIT, OF_MEMBERS, Measure
from elsa.report.query import rollup_source
from elsa.report.query.times import Window
from elsa.report.render.columns import COLUMNS
from elsa.store import aggregates
from elsa.store.aggregates import Aggregate
from elsa.store.rollups import ROLLUPS

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(
    r"^( *)-- made by scripts/sql\.py: (.*)\n(?:.*\n)*?\1-- to here\n(?= *([\w);]+))",
    flags=re.MULTILINE,
)
_TABLE = re.compile(
    r"^(<!-- made by scripts/sql\.py: (\w+) -->\n)(?:.*\n)*?(?=<!-- to here -->)",
    flags=re.MULTILINE,
)
# What the reconciliation compares: the integers of records, by their columns, and of taskstats.
_RECORDED = {
    measure.name: measure.field
    for measure in MEASURES.values()
    if measure.source == "acct" and measure.name != "etime_ticks"
}
_TOLD = tuple(
    measure.name
    for measure in MEASURES.values()
    if measure.source == "taskstats" and measure.fold == "sum"
)
_COUNTED = ("processes", "records", "with_usage")
_COMPARED = (*_COUNTED[:2], *_RECORDED, _COUNTED[2], *_TOLD)


def _of(words: str) -> list[str]:
    """The figures that are meant by nothing, or by the first of them: from KEY."""
    first = words.removeprefix("from ").strip()
    return list(dropwhile(lambda key: first not in ("", key), MEASURES))


def _halves(operands: dict[str, str]) -> list[str]:
    """Sums in halves, whose differences are exact whatever their size."""
    named = ((name, *Aggregate("sum", operand).halves) for name, operand in operands.items())
    return [
        text
        for name, high, low in named
        for text in (f"{high} as {name}_high", f"{low} as {name}_low")
    ]


def _compared() -> Iterator[str]:
    """For each figure a row with what all, those in jobs and those in none have of it."""
    for place, key in enumerate(_COMPARED):
        sides = []
        for alias, side in (("e", "all"), ("j", "jobs"), ("r", "none")):
            high, low = (
                ("0", f"{alias}.{key}")
                if key in _COUNTED
                else (f"{alias}.{key}_high", f"{alias}.{key}_low")
            )
            sides.append(f"{high} as {side}_high, {low} as {side}_low")
        listed = ",\n    ".join([f"{place} as place, '{key}' as measure", *sides])
        yield (
            f"select\n    {listed}\nfrom everything as e\ncross join attributed as j\ncross join"
            " rest as r"
        )


def _compared_pruned() -> Iterator[str]:
    """The same of what was pruned in jobs, or in none."""
    for place, key in enumerate(_COMPARED):
        high, low = ("0", f"p.{key}") if key in _COUNTED else (f"p.{key}_high", f"p.{key}_low")
        halves = [
            f"{high} as all_high, {low} as all_low",
            *(
                f"case when p.in_job = {flag} then {high} end as {side}_high,"
                f" case when p.in_job = {flag} then {low} end as {side}_low"
                for flag, side in ((1, "jobs"), (0, "none"))
            ),
        ]
        listed = ",\n    ".join([f"{place} as place, '{key}' as measure", *halves])
        yield f"select\n    {listed}\nfrom gone as p"


def _union(table: str) -> str:
    """The rows that add up to what is known by the keys of a rollup."""
    columns = aggregates.parts(ROLLUPS[table].measures)
    return rollup_source.parts(table, Window(), [f"u.{name}" for name in columns], days=True).sql


def _counter(alias: str, key: str) -> str:
    """A counter of one process, as its column of table usage says it: where calls were cut down to
    0, it says no more than that they were few.
    """
    return f"nullif({alias}.{key}, 0)" if key.endswith("_syscalls") else f"{alias}.{key}"


def _charge(measure: Measure) -> str:
    """What a process used between its entries and leaves, from its counters `b` then, and `u` at
    its end. Snapshots know calls exactly, the end knows nothing of 0.
    """
    key, column = measure.rolled, f"b.{measure.column}"
    charge = f"max(0, sum(b.sign * {column}) + iif(pj.at_end, u.{key}, 0))"
    if key.endswith("_syscalls"):
        charge = f"nullif(\n        {charge},\n        iif(pj.at_end, 0, null)\n    )"
    return f"'{key}', case when count({column}) = count(*)\n    then {charge} end"


# By the first word after the colon: lists of columns, or whole text.
LISTS: dict[str, Callable[[str], list[str]]] = {
    "rows": lambda words: [f"{aggregates.of_rows(MEASURES[key])} as {key}" for key in _of(words)],
    "parts": lambda words: [f"{aggregates.of_sums(MEASURES[key])} as {key}" for key in _of(words)],
    "nothing": lambda words: [
        f"{'0' if MEASURES[key].fold == 'count' else 'null'} as {key}" for key in _of(words)
    ],
    "names": lambda words: [f"{words.split()[0]}.{key}" for key in _of(words.partition(" ")[2])],
    "counters": lambda words: [
        text if text == f"s.{key}" else f"{text} as {key}"
        for key in _of(words)
        for text in (_counter("s", key),)
    ],
    "unknown": lambda words: [f"cast(null as integer) as {key}" for key in _of(words)],
    "charges": lambda _: [_charge(measure) for measure in COUNTERS],
    "charged": lambda words: [
        f"iif(m.in_part, json_extract(m.charge, '$.{key}'), m.{key})\n    as {key}"
        for key in _of(words)
    ],
    "class": lambda keys: [f"{aggregates.of_rows(OF_AUDIT[key])} as {key}" for key in keys.split()],
    "halves-of-records": lambda alias: _halves(
        {key: f"{alias}.{column}" for key, column in _RECORDED.items()}
    ),
    "halves-of-usage": lambda alias: _halves({key: _counter(alias, key) for key in _TOLD}),
    "halves": lambda alias: _halves({key: f"{alias}.{key}" for key in (*_RECORDED, *_TOLD)}),
}
TEXTS: dict[str, Callable[[str], str]] = {
    "union": _union,
    "compared": lambda _: "\nunion all\n".join([*_compared(), *_compared_pruned()]),
}


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _source(measure: Measure) -> str:
    """Which kernel struct and field says it."""
    struct = measure.source.replace("both", "taskstats or acct")
    return f"{struct}: {measure.field}" if measure.field else struct


def _columns() -> Iterator[str]:
    """All that reports can show."""
    yield _row("column", "heading", "unit", "source", "meaning") + "|---|---|---|---|---|\n"
    measures = MEASURES | OF_MEMBERS
    for key, column in COLUMNS.items():
        unit = column.unit or {1: "bytes", 1024: "KiB"}.get(column.size, "")
        unit += "; ns for programs" if key.endswith("_ns") else ""
        source = _source(measures[key]) if key in measures else ""
        yield _row(f"`{key}`", column.heading, unit, source, column.doc)


def _measures() -> Iterator[str]:
    """All that is added up over processes."""
    yield _row("column", "unit", "adds up", "in rollups", "source", "meaning")
    yield "|---|---|---|---|---|---|\n"
    for measure in (MEASURES | OF_MEMBERS).values():
        yield _row(
            f"`{measure.name}`",
            measure.unit,
            measure.fold.replace("float", "sum"),
            f"`{measure.stored}`" if measure.stored else "",
            _source(measure),
            measure.doc,
        )


TABLES = {"columns": _columns, "measures": _measures}


def table(found: re.Match[str]) -> str:
    """A table of a document as it should be."""
    return found[1] + "".join(TABLES[found[2]]())


def written(text: str) -> str:
    """A view with its blocks as they should be."""

    def block(found: re.Match[str]) -> str:
        margin, what, after = found.groups()
        kind, _, words = what.partition(" ")
        comma = "" if after == "from" or after.startswith(")") else ","
        body = TEXTS[kind](words) if kind in TEXTS else ",\n".join(LISTS[kind](words)) + comma
        return (
            f"{margin}-- made by scripts/sql.py: {what}\n{indent(body, margin)}\n{margin}-- to"
            " here\n"
        )

    new, blocks = _BLOCK.subn(block, text + ";\n")
    if blocks != text.count("scripts/sql.py:") or blocks != text.count("-- to here"):
        raise SystemExit(f"a mark of a block is damaged in:\n{text[:200]}")
    return new.removesuffix(";\n")


def main() -> int:
    """Write what is not as it should be, or only say so."""
    changed = {}
    for path in sorted([*ROOT.glob("sql/*/*.sql"), *ROOT.glob("docs/*.md")]):
        text = path.read_text(encoding="utf-8")
        new = written(text) if path.suffix == ".sql" else _TABLE.sub(table, text)
        if new != text:
            changed[path] = new
    if "--check" not in sys.argv:
        for path, new in changed.items():
            path.write_text(new, encoding="utf-8")
        return 0
    for path in changed:
        print(
            f"{path.relative_to(ROOT)} is not as elsa/measures.py has it: make sql", file=sys.stderr
        )
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
