"""The house rules that no linter knows: what exists is documented."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from elsa.cli import main
from elsa.config import Config

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("field", dataclasses.fields(Config), ids=lambda field: field.name)
def test_every_setting_is_documented_with_its_default(field: dataclasses.Field[object]) -> None:
    text = (ROOT / "docs/config.md").read_text()
    section = re.search(rf"^## `{field.name}`\n\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section
    assert f"Default: `{field.default}`" in " ".join(section[1].split())
    assert f"`ELSA_{field.name.upper()}`" in section[1]


def test_no_setting_is_documented_that_does_not_exist() -> None:
    documented = re.findall(r"^## `(\w+)`$", (ROOT / "docs/config.md").read_text(), re.MULTILINE)
    assert documented == [field.name for field in dataclasses.fields(Config)]


def commands() -> list[str]:
    """Every command and subcommand as it is typed."""
    names = []
    for name in main.COMMANDS:
        command = main.load(name)
        names += (
            [f"{name} {sub}" for sub in command.list_commands(click.Context(command))]
            if isinstance(command, click.Group)
            else [name]
        )
    return names


def test_every_command_helps_with_an_example() -> None:
    for name in commands():
        done = CliRunner().invoke(main.group, [*name.split(), "--help"])
        assert done.exit_code == 0
        assert f"elsa {name}" in done.output or f"elsa-{name}" in done.output, name
        assert "\n  Example" in done.output, name


def test_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    for name in [*main.COMMANDS, *(name for name in commands() if name.startswith("db "))]:
        assert f"`elsa {name}" in text, name


def test_commands_in_the_readme_exist() -> None:
    """Every `elsa ...` line of the README is a command with options that exist."""
    lines = re.findall(
        r"^    (?:\$ )?elsa[ -]([^\n#|]*)", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert len(lines) > 8
    for line in lines:
        words = line.replace("&", "").split()
        command: click.Command = main.group
        context = click.Context(command)
        while isinstance(command, click.Group) and words:
            found = command.get_command(context, words.pop(0))
            assert found is not None, line
            command = found
        known = {name for parameter in command.params for name in parameter.opts}
        own = words[: words.index("--")] if "--" in words else words
        assert {word for word in own if word.startswith("-")} <= known, line


def test_documents_name_no_file_that_does_not_exist() -> None:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("name", ["sa", "lastcomm", "dump-acct"])
def test_every_option_that_gnu_has_too_is_documented_as_equal_or_not(name: str) -> None:
    text = (ROOT / "docs/compat.md").read_text()
    command = main.load("report").get_command(click.Context(main.load("report")), name)  # type: ignore[attr-defined]
    for parameter in command.params:
        for option in parameter.opts:
            assert not option.startswith("-") or re.search(rf"[` ]{option}[` ]", text), option


@pytest.mark.parametrize("script", ["sql.py", "schema.py"])
def test_generated_sql_is_up_to_date(script: str) -> None:
    done = subprocess.run(
        [sys.executable, f"scripts/{script}", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_lines_of_sql_c_and_shell_have_at_most_100_characters() -> None:
    """As ruff checks it for Python."""
    patterns = (
        *("sql/*/*.sql", "migrations/versions/*.sql", "tests/**/*.c", "benchmarks/**/*.c"),
        *("scripts/*.sh", "packaging/*", "Makefile"),
    )
    paths = [path for pattern in patterns for path in sorted(ROOT.glob(pattern)) if path.is_file()]
    assert len(paths) > 40
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 100
    ]
    assert long == []
