#!/usr/bin/env python3
"""Write the generated blocks of sql/ and the tables of measures and columns in docs/, each between
two comments, from elsa/measures.py, elsa/report/render/columns.py and
elsa/report/query/rollup_source.py.

    scripts/sql.py [--check]

Run it with `make sql` after a change of those. `make lint` uses --check, which writes nothing and
fails if a block is out of date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from itertools import dropwhile, takewhile
from pathlib import Path
from textwrap import fill, indent, wrap

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from elsa.measures import (
    COUNTERS,
    DIVIDED,
    MEASURES,
    OF_AUDIT,
    OF_MEMBERS,
    ROLLED,
    ROLLED_OF_JOB,
    Measure,
)
from elsa.report.lake import datasets
from elsa.report.query import rollup_source
from elsa.report.query.times import Window
from elsa.report.render.columns import COLUMNS, Column
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
# What the view reconciliation compares: the integers of table acct, with its columns, and those of
# table usage.
_RECORDED = {
    measure.name: measure.field
    for measure in MEASURES.values()
    if measure.source == "acct" and measure.name != "etime_ticks"
}
_OF_USAGE = tuple(
    measure.name
    for measure in MEASURES.values()
    if measure.source == "taskstats" and measure.fold == "sum"
)
_COMPARED = ("processes", "records", *_RECORDED, "with_usage", *_OF_USAGE)
_WIDTH = 100
# Before which words a line of SQL that is too long breaks: the first of these that it has.
_BREAKS = (
    r"\+ (?:sum|iif)\(",
    r"(?<=, )sum\(",
    "(?:then|else|left join) ",
    "from ",
    r"max\(",
    "as ",
)


def _of(words: str) -> list[str]:
    """All measures; after the words `from KEY`, those from KEY on."""
    first = words.removeprefix("from ").strip()
    return list(dropwhile(lambda key: first not in ("", key), MEASURES))


# What usage_so_far may know more of than usage.
_BEYOND = tuple(
    measure for measure in COUNTERS if measure.name in _OF_USAGE and measure.column == measure.name
)


def _interval_sum(measure: Measure) -> str:
    """What the intervals `f` of a process add up to, time on a CPU in whole microseconds."""
    if measure.column == "run_ns":
        return "iif(f.run_ns is null, null, (f.user_us + f.system_us) * 1000)"
    return f"f.{measure.column}"


def _halves(operands: dict[str, str]) -> list[str]:
    """For a JSON object: each measure with its sum in two halves, which do not overflow."""
    sums = {name: ", ".join(Aggregate("sum", text).halves) for name, text in operands.items()}
    return [f"'{name}', json_array({halves})" for name, halves in sums.items()]


def _union(table: str) -> str:
    """The rows that add up to all usage that is known, by the keys of a rollup."""
    columns = aggregates.parts(ROLLUPS[table].measures)
    return rollup_source.parts(table, Window(), [f"u.{name}" for name in columns], days=True).sql


def _counter(alias: str, key: str) -> str:
    """A counter of one process from its column of table usage. The kernel rounds system calls down
    to a multiple of 1024 per thread, so 0 of them is unknown.
    """
    return f"nullif({alias}.{key}, 0)" if key.endswith("_syscalls") else f"{alias}.{key}"


def _so_far(key: str) -> str:
    """The same with what its intervals `f` add up to, where that is more, or all that is known.
    Most processes have no intervals: for them this is evaluated in fewest steps.
    """
    known = f"iif(f.{key} is null, s.{key}, max(f.{key}, coalesce(s.{key}, 0)))"
    if key.endswith("_syscalls"):
        return f"nullif({known}, 0)"
    return known


def _charge(measure: Measure) -> str:
    """What a process used while it was a member: from its counters `b` at its entries and leaves,
    and `u` at its end. Then 0 system calls are unknown.
    """
    return _charged(measure.rolled, f"b.{measure.column}")


def _charged(key: str, column: str) -> str:
    charge = f"max(0, sum(b.sign * {column}) + iif(pj.at_end, u.{key}, 0))"
    if key.endswith("_syscalls"):
        charge = f"nullif(\n        {charge},\n        iif(pj.at_end, 0, null)\n    )"
    return f"'{key}', case when count({column}) = count(*)\n    then {charge} end"


# What is added up in sql/lake/: of all rows, and of those of jobs.
_OF_LAKE = {
    "all": MEASURES,
    "jobs": {
        name: measure
        for name, measure in ROLLED_OF_JOB.items()
        if (name in MEASURES or name not in ROLLED) and name != "exit_status"
    },
}


def _lake_rows(measure: Measure) -> str:
    """The aggregate over rows `u` of the lake. Engines add up decimal numbers exactly."""
    if measure.name == "elapsed_s":
        measure = measure._replace(each="u.elapsed_us")
    each = measure.operand.removesuffix(" * 1.0")
    if measure.fold in ("sum", "float"):
        exact = re.sub(r"u[.](\w+)", r"cast(u.\1 as decimal(20, 0))", each)
        return f"sum({exact}) as {measure.rolled}"
    return f"{measure.fold}({each}) as {measure.rolled}"


def _lake_sums(measure: Measure) -> list[str]:
    """The same over rows `u` that hold such sums; in the measure's own unit too."""
    fold = {"count": "sum", "float": "sum"}.get(measure.fold, measure.fold)
    total = f"{fold}(u.{measure.rolled})"
    if measure.fold == "count":
        total = f"cast({total} as bigint)"
    scaled = f"cast({total} as double) / {measure.scale:.0e}".replace("e+0", "e")
    return [
        f"{total} as {measure.rolled}",
        *([f"{scaled} as {measure.name}"] if measure.scale != 1 else []),
    ]


