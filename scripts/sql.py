#!/usr/bin/env python3
"""Writes what the views of sql/ have in common: the blocks between two comments, from
elsa/store/measures.py and elsa/report/query/rollup_source.py.

    scripts/sql.py [--check]

`make sql` runs it after a change of those; `make lint` asks with --check whether somebody forgot.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from itertools import dropwhile
from pathlib import Path
from textwrap import indent

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from elsa.report.query import rollup_source
from elsa.report.query.times import Window
from elsa.store import measures
from elsa.store.measures import COUNTERS, MEASURES, OF_AUDIT, ROLLED, ROLLED_OF_JOB, Aggregate
from elsa.store.rollups import ROLLUPS

FOLDER = Path(__file__).resolve().parent.parent / "sql"
_BLOCK = re.compile(
    r"^( *)-- made by scripts/sql\.py: (.*)\n(?:.*\n)*?\1-- to here\n(?= *([\w);]+))",
    flags=re.MULTILINE,
)
# What the reconciliation compares: what records tell, by their columns, and what taskstats tells.
_RECORDED = {"utime_ticks": "utime", "stime_ticks": "stime", "minflt": "minflt", "majflt": "majflt"}
_TOLD = ("threads", "run_ns", "utime_us", "stime_us", *COUNTERS)
_COUNTED = ("processes", "records", "with_usage")
_COMPARED = (*_COUNTED[:2], *_RECORDED, _COUNTED[2], *_TOLD)


def _of(words: str) -> list[str]:
    """The figures that are meant by nothing, or by the first of them: from KEY."""
    first = words.removeprefix("from ").strip()
    return list(dropwhile(lambda key: first not in ("", key), MEASURES))


def _halves(operands: dict[str, str]) -> list[str]:
    """Sums in two, which tell differences exactly however large they are."""
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
    columns = measures.parts(ROLLUPS[table].measures)
    return (
        rollup_source.source(table, Window(), [f"u.{name}" for name in columns], days=True)
        .sql.removeprefix("from (\n")
        .removesuffix("\n) as u")
    )


# By the first word after the colon: lists of columns, or whole text.
LISTS: dict[str, Callable[[str], list[str]]] = {
    "rows": lambda words: [f"{MEASURES[key].sql()} as {key}" for key in _of(words)],
    "parts": lambda words: [f"{MEASURES[key].of_parts(key)} as {key}" for key in _of(words)],
    "nothing": lambda words: [
        f"{'0' if MEASURES[key].fold == 'count' else 'null'} as {key}" for key in _of(words)
    ],
    "names": lambda words: [f"{words.split()[0]}.{key}" for key in _of(words.partition(" ")[2])],
    "rolled": lambda alias: [f"{alias}.{name}" for name in measures.columns(ROLLED)],
    "rolled-of-job": lambda alias: [f"{alias}.{name}" for name in measures.columns(ROLLED_OF_JOB)],
    "class": lambda keys: [f"{OF_AUDIT[key].sql()} as {key}" for key in keys.split()],
    "halves-of-records": lambda alias: _halves(
        {key: f"{alias}.{column}" for key, column in _RECORDED.items()}
    ),
    "halves-of-usage": lambda alias: _halves(
        {
            key: f"nullif({alias}.{key}, 0)" if key.endswith("_syscalls") else f"{alias}.{key}"
            for key in _TOLD
        }
    ),
    "halves": lambda alias: _halves({key: f"{alias}.{key}" for key in (*_RECORDED, *_TOLD)}),
}
TEXTS: dict[str, Callable[[str], str]] = {
    "union": _union,
    "compared": lambda _: "\nunion all\n".join([*_compared(), *_compared_pruned()]),
}


def written(text: str) -> str:
    """A view with its blocks as they should be."""

    def block(found: re.Match[str]) -> str:
        margin, what, after = found.groups()
        kind, _, words = what.partition(" ")
        comma = "" if after == "from" else ","
        body = TEXTS[kind](words) if kind in TEXTS else ",\n".join(LISTS[kind](words)) + comma
        return (
            f"{margin}-- made by scripts/sql.py: {what}\n{indent(body, margin)}\n{margin}-- to"
            " here\n"
        )

    return _BLOCK.sub(block, text + ";\n").removesuffix(";\n")


def main() -> int:
    """Write the views, or say which are not as they should be."""
    found = {path: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*/*.sql"))}
    changed = {path: new for path, text in found.items() if (new := written(text)) != text}
    if "--check" not in sys.argv:
        for path, text in changed.items():
            path.write_text(text, encoding="utf-8")
        return 0
    for path in changed:
        print(f"sql/{path.name} is not as elsa/store/measures.py has it: make sql", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
