"""`elsa report tree` and `flame`: the process tree, and what each branch cost."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elsa.cli import complete, options
from elsa.cli.options import Function
from elsa.cli.report.group import report
from elsa.cli.report.request import Request, blocks, say
from elsa.cli.report.shared_options import PROCESS_CHOICES, choices, reports, selecting
from elsa.errors import RetryError

if TYPE_CHECKING:
    import sqlite3

    from elsa.report.folded import Frame
    from elsa.report.query.selection import Selection

CHOICES = tuple(kind for kind in PROCESS_CHOICES if kind not in ("job", "pid"))
# As in elsa.report.folded, which is not imported, so that --help is fast.
WEIGHTS = ("cpu", "io", "wall")


@report.command()
@click.argument("target", metavar="[JOB|PID]", required=False, shell_complete=complete.jobs)
@click.option(
    "--no-fold",
    is_flag=True,
    help="One line per process, also for siblings that are alike.",
)
@click.option(
    "--collapsed",
    type=click.Choice(WEIGHTS),
    is_flag=False,
    flag_value="cpu",
    help=(
        "Write folded stacks for flame graph tools: CPU time and wall time in us, I/O in bytes."
        "  [default: cpu]"
    ),
)
@reports(*CHOICES, sort=False)
def tree(*, target: str | None, no_fold: bool, collapsed: str | None, request: Request) -> None:
    """The process tree of a job, or of a process and its descendants: what each process cost, and
    each whole branch.

    A number is the id of a job, or a pid if there is no such job; pid:4711 is always a pid. Of
    several jobs with one name, the latest is meant; nightly#-2 is the run before it. Most CPU
    first. Siblings with the same command that look alike share a line, as in "sh x 120". A process
    whose parent is not in the job has no indentation.

    With a window: only processes that ended in it. With a window or another choice of processes
    JOB may be left out: the trees of the whole host.

    \b
    Examples:
      elsa report tree build
      elsa report tree --since 03:00 --until 03:30
      elsa report tree build --user anna --day yesterday
      elsa report tree nightly#-2
      elsa report tree pid:4711 --no-fold
      elsa report tree build --collapsed cpu > build.folded
      elsa report tree build --format json
    """
    from elsa.report import tree as made

    words: list[str] = []
    with request.printing() as (connection, out):
        selection, words = made.chosen(connection, target, request.selection(connection))
        if request.explain:
            out.write(made.query(selection).readable() + "\n")
        elif collapsed is not None:
            from elsa.report import folded

            frames, more = _frames(connection, selection, collapsed)
            words += more
            out.writelines(f"{line}\n" for line in folded.lines(frames))
        else:
            from elsa.report.render import writer

            result = made.tree(
                connection, selection, request.output, folding=not no_fold, blocks=blocks()
            )
            with request.json_object(
                out, selection.window, words, result.shown, result.completeness
            ):
                count = writer.write(result, request.output, out)
                words += result.words if count else [result.nothing(), *result.words]
    say(words)


def _picking(function: Function) -> Function:
    """The options that choose processes, and --db."""
    for add in reversed([*selecting(CHOICES), options.db]):
        function = add(function)
    return function


@report.command()
@click.argument("target", metavar="[JOB|PID]", required=False, shell_complete=complete.jobs)
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    required=True,
    help="The SVG file to write, - for stdout.",
)
@click.option(
    "--by",
    "weight",
    type=click.Choice(WEIGHTS),
    default="cpu",
    show_default=True,
    help="What the width of a bar shows.",
)
@click.option("--title", help="The heading.  [default: the job's name]")
@_picking
def flame(
    *,
    target: str | None,
    path: Path,
    weight: str,
    title: str | None,
    db: Path | None,
    **given: Any,  # noqa: ANN401
) -> None:
    """Draw the process tree of a job as a flame graph: each command is above the command that
    started it, and as wide as its cost. JOB and the
    choices are as for elsa report tree.

    In a browser a click on a bar zooms to it, Search marks the commands that match a regular
    expression and adds up their share, and Reset shows all again.

    \b
    Examples:
      elsa report flame build -o build.svg
      elsa report flame 12 --by io -o io.svg
      elsa report flame pid:4711 -o - > 4711.svg
      elsa report flame --since 03:00 --until 03:30 -o night.svg
    """
    from elsa import config
    from elsa.report import tree as trees
    from elsa.report.query import warehouse
    from elsa.report.query.options import resolve
    from elsa.report.render import flame as made

    with warehouse.reading_allowed(config.load({"db": db}).db) as connection:
        say(warehouse.notes(connection))
        asked = choices(given, CHOICES)
        now = datetime.now().astimezone()
        selection, words = trees.chosen(connection, target, resolve(connection, asked, now))
        top, more = _frames(connection, selection, weight)
        heading = trees.title(connection, selection, target) if title is None else title
    if not top.total:
        more.append(f"nothing is known of the {weight} of {heading}: the picture is empty")
    say([*words, *more])
    lines = (f"{line}\n" for line in made.draw(top, heading, weight))
    if path == Path("-"):
        # UTF-8 in every locale, as the first line of the SVG says.
        sys.stdout.buffer.write("".join(lines).encode())
        return
    try:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(lines)
    except OSError as error:
        raise RetryError(f"{path}: the picture cannot be written: {error.strerror}") from None


def _frames(
    connection: sqlite3.Connection, selection: Selection, weight: str
) -> tuple[Frame, list[str]]:
    """The frames of a selection, and notes on them."""
    from elsa.report import completeness, exactness, folded, tree

    words = completeness.pruned(connection, selection) + (
        exactness.of_each(connection, ("cpu_s",)) if weight == "cpu" else []
    )
    processes, _ = tree.load(connection, selection)
    return folded.frames(processes, weight), words
