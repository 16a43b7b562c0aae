"""Every argument of every command, whoever wrote it: one line says what is wrong with it, and
nothing in it reaches a terminal raw.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import click
import pytest

from elsa.cli import main
from elsa.errors import UnavailableError
from elsa.store import database

# What is written where a command wants something of this kind before it does anything.
NEEDED = {
    "COMMAND": "true",
    "PID": "1",
    "SHELL": "bash",
    "REF": "1",
    "FOLDER": "out",
    "NUMBER": "1",
}
HOSTILE = {"not UTF-8": "caf\udcc3\udcff", "controls": "\x1b[31m\u202egpj\n\r\tx", "empty": ""}


def _walk(
    words: list[str], command: click.Command
) -> Iterator[tuple[list[str], click.Parameter | None, click.Command]]:
    """Every command that can be typed with each of its parameters, and each group with a word that
    is no command.
    """
    if isinstance(command, click.Group):
        context = click.Context(command)
        yield words, None, command
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _walk([*words, name], child)
        return
    for parameter in command.params:
        yield words, parameter, command


def _argv(
    words: list[str], parameter: click.Parameter | None, command: click.Command, text: str
) -> list[str]:
    """The command line with this text for one parameter, and what is needed for the others."""
    options, arguments = [], []
    for each in command.params:
        hostile = each is parameter
        if isinstance(each, click.Option):
            if hostile and not each.is_flag:
                options += [f"{max(each.opts, key=len)}={text}"]
            elif each.required and not hostile:
                options += [each.opts[0], "out.svg"]
        elif hostile:
            arguments.append(text)
        elif each.required:
            arguments.append(
                NEEDED.get(
                    each.make_metavar(click.Context(command)).strip("[].").split("|")[0], "build"
                )
            )
    return [*words, *options, *([text] if parameter is None else []), "--", *arguments]


CASES = [
    pytest.param(
        words,
        parameter,
        command,
        id=f"{' '.join(words)} {parameter.opts[0] if parameter else 'COMMAND'}",
    )
    for words, parameter, command in _walk([], main.group)
    if parameter is None or not getattr(parameter, "is_flag", False)
]


@pytest.fixture(scope="module")
def db(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("warehouse") / "elsa.db"))
    with closing(database.open_for_writing(path)) as connection:
        connection.execute("insert into host values (1, 'm', 'h')")
        connection.execute("insert into boot values (1, 1, 'b', 0, null, 4000000)")
        connection.execute(
            """insert into job (id, boot_id, name, owner_uid, created_at_ns, closed_at_ns,
                close_reason, closes_itself) values (1, 1, 'build', 0, 0, 5, 'ended', 0)"""
        )
        # As long as this connection is open, none of the commands is the last to close the file.
        yield path


@pytest.fixture(autouse=True)
def harmless(db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warehouse, no jobd, and nothing that begins or waits."""

    def unavailable(*_: object, **__: object) -> None:
        raise UnavailableError("not in this test")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELSA_DB", str(db))
    monkeypatch.setenv("ELSA_SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setenv("ELSA_ACCT_FILE", str(tmp_path / "pacct"))
    monkeypatch.setattr("elsa.host.checks.run", unavailable)
    monkeypatch.setattr("elsa.jobd.main.collect", unavailable)
    monkeypatch.setattr("elsa.cli.run._accountant", unavailable)
    monkeypatch.setattr("elsa.ingest.ingester.Ingester.follow", unavailable)
    with suppress(ModuleNotFoundError):  # the pages are an extra
        monkeypatch.setattr("elsa.web.server.serve", unavailable)


@pytest.mark.parametrize(("words", "parameter", "command"), CASES)
def test_no_argument_ends_in_a_traceback_or_reaches_the_terminal(
    words: list[str],
    parameter: click.Parameter | None,
    command: click.Command,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for kind, text in HOSTILE.items():
        monkeypatch.setattr(sys, "argv", ["elsa", *_argv(words, parameter, command, text)])
        with pytest.raises(SystemExit) as ended:
            main.run(main.group, "elsa")
        written = capfd.readouterr()
        assert ended.value.code in (0, 1, 2, 65, 66, 69, 75, 77, 78), kind
        assert "Traceback" not in written.err, kind
        assert all(line.isprintable() for line in written.err.split("\n")), (kind, written.err)
        if not isinstance(parameter, click.Argument) or words[-1:] != ["dump-acct"]:
            assert all(line.isprintable() for line in written.out.split("\n")), (kind, written.out)


def test_every_command_is_tried() -> None:
    tried = {" ".join(words) for words, parameter, _ in _walk([], main.group) if parameter}
    assert tried >= {"run", "job create", "report sa", "db tariff add"}
    assert len(CASES) > 200


def test_a_file_whose_name_is_not_utf_8_is_read_and_named_safely(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = "pacct-\udcff\x1b[31m"
    (tmp_path / name).write_bytes((Path(__file__).parents[2] / "data/sample.pacct").read_bytes())
    for arguments in (
        ["ingest", name],
        ["report", "dump-acct", name],
        ["report", "sa", name],
        ["report", "lastcomm", "-f", name],
    ):
        sys.argv = ["elsa", *arguments]
        with pytest.raises(SystemExit) as ended:
            main.run(main.group, "elsa")
        written = capfd.readouterr()
        assert (ended.value.code, written.err) == (0, ""), arguments
        assert "\x1b" not in written.out
        assert written.out


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("db prune --events never", "--events"),
        ("db prune --processes never", "--processes"),
        ("db tariff add --from soon --currency EUR", "--from"),
        ("db tariff add --from 2026-11-01", "--currency"),
        ("db tariff add --currency EUR", "--from"),
        ("db tariff add --from 2026-11-01 --currency EUR --cpu-hour dear", "--cpu-hour"),
        ("db tariff add --from 2026-11-01 --currency EUR --factor funday,8-18,2", "--factor"),
        ("report hours --plot nothing", "--plot"),
        ("report hours --columns nothing", "--columns"),
        ("report users --sort nothing", "--sort"),
        ("report users --user nobody-here", "--user"),
        ("report users --group nobody-here", "--group"),
        ("report sa --user nobody-here", "--user"),
        ("report bill --as-of soon", "--as-of"),
        ("report jobs --since soon", "--since"),
        ("check --since soon", "--since"),
        ("job define late --command x --until soon", "--until"),
    ],
)
def test_an_error_names_the_option_that_was_given(
    line: str, option: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys,
        "argv",
        ["elsa", *(word.replace(",", " ") if "factor" in line else word for word in line.split())],
    )
    with pytest.raises(SystemExit) as ended:
        main.run(main.group, "elsa")
    assert ended.value.code in (2, 78)
    assert capfd.readouterr().err.startswith(f"elsa: {option}")
