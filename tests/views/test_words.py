"""House tests of sql/: the words of the views are those of elsa/state/codes.py, and every view
states its grain.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from enum import IntEnum
from pathlib import Path

import pytest

from elsa.state import codes
from elsa.store import sql_files

ENUMS: dict[str, type[IntEnum]] = {
    "origin": codes.Origin,
    "end_source": codes.End,
    "how": codes.How,
    "join_outcome": codes.Join,
    "kind": codes.EventKind,
}
CASE = re.compile(r"case \w+\.(\w+)\n((?:\s+when \d+ then '\w+'\n)+)\s+end")
WHEN = re.compile(r"when (\d+) then '(\w+)'")
FILES = sql_files.views()


def test_case_words_are_the_names_of_the_codes() -> None:
    seen: set[str] = set()
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        cases = CASE.findall(text)
        assert len(cases) == len(re.findall(r"case \w+\.\w+\n\s+when \d", text)), (
            f"{path.name}: a case of numbers that this test cannot read"
        )
        for column, body in cases:
            words = {int(number): word for number, word in WHEN.findall(body)}
            assert words == {member.value: member.name.lower() for member in ENUMS[column]}, (
                f"{path.name}: {column}"
            )
            seen.add(column)
    assert seen == set(ENUMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_view_file_states_its_grain(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("-- Grain: one row")


def test_bare_numbers_of_the_views_mean_what_they_are_taken_for() -> None:
    """`join_outcome <> 3` excludes the record of acct's own caller, `= 2` is an uncertain join, and
    `end_source = 2 or end_source >= 4` an end that was not received.
    """
    assert (codes.Join.SELF, codes.Join.UNCERTAIN) == (3, 2)
    assert (codes.Join.PENDING, codes.Join.EXACT, codes.Join.OWN, codes.Join.AMBIGUOUS) == (
        0,
        1,
        4,
        5,
    )
    assert (codes.Origin.ACCT, codes.End.REBOOT) == (3, 5)
    assert {codes.End.VANISHED, codes.End.REUSED, codes.End.REBOOT} == {
        end for end in codes.End if end == 2 or end >= 4
    }


@pytest.mark.parametrize(
    "path", sorted(sql_files.folder("sql").glob("queries/*.sql")), ids=lambda path: path.stem
)
def test_ready_made_query_says_what_it_is_for_and_runs(path: Path, template: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("-- ")
    with closing(sqlite3.connect(template)) as connection:
        connection.execute(text, {"job_id": 1, "uid": 1000}).fetchall()
