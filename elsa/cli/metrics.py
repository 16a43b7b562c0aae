"""`elsa metrics`: what jobs and users have used, and how well jobd records, for Prometheus."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import click

from elsa import config
from elsa.cli import options
from elsa.errors import ConfigError, InputMissingError, UsageError
from elsa.kernel import safe_paths

# As in elsa.report, which is not imported, so that --help is fast.
_FORMATS = ("openmetrics", "text")
_NAMES = 200
# Of a new file: node_exporter runs as another user.
_MODE = 0o644
# A file of metrics is far smaller; what is larger is not ours.
_MOST_BYTES = 64 << 20


@click.command()
@click.option(
    "--textfile",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write this file, in the older text format, instead of stdout.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    help="Format on stdout: openmetrics if none is given.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=_NAMES,
    show_default=True,
    metavar="N",
    help=(
        "Give the first N names of each kind of job, and the first N users, counters of their own;"
        " later names share one."
    ),
)
@options.db
def metrics(*, textfile: Path | None, form: str | None, limit: int, db: Path | None) -> None:
    """Print metrics for Prometheus: counters of what each kind and name of job and each user has
    used, and gauges of how well jobd records.

    Counters count ended processes and what living processes have used so far, and never fall. With
    --textfile FILE that is also so if a record was corrected in between: no counter is written that
    is below what FILE has. FILE is replaced in one step; for the textfile collector of
    node_exporter its name ends in .prom.

    \b
    Examples:
      elsa metrics
      elsa metrics --textfile /var/lib/prometheus/node-exporter/elsa.prom
      elsa metrics --limit 50 --format text
    """
    if textfile is not None and form == "openmetrics":
        raise UsageError("--textfile: its collector reads the text format; leave out --format")
    from elsa.report import metrics as made
    from elsa.report.query import warehouse
    from elsa.report.render import openmetrics

    settings = config.load({"db": db})
    now_ns = time.time_ns()
    since_ns = made.counted_since(settings.keep_rollups, now_ns)
    with warehouse.reading(settings.db) as connection:
        families = made.metrics(connection, now_ns, since_ns, limit)
    if textfile is None:
        click.echo(openmetrics.text(families, form or "openmetrics"), nl=False)
        return
    risen = openmetrics.never_below(families, _read(textfile), made.SAME_COUNTERS)
    _replace(textfile, openmetrics.text(risen, "text"))


def _read(path: Path) -> str:
    """What a file of metrics has; nothing if there is none. Raises ElsaError."""
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: is no regular file; name another")
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            return file.read(_MOST_BYTES)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise safe_paths.translated(error, path) from error


def _own(descriptor: int, path: Path) -> None:
    """Give a file the mode of the one that it replaces, and its owner where this user may."""
    try:
        old = path.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, _MODE)
        return
    with suppress(PermissionError):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, old.st_mode & 0o777)


def _replace(path: Path, text: str) -> None:
    """Write a file in one step. Raises ElsaError."""
    if not path.absolute().parent.is_dir():
        raise InputMissingError(f"{path.parent}: no such folder; create it or name another")
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.absolute().parent, prefix=".elsa-")
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 (a descriptor)
            file.write(text)
            file.flush()
            _own(file.fileno(), path)
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise safe_paths.translated(error, path) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                Path(temporary).unlink()