def _lake_names(alias: str) -> list[str]:
    """The columns that `lake-sums` of jobs makes, where 0 of a job without rows counts as 0."""
    columns = []
    for measure in (MEASURES | OF_MEMBERS).values():
        if measure.name == "running":
            continue
        for text in _lake_sums(measure):
            name = text.rpartition(" ")[2]
            known = f"{alias}.{name}"
            columns.append(f"coalesce({known}, 0) as {name}" if measure.fold == "count" else known)
    return columns


def _lake_rest(alias: str, name: str) -> str:
    """What a process used after its last interval."""
    if name in datasets.USED:
        return f"{alias}.{name} - coalesce({alias}.{datasets.OF_PROCESS_INTERVALS[name]}, 0)"
    return f"{alias}.{name}"


def _lake_member(name: str) -> str:
    """What a member is charged after its last interval."""
    rest = _lake_rest("p", name)
    if name not in datasets.MEMBER_OF_PART:
        return rest
    return f"case when m.part_life = 1 then m.{name} else {rest} end as {name}"


# What each first word after the colon writes: a list of columns, or the whole text.
LISTS: dict[str, Callable[[str], list[str]]] = {
    "rows": lambda words: [f"{aggregates.of_rows(MEASURES[key])} as {key}" for key in _of(words)],
    "parts": lambda words: [f"{aggregates.of_sums(MEASURES[key])} as {key}" for key in _of(words)],
    "nothing": lambda words: [
        f"{'0' if MEASURES[key].fold == 'count' else 'null'} as {key}" for key in _of(words)
    ],
    "names": lambda words: [f"{words.split()[0]}.{key}" for key in _of(words.partition(" ")[2])],
    "counters": lambda words: [f"{_so_far(key)} as {key}" for key in _of(words)],
    "remainders": lambda words: [
        f"u.{key} - coalesce(f.{key}, 0) as {key}" if MEASURES[key].in_intervals else f"u.{key}"
        for key in _of(words)
    ],
    "remainders-of-members": lambda words: [
        f"iif(u.part_life_whole, u.{key}, iif(u.until_ns is null, e.{key}, u.{key} * 0))\n"
        f"    as {key}"
        if MEASURES[key].in_intervals
        else f"u.{key}"
        for key in _of(words)
    ],
    "of-interval": lambda words: [
        f"s.{key}" if MEASURES[key].in_intervals else f"null as {key}"
        for key in _of(words.partition(" ")[2])
    ],
    "unknown": lambda words: [f"null as {key}" for key in _of(words)],
    "so-far": lambda _: [
        f"{text} as run_ns" if measure.column == "run_ns" else text
        for measure in COUNTERS
        for text in (_interval_sum(measure),)
    ],
    "charges": lambda _: [
        *(_charged(key, f"b.{key}") for key in ("user_ns", "system_ns")),
        *(_charge(measure) for measure in COUNTERS),
    ],
    "charged": lambda words: [
        f"iif(m.in_part, json_extract(m.charge, '$.{key}'), m.{key})\n    as {key}"
        for key in _of(words)
    ],
    "class": lambda keys: [f"{aggregates.of_rows(OF_AUDIT[key])} as {key}" for key in keys.split()],
    "halves-of-acct": lambda alias: _halves(
        {key: f"{alias}.{column}" for key, column in _RECORDED.items()}
    ),
    "halves-of-usage": lambda alias: _halves({key: _counter(alias, key) for key in _OF_USAGE}),
    "halves-of-intervals": lambda alias: _halves(
        {measure.column: f"{alias}.{measure.column}" for measure in _BEYOND}
    ),
    "beyond-usage": lambda _: [
        f"max(\n    {_interval_sum(measure)}\n        - coalesce(s.{measure.column}, 0),\n    0\n)"
        f" as {measure.column}"
        for measure in _BEYOND
    ],
    "divided": lambda _: [f"u.{measure.rolled}" for measure in DIVIDED],
    "elapsed": lambda _: [
        f"-({measure.operand}) as {measure.rolled}"
        if measure.name == "elapsed_s"
        else f"null as {measure.rolled}"
        for measure in DIVIDED
    ],
    "added": lambda _: [
        f"{aggregates.over_parts(measure, f'u.{measure.rolled}').sql} as {measure.rolled}"
        for measure in DIVIDED
    ],
    "scaled": lambda _: [
        f"{aggregates.scaled(measure, f'k.{measure.rolled}')} as {measure.name}"
        for measure in DIVIDED
    ],
    "difference": lambda _: [
        f"{aggregates.scaled(measure, f'a.{measure.rolled} - coalesce(k.{measure.rolled}, 0)')}"
        f" as {measure.name}"
        for measure in DIVIDED
    ],
    "halves-of-records": lambda alias: _halves({key: f"{alias}.{key}" for key in _RECORDED}),
    "lake-rows": lambda which: [_lake_rows(measure) for measure in _OF_LAKE[which].values()],
    "lake-sums": lambda which: [
        text for measure in _OF_LAKE[which].values() for text in _lake_sums(measure)
    ],
    "lake-names": _lake_names,
    "lake-rest": lambda alias: [
        f"{_lake_rest(alias, name)} as {name}" if name in datasets.USED else f"{alias}.{name}"
        for name in datasets.SUMMED
    ],
    "lake-members": lambda _: [_lake_member(name) for name in datasets.SUMMED],
    "lake-intervals": lambda alias: [
        f"{alias}.{name}"
        if name in (*datasets.USED, "rss_kib")
        else "'intervals' as provenance"
        if name == "provenance"
        else f"null as {name}"
        for name in datasets.SUMMED
    ],
    "halves": lambda alias: _halves({key: f"{alias}.{key}" for key in (*_RECORDED, *_OF_USAGE)}),
}


