"""The output language: formats, columns, order, units and width, the same for every report."""

from __future__ import annotations

import csv
import io
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.errors import UsageError
from elsa.report.query.statement import Query, literal
from elsa.report.render import writer
from elsa.report.render.columns import COLUMNS
from elsa.report.render.output import FORMATS, Output
from elsa.report.render.writer import Report
from elsa.text import printable
from tests.support.reports import Reports

ROOT = Path(__file__).parents[3]
KEYS = ("name", "cpu_s", "rss_kib", "tags")


def written(rows: list[tuple[Any, ...]], **asked: Any) -> tuple[str, list[str]]:
    report = Report(KEYS, KEYS, rows)
    out = io.StringIO()
    writer.write(report, Output(**asked), out)
    return out.getvalue(), report.words


def test_parsable_is_separated_by_bars_and_no_name_can_break_a_row() -> None:
    text, _ = written([("a|b\nc", 1.5, 2048, None)], form="parsable")
    assert text == "name|cpu_s|rss_kib|tags\na\\x7cb\\nc|1.5|2048|\n"
    assert written([("a", None, None, None)], form="tsv", header=False)[0] == "a\t\t\t\n"


def test_units_are_for_sizes_in_tables_and_parsable_only() -> None:
    row = ("a", 1.5, 3 * 1024, None)
    assert written([row], form="parsable", units="M", header=False)[0] == "a|1.5|3.00M|\n"
    assert written([row], units="B", header=False)[0].split()[3] == "3145728B"
    assert written([row], units="K", header=False)[0].split() == ["a", "1.50", "s", "3072.00K", "-"]
    raw = written([row], units="raw")[0].splitlines()
    assert (raw[0].split(), raw[2].split()) == (list(KEYS), ["a", "1.5", "3072", "-"])
    with pytest.raises(UsageError, match="json always has raw values"):
        Output("json", units="G")


def test_name_and_sort_key_are_kept_whole_while_other_texts_are_cut_and_columns_left_out() -> None:
    row = ("a-long-name-of-a-job", 1.5, 3 * 1024, '{"project": "something-long"}')
    whole, words = written([row])
    assert "project=something-long" in whole
    assert words == []
    cut, words = written([row], width=55)
    assert cut.splitlines()[-1] == "a-long-name-of-a-job  1.50 s  3.0 MiB  project=somethi+"
    assert words == []
    narrow, words = written([row], width=40)
    assert narrow.splitlines()[0] == "name                     cpu     peak +"
    assert words == ["the terminal is too narrow for tags; --columns chooses what to show"]
    # Peaks are less important than CPU time, unless the rows are sorted by them.
    assert written([row], width=32)[0].splitlines()[0].split() == ["name", "cpu", "+"]
    assert written([row], width=33, sort="peak")[0].splitlines()[0].split() == ["name", "peak", "+"]
    # What the rows are sorted by comes before all else that is always shown.
    keys = ("job_id", "name", "started_at", "cpu_s", "exit_status")
    job = (7, "a" * 10, "2026-01-02T03:04:05Z", 5.0, 0)
    out = io.StringIO()
    writer.write(Report(keys, keys, [job]), Output(width=40, sort="cpu_s"), out)
    assert out.getvalue().splitlines()[0].split() == ["job", "name", "cpu", "exit", "+"]
    long = ("x" * 50, 1.5, 3 * 1024, None)
    assert written([long], width=45)[0].splitlines()[-1] == f"{'x' * 34}+  1.50 s"


