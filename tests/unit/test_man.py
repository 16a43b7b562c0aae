"""The man pages: one per command, made of its help, with nothing that roff would complain about."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

_spec = importlib.util.spec_from_file_location("man", Path(__file__).parents[2] / "scripts/man.py")
assert _spec is not None
assert _spec.loader is not None
man = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(man)

COMMANDS = {"-".join(words): context for words, context in man.commands()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("man")
    man.write(path)
    return path


def roff(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    return subprocess.run(
        ["groff", "-man", "-Tascii", "-P-cbou", *arguments],
        text=True,
        capture_output=True,
        check=True,
    )


def test_every_command_has_its_page(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {f"{name}.1" for name in COMMANDS}
    assert {"elsa", "elsa-run", "elsa-report", "elsa-report-sa", "elsa-job-create"} <= set(COMMANDS)


def test_roff_has_nothing_to_complain_about(folder: Path) -> None:
    assert roff("-ww", "-z", *sorted(map(str, folder.iterdir()))).stderr == ""


@pytest.mark.parametrize("name", ["elsa", "elsa-report-sa", "elsa-report", "elsa-job-run"])
def test_a_page_shows_every_option_and_the_examples_as_they_are(folder: Path, name: str) -> None:
    shown = roff(str(folder / f"{name}.1")).stdout
    command = COMMANDS[name].command
    for parameter in command.params:
        for option in parameter.opts if isinstance(parameter, click.Option) else ():
            assert re.search(rf"^ +.*{option}\b", shown, re.MULTILINE), option
    examples = re.findall(
        r"^ +elsa .*$", (command.help or "").rpartition("Examples:")[2], re.MULTILINE
    )
    assert len(examples) > 1
    lines = [line.strip() for line in shown.splitlines()]
    assert all(example.strip() in lines for example in examples)


def test_text_that_roff_would_take_for_its_own_is_kept() -> None:
    context = click.Context(
        click.Command(
            "x",
            help=(
                ".sh begins 'this' \\fBtext\\fR -- and `that` \u2026 ^~\n\n\b\nExample:\n  .run \\x"
            ),
        )
    )
    page = man.page(["elsa", "x"], context)
    assert r"\&.sh begins \(aqthis\(aq \efBtext\efR \-\- and \(gathat\(ga \[u2026] \(ha\(ti" in page
    assert "\n  .run \\ex\n" in page