def _quoted(text: str) -> str:
    """A string of SQL, in parts that fit on a line."""
    words = text.replace("'", "''")
    return "\n    || ".join(f"'{part}'" for part in wrap(words, 80, drop_whitespace=False) or [""])


def _documented(_: str) -> str:
    rows = [
        f"({_quoted(key)}, {_quoted(_unit(key, column))},\n    {_quoted(column.doc)})"
        for key, column in COLUMNS.items()
    ]
    return "values\n" + ",\n".join(rows)


TEXTS: dict[str, Callable[[str], str]] = {
    "documented": _documented,
    "union": _union,
    "compared": lambda _: fill(", ".join(f"'{key}'" for key in _COMPARED), 80),
}


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _source(measure: Measure) -> str:
    """The kernel's struct and field that a measure is from."""
    struct = measure.source.replace("both", "taskstats or acct")
    return f"{struct}: {measure.field}" if measure.field else struct


def _unit(key: str, column: Column) -> str:
    unit = column.unit or {1: "bytes", 1024: "KiB"}.get(column.size, "")
    return unit + ("; ns for programs" if key.endswith("_ns") else "")


def _columns() -> Iterator[str]:
    """The table of all columns of reports."""
    yield _row("column", "heading", "unit", "source", "meaning") + "|---|---|---|---|---|\n"
    measures = MEASURES | OF_MEMBERS
    for key, column in COLUMNS.items():
        unit = _unit(key, column)
        source = _source(measures[key]) if key in measures else ""
        yield _row(f"`{key}`", column.heading, unit, source, column.doc)