@given(
    st.lists(
        st.tuples(
            st.text(), st.none() | st.floats(0, 1e9), st.none() | st.integers(0, 2**60), st.none()
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(25, 120),
)
def test_table_is_never_wider_than_the_terminal_unless_one_column_is(
    rows: list[tuple[Any, ...]], width: int
) -> None:
    assert max(map(len, written(rows, width=width)[0].splitlines())) <= width


def test_widths_are_those_that_were_asked_for_as_in_sacct() -> None:
    text, words = written([("build", 12.5, None, None)], columns="name%-3,cpu_s%8", width=5)
    assert text.splitlines()[-1][:13] == "bu+   12.50 s"
    assert words == []


@pytest.mark.parametrize("width", ["", "x", "--3", "99999999999", "\u0663"])
def test_width_that_no_table_can_have_is_refused(width: str) -> None:
    with pytest.raises(UsageError, match="cannot read the width"):
        written([("build", 12.5, None, None)], columns=f"name%{width}")


def test_only_a_terminal_gets_colour() -> None:
    row = ("a", 1.5, 3, None)
    assert "\x1b" not in written([row])[0]
    assert written([row], colour=True)[0].startswith("\x1b[1mname")


@given(st.text())
def test_no_format_lets_a_name_move_the_cursor(name: str) -> None:
    for form in FORMATS:
        text, _ = written([(name, 1.5, 1, None)], form=form)
        assert all(character.isprintable() or character in "\n\t" for character in text), form


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\uff1d1", "'=1", "-rf", "\t=1", "\r=1"]
)
def test_no_text_in_csv_is_a_formula_unless_raw(name: str) -> None:
    text, _ = written([(name, -1.5, -3, None)], form="csv")
    ((cell, *numbers),) = list(csv.reader(io.StringIO(text)))[1:]
    assert cell[0] in "'\\"
    assert cell.removeprefix("'") == printable(name)
    assert numbers == ["-1.5", "-3", ""]
    raw, _ = written([(name, -1.5, -3, None)], form="csv", raw=True)
    assert next(csv.reader(io.StringIO(raw.splitlines()[1])))[0] == printable(name)
    for form in ("tsv", "json"):
        assert "'" + name not in written([(name, 1.5, 1, None)], form=form)[0]
        with pytest.raises(UsageError, match="--raw is for csv"):
            written([(name, 1.5, 1, None)], form=form, raw=True)


@given(st.text(), st.text())
def test_two_texts_are_two_cells(one: str, other: str) -> None:
    cells = {written([(name, 1.5, 1, None)], form="csv")[0] for name in (one, other)}
    assert len(cells) == len({printable(one), printable(other)})


def test_columns_are_chosen_added_or_listed_and_a_mistyped_one_is_guessed(filled: Reports) -> None:
    assert (
        filled.run("jobs", "--format", "csv", "--columns", "name,CPU_S").stdout
        == "name,cpu_s\nnight,2.0\nbuild,3.1\n"
    )
    usual = filled.run("jobs", "--format", "parsable").stdout.splitlines()[0]
    assert (
        filled.run("jobs", "--format", "parsable", "--columns", "+tags,name").stdout.splitlines()[0]
        == f"{usual}|tags"
    )
    assert set(filled.json("jobs", "--columns", "all")[0]) == set(filled.json("jobs")[0])
    listed = filled.run("users", "--columns", "help").stdout.splitlines()
    assert [line.split()[0] for line in listed][:3] == ["user", "uid", "processes"]
    headed = filled.run("jobs", "--format", "csv", "--columns", "name,Cpu,minor  faults")
    assert headed.stdout.splitlines()[0] == "name,cpu_s,minor_faults"
    for wrong, hint in (
        ("cpus", "did you mean cpu_s"),
        ("proces", "did you mean processes"),
        ("zzz", "--columns help lists them all"),
    ):
        with pytest.raises(UsageError, match=hint):
            filled.run("commands", "--columns", wrong)
    for unlike in ("nope", "jobs"):
        with pytest.raises(UsageError, match=f"no column '{unlike}'; --columns help lists"):
            filled.run("processes", "--columns", unlike)
    with pytest.raises(UsageError, match="write for example name%20"):
        filled.run("jobs", "--columns", "name%x")


def test_each_added_column_may_have_its_plus(filled: Reports) -> None:
    once = filled.run("users", "--columns", "+minor_faults,threads%20").stdout
    assert "threads" in once
    for same in ("+minor_faults,+threads%20", " +minor_faults, + threads%20"):
        assert filled.run("users", "--columns", same).stdout == once
    for mixed in ("user,+threads", "user,cpu_s,+threads"):
        with pytest.raises(UsageError, match="before the first, or before none"):
            filled.run("users", "--columns", mixed)


def test_tables_have_so_many_rows_and_say_so_unless_all_are_asked_for(reports: Reports) -> None:
    for number in range(1, 131):
        reports.warehouse.process(number, start=number, seconds=1, comm=f"c{number:03}")
        reports.warehouse.acct(number, number, comm=f"c{number:03}")
        reports.warehouse.job(number, f"j{number:03}", members=(number,))
    for kind, note in (
        ("commands", "showing 100 of 130 rows; --limit or --all shows more"),
        ("processes", "showing the last 100; --limit or --all shows more"),
        ("jobs", "showing the newest 100 jobs; --limit or --all shows more"),
    ):
        short = reports.run(kind)
        assert len(short.stdout.splitlines()) == 102
        assert note in short.stderr
        whole = reports.run(kind, "--all")
        assert len(whole.stdout.splitlines()) == 132
        assert "--limit" not in whole.stderr
        assert len(reports.run(kind, "--limit", "120").stdout.splitlines()) == 122
        assert len(reports.json(kind)) == 130
        assert len(reports.run(kind, "--format", "csv").stdout.splitlines()) == 131
    assert "c130" in reports.run("processes").stdout


def test_rows_are_sorted_by_any_column_and_the_unknown_come_last(filled: Reports) -> None:
    by = [row["command"] for row in filled.json("processes", "--all", "--sort", "-cpu_s,command")]
    assert by == ["cc", "make", "lost", "cron", "sh"]
    assert [
        row["command"] for row in filled.json("commands", "--sort", "command", "--limit", "2")
    ] == ["cc", "cron"]
    for sort, names in (
        ("cpu_s", ["build", "night"]),
        ("cpu", ["build", "night"]),
        ("-cpu_s", ["build", "night"]),
        ("+cpu_s", ["night", "build"]),
        ("job_id", ["build", "night"]),
        ("-job", ["night", "build"]),
    ):
        rows = filled.json("jobs", "--sort", sort, "--columns", "name")
        assert [row["name"] for row in rows] == names, sort
    with pytest.raises(UsageError, match="--sort: this report has no column"):
        filled.run("users", "--sort", "command")


EXPLAINED = [
    ["jobs"],
    ["jobs", "--since", "2026-01-01", "--state", "closed", "--clip"],
    ["job", "build"],
    ["job", "build", "--summary", "ja"],
    ["processes", "--command", "c*", "--limit", "2"],
    ["last", "--job", "build,night", "--user", "0"],
    ["commands", "--tag", "project", "--exit", "SIGKILL"],
    ["users", "--since", "2026-01-01", "--clip", "--job", "night"],
    ["groups"],
    ["hours", "--clip", "--job", "build"],
    ["days", "--user", "0"],
    ["months"],
    ["timeline", "--day", "2026-01-02", "--by", "user"],
    ["timeline", "--month", "2026-01", "--job", "build", "--step", "1d"],
    ["compare", "build", "night"],
    ["tree", "build"],
    ["gaps"],
    ["audit", "--until", "2027-01-01"],
]


@pytest.mark.parametrize("arguments", EXPLAINED, ids=" ".join)
def test_explained_sql_runs_in_the_sqlite3_shell_and_says_the_same(
    filled: Reports, arguments: list[str]
) -> None:
    sql = filled.run(*arguments, "--explain", "--format", "csv").stdout
    with closing(sqlite3.connect(filled.path)) as plain:
        plain.row_factory = sqlite3.Row
        found = [
            dict(row) for text in sql.split(";\n") if text.strip() for row in plain.execute(text)
        ]
    if arguments[0] in ("processes", "commands", "groups", "users"):
        limit = 2 if "--limit" in arguments else None
        shown = filled.json(*arguments)
        assert (
            [row["command"] for row in found][:limit] == [row["command"] for row in shown][::-1]
            if limit
            else len(found) >= len(shown)
        )


@given(st.text())
def test_bound_text_is_written_so_that_sqlite_reads_it_back_and_no_terminal_obeys_it(
    text: str,
) -> None:
    written_out = literal(text)
    assert written_out.isascii()
    assert written_out.isprintable()
    if not any(0xD800 <= ord(c) <= 0xDFFF or c == "\0" for c in text):
        with closing(sqlite3.connect(":memory:")) as plain:
            assert plain.execute(f"select {written_out}").fetchone()[0] == text


def test_readable_query_has_its_values_in_their_places() -> None:
    assert Query("select ? + ?, u.uid", (1, "o'x")).readable() == "select 1 + 'o''x', u.uid;"


def test_broken_pipe_is_silent(filled: Reports) -> None:
    code = "from elsa.cli.main import elsa_report; elsa_report()"
    command = (
        f"{sys.executable} -c '{code}' processes --format jsonl --db {filled.path} | head -c 1"
    )
    for number in range(100, 2000):
        filled.warehouse.process(number)
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("{", 0)
    assert "Error" not in done.stderr
    assert "rror" not in done.stderr


def test_every_shown_column_of_csv_is_in_its_header(filled: Reports) -> None:
    for kind in ("jobs", "processes", "last", "commands", "users", "groups"):
        rows = list(csv.reader(io.StringIO(filled.run(kind, "--format", "csv").stdout)))
        assert set(rows[0]) <= set(COLUMNS)
        assert {len(row) for row in rows} == {len(rows[0])}
