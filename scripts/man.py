"""Man pages out of the commands' own help: `python scripts/man.py FOLDER` writes them, and a wheel
has them in share/man (scripts/build_hook.py).

One page per command, elsa-report-sa.1 and so on. What the help of a command says is all that is
needed: its first sentence is the name line, a block that begins with "Example" becomes the
examples, other blocks and paragraphs the description.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the package itself may not be installed while its wheel is built

import click  # noqa: E402

from elsa import __version__, errors  # noqa: E402
from elsa.cli import main  # noqa: E402


def write(folder: Path) -> list[Path]:
    """Write every page into a folder, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for words, context in commands():
        path = folder / f"{'-'.join(words)}.1"
        path.write_text(page(words, context))
        paths.append(path)
    return paths


def commands() -> Iterator[tuple[list[str], click.Context]]:
    """Every command that may be typed, as its words, parents first."""

    def below(
        words: list[str], command: click.Command
    ) -> Iterator[tuple[list[str], click.Context]]:
        context = click.Context(command, info_name=" ".join(words))
        yield words, context
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                if child is not None and not child.hidden:
                    yield from below([*words, name], child)

    yield from below(["elsa"], main.group)


def page(words: list[str], context: click.Context) -> str:
    """The man page of one command."""
    first, *blocks = _blocks(context.command.help or "")
    name = re.split(r"[.?:](?:\s|$)", " ".join(first), maxsplit=1)[0]
    examples = [block for block in blocks if block[0].startswith("Example")]
    parts = [
        (
            f'.TH "{"-".join(words).upper()}" 1 "" "ELSA {__version__}" "Enhanced Linux System'
            ' Accounting"'
        ),
        ".nh",
        ".ad l",
        *(".SH NAME", f"{'-'.join(words)} {_DASH} {_roff(name[:1].lower() + name[1:])}"),
        *(
            ".SH SYNOPSIS",
            f".B {_roff(' '.join(words))}",
            _roff(" ".join(context.command.collect_usage_pieces(context))),
        ),
        ".SH DESCRIPTION",
        *(line for block in [first, *blocks] if block not in examples for line in _block(block)),
        *_children(words, context),
        *_options(context),
        *(
            line
            for block in examples
            for line in (".SH EXAMPLES", ".nf", *map(_roff, block[1:]), ".fi")
        ),
        *_exit_status(),
        *_see_also(words),
    ]
    return "\n".join(parts) + "\n"


_DASH = r"\-"


def _blocks(text: str) -> list[list[str]]:
    """The paragraphs of a help text, as lines; those that click must not rewrap keep their form."""
    blocks: list[list[str]] = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        lines = paragraph.rstrip().split("\n")
        if lines[0].strip() == "\b":
            blocks.append([lines[1].strip(), *lines[2:]])
        else:
            blocks.append([line.strip() for line in lines])
    return blocks


def _block(lines: list[str]) -> Iterator[str]:
    """A paragraph; its indented lines stay lines."""
    yield ".PP"
    for indented, group in groupby(lines, lambda line: line.startswith(" ")):
        text = map(_roff, group)
        yield from (".nf", *text, ".fi") if indented else text


def _children(words: list[str], context: click.Context) -> Iterator[str]:
    if not isinstance(context.command, click.Group):
        return
    yield ".SH COMMANDS"
    for name in context.command.list_commands(context):
        child = context.command.get_command(context, name)
        if child is not None and not child.hidden:
            yield from (
                ".TP",
                rf"\fB{_roff('-'.join([*words, name]))}\fR(1)",
                _roff(child.get_short_help_str(limit=200)),
            )


def _options(context: click.Context) -> Iterator[str]:
    yield ".SH OPTIONS"
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            yield from (".TP", rf"\fB{_roff(record[0])}\fR", _roff(record[1]))


def _exit_status() -> Iterator[str]:
    """The exit codes that all commands share, in the words of the errors that have them."""
    yield from (
        ".SH EXIT STATUS",
        ".TP",
        "0",
        "All went well.",
        ".TP",
        str(errors.EXIT_FAILURE),
        "It failed for another reason than these.",
    )
    for error in errors.ElsaError.__subclasses__():
        yield from (".TP", str(error.exit_code), _roff((error.__doc__ or "").strip()))


def _see_also(words: list[str]) -> Iterator[str]:
    if len(words) > 1:
        yield from (".SH SEE ALSO", rf"\fB{_roff('-'.join(words[:-1]))}\fR(1)")


def _roff(text: str) -> str:
    """Text that roff prints as it is."""
    text = (
        text.replace("\\", r"\e")
        .replace("-", r"\-")
        .replace("'", r"\(aq")
        .replace("`", r"\(ga")
        .replace("^", r"\(ha")
        .replace("~", r"\(ti")
    )
    text = "".join(
        character if character.isascii() else rf"\[u{ord(character):04X}]" for character in text
    )
    return rf"\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    for written in write(Path(sys.argv[1])):
        print(written)