def _measures() -> Iterator[str]:
    """The table of all measures."""
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


def table(match: re.Match[str]) -> str:
    """A table of a document, up to date."""
    return match[1] + "".join(TABLES[match[2]]())


def _wrapped(line: str, margin: str = "") -> str:
    """A line of SQL, continued on indented lines where it is too long."""
    if len(line) <= _WIDTH:
        return line
    margin = margin or " " * (len(line) - len(line.lstrip()) + 4)
    for words in _BREAKS:
        places = [
            match.start()
            for match in re.finditer(f"(?<=\\S ){words}", line)
            if match.start() <= _WIDTH
        ]
        if places:
            head, tail = line[: places[-1]].rstrip(), margin + line[places[-1] :]
            return f"{_wrapped(head, margin)}\n{_wrapped(tail, margin)}"
    raise SystemExit(f"no place to break a line that is too long:\n{line}")


def written(text: str) -> str:
    """A view with its blocks up to date."""

    def block(match: re.Match[str]) -> str:
        margin, what, after = match.groups()
        kind, _, words = what.partition(" ")
        comma = "" if after == "from" or after.startswith(")") else ","
        body = TEXTS[kind](words) if kind in TEXTS else ",\n".join(LISTS[kind](words)) + comma
        lines = [_wrapped(line) for line in indent(body, margin).splitlines()]
        return "\n".join(
            [f"{margin}-- made by scripts/sql.py: {what}", *lines, f"{margin}-- to here\n"]
        )

    new, blocks = _BLOCK.subn(block, text + ";\n")
    if blocks != text.count("scripts/sql.py:") or blocks != text.count("-- to here"):
        raise SystemExit(f"the comments around a generated block are damaged in:\n{text[:200]}")
    return new.removesuffix(";\n")


def _datasette() -> str:
    """Metadata for Datasette: the ready-made queries, described by the comments before them."""
    queries = {}
    for path in sorted((ROOT / "sql" / "queries").glob("*.sql")):
        lines = path.read_text(encoding="utf-8").splitlines()
        words = [line.removeprefix("-- ") for line in takewhile(_is_comment, lines)]
        queries[path.stem] = {
            "title": path.stem.replace("_", " "),
            "description": " ".join(word for word in words if not word.startswith("sqlite3 ")),
            "sql": "\n".join(dropwhile(_is_comment, lines)).rstrip(";"),
        }
    return json.dumps({"databases": {"elsa": {"queries": queries}}}, indent=2) + "\n"


def _is_comment(line: str) -> bool:
    return line.startswith("--")


def main() -> int:
    """Write the files that are out of date, or with --check only name them."""
    changed = {}
    for path in sorted([*ROOT.glob("sql/*/*.sql"), *ROOT.glob("docs/*.md")]):
        text = path.read_text(encoding="utf-8")
        new = written(text) if path.suffix == ".sql" else _TABLE.sub(table, text)
        if new != text:
            changed[path] = new
    metadata = ROOT / "sql" / "datasette.json"
    if not metadata.exists() or metadata.read_text(encoding="utf-8") != _datasette():
        changed[metadata] = _datasette()
    if "--check" not in sys.argv:
        for path, new in changed.items():
            path.write_text(new, encoding="utf-8")
        return 0
    for path in changed:
        print(f"{path.relative_to(ROOT)} is out of date; run: make sql", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
