"""Tables, csv, json and jsonl of one and the same report."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa import formats
from elsa.report.render import columns, writer
from elsa.report.render.columns import COLUMNS
from elsa.report.render.output import Output
from elsa.report.render.writer import Report
from elsa.text import printable

KEYS = ("command", "forked_only", "processes", "cpu_s", "exit_status")
ROWS = [("cc1", 0, 12, 3.456, 256), ('a, "b"', None, 3, None, 9)]


def written(form: str, rows: list[tuple[Any, ...]]) -> str:
    out = io.StringIO()
    assert writer.write(Report(KEYS, KEYS, iter(rows)), Output(form), out) == len(rows)
    return out.getvalue()


def test_table_aligns_numbers_right_shows_units_and_a_dash_for_what_is_unknown() -> None:
    lines = [line.rstrip() for line in written("table", ROWS).splitlines()]
    assert lines == [
        "command  fork  procs     cpu     exit",
        "-------  ----  -----  ------  -------",
        "cc1               12  3.46 s        1",
        'a, "b"   -         3       -  SIGKILL',
    ]


def test_csv_has_raw_values_and_nothing_for_what_is_unknown() -> None:
    assert list(csv.reader(io.StringIO(written("csv", ROWS)))) == [
        list(KEYS),
        ["cc1", "0", "12", "3.456", "256"],
        ['a, "b"', "", "3", "", "9"],
    ]


def test_json_and_jsonl_have_raw_values_and_null_for_what_is_unknown() -> None:
    objects = [dict(zip(KEYS, row, strict=True)) for row in ROWS]
    assert json.loads(written("json", ROWS)) == objects
    assert [json.loads(line) for line in written("jsonl", ROWS).splitlines()] == objects


@pytest.mark.parametrize(
    ("form", "text"),
    [("table", ""), ("csv", ",".join(KEYS) + "\n"), ("json", "[]\n"), ("jsonl", "")],
)
def test_no_rows_are_no_table_a_csv_header_and_empty_json(form: str, text: str) -> None:
    assert written(form, []) == text


@given(st.text())
def test_nothing_that_a_table_shows_can_move_the_cursor(text: str) -> None:
    assert printable(text).isprintable()


@given(st.lists(st.tuples(st.text(), st.none() | st.integers()), max_size=5))
def test_json_gives_back_what_went_in_and_csv_has_one_line_a_row(
    pairs: list[tuple[str, int | None]],
) -> None:
    rows: list[tuple[Any, ...]] = [(text, number, 0, 0.0, 0) for text, number in pairs]
    assert [tuple(item.values()) for item in json.loads(written("json", rows))] == rows
    assert len(written("csv", rows).splitlines()) == len(rows) + 1


def test_every_column_says_what_it_is_and_is_registered_once() -> None:
    assert len(COLUMNS) == len(columns._ALL)
    for column in COLUMNS.values():
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z]+)*", column.key)
        assert column.heading
        assert column.doc


def test_exit_words_name_the_signal() -> None:
    assert [formats.exit_word(status) for status in (0, 3 << 8, 11 | 128, 34 + 5)] == [
        "0",
        "3",
        "SIGSEGV",
        "signal 39",
    ]


def test_sizes_are_shown_in_the_largest_unit_that_leaves_a_whole_number() -> None:
    sizes = (0, 1023, 1024, 1_572_864, 5 * 2**30, 3 * 2**50)
    assert [formats.size(value) for value in sizes] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 MiB",
        "5.0 GiB",
        "3072.0 TiB",
    ]
