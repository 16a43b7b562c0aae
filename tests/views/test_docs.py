"""docs/schema.md names every table, every view and every column of a view, and its examples run."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from elsa.store import schema, sql_files

TEXT = (Path(__file__).parents[2] / "docs" / "schema.md").read_text(encoding="utf-8")
# Views that are described by the columns of another one.
LIKE = {
    "end_usage": "process_usage",
    "interval_usage": "process_usage",
    "interval_counters": "process_usage",
    "job_end_usage": "process_usage",
    "job_interval_usage": "process_usage",
    **dict.fromkeys(
        ("incarnation_usage", "unjoined_record_usage", "job_process_usage"), "process_usage"
    ),
    **dict.fromkeys(
        (
            "rollup_user_ready",
            "rollup_job_ready",
            "command_usage_part",
            "user_usage_part",
            "job_usage_part",
        ),
        "rollup_command_ready",
    ),
    **dict.fromkeys(
        ("user_usage", "job_command_usage", "job_user_usage", "unattributed_usage"), "command_usage"
    ),
}


@pytest.fixture
def connection(template: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(template)) as opened:
        yield opened


def section(heading: str) -> str:
    """The text below a heading, to the next one."""
    found = re.search(rf"^### {heading}\n(.*?)(?=^##)", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert found, f"docs/schema.md has no section {heading}"
    return found.group(1)


@pytest.mark.parametrize("view", [path.stem for path in sql_files.views()])
def test_view_and_all_its_columns_are_documented(connection: sqlite3.Connection, view: str) -> None:
    columns = {
        column[0] for column in connection.execute(f'select * from "{view}" limit 0').description
    }
    text = section(view)
    documented = set(
        re.findall(
            r"`(\w+)`",
            text
            + section("Measures")
            + section(LIKE.get(view, view))
            + (section("job_member") if view in LIKE else ""),
        )
    )
    assert columns <= documented


def test_every_table_is_documented() -> None:
    assert set(schema.metadata.tables) == set(
        re.findall(r"^\| `(\w+)` \| [^|]+\|$", TEXT.split("## Tables")[1], flags=re.MULTILINE)
    )


def test_examples_run(connection: sqlite3.Connection) -> None:
    queries = re.findall(r"(?:^    .*\n)+", TEXT.split("## Examples")[1], flags=re.MULTILINE)
    assert len(queries) == 5
    for query in queries:
        connection.executescript(query)
