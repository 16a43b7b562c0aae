"""Options that people expect lead to what exists."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from elsa.cli import main


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("run --summary markdown true", "--format markdown"),
        ("report job nightly --run -2", "nightly#-2"),
        ("report services --since today", "elsa report runs --kind service"),
        ("report commands --job nightly --run -2", "nightly#-2"),
    ],
)
def test_an_option_that_people_expect_leads_to_what_exists(words: str, hint: str) -> None:
    result = CliRunner().invoke(main.group, words.split())
    assert (result.exit_code, hint in result.stderr) == (2, True)


def test_commands_without_jobs_have_no_hint_at_runs() -> None:
    assert "nightly" not in CliRunner().invoke(main.group, ["check", "--run", "-2"]).stderr
