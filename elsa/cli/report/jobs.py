"""`elsa report jobs`, `job`, `runs`, `kinds` and `compare`: what jobs cost, and how it changed."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elsa import config
from elsa.cli import complete
from elsa.cli.report.group import report
from elsa.cli.report.request import Request, say
from elsa.cli.report.shared_options import reports
from elsa.errors import ElsaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.report.jobs import JobReport
    from elsa.report.query.selection import Selection

# How long to wait for jobd for the live usage of a job, and for how many members to ask.
LIVE_TIMEOUT_S = 3.0
MOST_LIVE = 1000


@report.command()
@reports("host", "job", "user", "exit", "state", "tag", "kind", "cgroup", of_jobs=True, clip=True)
def jobs(*, request: Request) -> None:
    """Every job with what it cost, the newest first: manual and automatic jobs.

    With a window: the jobs of which processes ended in it, with what those processes used. When a
    job started, its wall time, state, exit and completeness are always those of the whole job.

    \b
    Examples:
      elsa report jobs --limit 10
      elsa report jobs --kind manual --limit 10
      elsa report jobs --kind cron --since yesterday      did the cron jobs work?
      elsa report jobs --kind service,cron --since today --sort -cpu_s
      elsa report jobs --state failed --user anna
      elsa report jobs --job 'night*' --sort -cpu_s --columns name,cpu_s,tags%30
      elsa report jobs --since today --format json
    """
    from elsa.report import jobs as made

    request.show(
        lambda connection, selection: [made.query(connection, selection, request.output)[0]],
        lambda connection, selection: made.jobs(connection, selection, request.output),
    )


@report.command()
@click.argument("job", shell_complete=complete.jobs)
@click.option("--summary", type=click.Choice(["ja"]), help="Totals only: those of CSA's ja.")
@reports("host", clip=True)
def job(*, job: str, summary: str | None, request: Request) -> None:
    """What a job cost in total and by command (csv, tsv, parsable and --columns: total only).

    JOB is an id or a name. Of several jobs with one name, the latest is meant, with --host the
    latest of that host; nightly#-2 is the run before it, nightly#1 the first. With a window: what
    its processes cost that ended in it. With --summary ja: span, CPU time, memory integrals and
    peaks, transfers, delays and billing units.

    \b
    Examples:
      elsa report job build
      elsa report job nightly#-2
      elsa report job build --summary ja
      elsa report job 12 --format json
      elsa report job 12 --columns name,cpu_s,rss_kib --format parsable
      elsa report job build --since yesterday --until today
    """
    from elsa.report import completeness
    from elsa.report import jobs as made
    from elsa.report import summary as totals
    from elsa.report.collector_status import late
    from elsa.report.query.job_lookup import latest

    running: int | None = None
    request = replace(request, job=job, by=summary)
    with request.printing() as (connection, out):
        number, said = latest(connection, job, request.asked["host"])
        request = replace(request, asked=request.asked | {"host": ()})
        selection = request.choosing(job=(str(number),)).selection(connection)
        selection = request.ready(connection, selection)
        if request.explain:
            out.write(_explained(selection, request, summary=summary is not None))
            return
        write: Callable[[], None]
        if summary:
            total = totals.summary(connection, selection)
            words, columns = total.words, totals.COLUMNS
            write = partial(totals.write, total, request.output, out)
        else:
            found = made.job(connection, selection, request.output)
            words, columns = found.words, found.columns
            write = partial(made.write_job, found, request.output, out)
            if not request.is_of_fleet(connection) and _shows_running(found, selection, request):
                running = number
        facts = request.facts(
            connection, partial(completeness.facts, connection, selection, "rollup_job")
        )
        with request.json_object(out, selection.window, words, columns, facts, "job"):
            write()
            words += late(connection, selection, time.time_ns())
            words += said
    say(words)
    if running is not None:
        _show_live(request.path, running)


@report.command()
@reports("host", "job", "user", "tag", "kind", "cgroup", of_jobs=True)
def runs(*, request: Request) -> None:
    """The last run by name, kind, owner and host of services, sessions, cron jobs, containers and
    all other automatic jobs, most CPU first, and how many runs there were.

    With --since or --until: the last of the runs that were there in that window; its figures are
    those of the whole run. With --kind manual: manual jobs.

    \b
    Examples:
      elsa report runs
      elsa report runs --kind service --since today
      elsa report runs --kind service --columns +grown --sort grown
      elsa report runs --columns +cpu_more_percent --sort cpu_more_percent
      elsa report runs --kind cron --sort started_at
      elsa report runs --kind session --user anna
      elsa report runs --job 'cron/root/*' --columns name,runs,cpu_s --format csv
    """
    from elsa.report import runs as made

    if not request.asked["kind"] and not request.asked["job"]:
        request = request.choosing(kind=("automatic",))
    request.show(
        lambda _, selection: [made.query(selection, request.output)[0]],
        lambda connection, selection: made.runs(connection, selection, request.output),
    )


@report.command()
@reports("host")
def kinds(*, request: Request) -> None:
    """What the automatic jobs of each kind used, and what was in none: this adds up to everything
    on the host.

    A process is in at most one automatic job at a time; if it moved to another, its usage is
    divided. Manual jobs share processes with automatic jobs, so they are not in these lines.

    With a window: what processes used in it, in jobs of each kind, and how many ended in it.
    Figures that are known only at the end of a process, such as elapsed time, are left out then.

    \b
    Examples:
      elsa report kinds
      elsa report kinds --month last
      elsa report kinds --columns +host           by host, where there are several
      elsa report kinds --columns kind,jobs,cpu_s,major_faults --format csv
    """
    from elsa.report import kinds as made

    request.show(
        lambda connection, selection: made.queries(connection, selection, request.output)[0],
        lambda connection, selection: made.kinds(connection, selection, request.output),
    )


@report.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=complete.jobs)
@click.option(
    "--runs", type=click.IntRange(min=1), metavar="N", help="Only the last N runs of each name."
)
@click.option(
    "--fail-on",
    multiple=True,
    metavar="FIGURE:+PERCENT%",
    help=(
        "Exit with 1 if the last side is that much larger than the first, and outside its spread:"
        " cpu:+20%,peak:+10%. Without 5 runs on the first side there is no verdict: that is said,"
        " and the exit code is 0. The runs of a side must have one kind, owner and host."
    ),
)
@reports("host", "user", "tag", "kind", of_jobs=True, sort=False, rows=10)
def compare(
    *, jobs: tuple[str, ...], runs: int | None, fail_on: tuple[str, ...], request: Request
) -> None:
    """Compare jobs: wall and CPU time, peak memory, I/O, what got worse, and through which
    commands.

    Each JOB is an id, a name or glob for all runs with that name, or one run of it, as in
    nightly#-2. All others are compared with the first. With a single name, its last run is compared
    with the earlier runs. Several runs are shown as median and 95th percentile. The runs of a name
    have one kind, owner and host: those of the latest; service:nginx, anna:nightly and
    manual:anna:nightly choose others.

    With a window, --user and so on: only the runs of names that started in the window or match. A
    verdict needs 5 runs on the first side.

    \b
    Examples:
      elsa report compare 12 15
      elsa report compare nightly
      elsa report compare nightly#-2 nightly#-1
      elsa report compare nightly --since 'last month'
      elsa report compare nightly --fail-on cpu:+20%,peak:+10%
      elsa report compare 'build-main-*' 'build-branch-*' --runs 20
      elsa report compare nightly --format json
    """
    from elsa.report import compare as made
    from elsa.report import completeness, gates
    from elsa.report.query.selection import Selection

    words: list[str] = []
    failed: list[str] = []
    asked = gates.gates(fail_on)
    with request.printing() as (connection, out):
        selection = request.selection(connection)
        sides, others = made.sides(connection, jobs, runs, selection, gated=bool(asked))
        if request.explain:
            out.write("\n\n".join(query.readable() for query in made.queries(sides)) + "\n")
            return
        found = made.compare(connection, sides, request.output)
        words = found.words
        failed, without = gates.judge(asked, sides[0], sides[-1], found.figures)
        words[:0] = [*others, *(without if asked else made.too_few(sides[0]))]
        key = "rows" if request.output.columns else "comparison"
        chosen = Selection(jobs=tuple(number for side in sides for number in side.jobs))
        facts = partial(completeness.facts, connection, chosen)
        columns = () if request.output.columns else found.commands.shown
        with request.json_object(out, selection.window, words, columns, facts, key):
            made.write(found, request.output, out)
    say(words)
    if failed:
        raise ElsaError("; ".join(failed))


def _explained(selection: Selection, request: Request, *, summary: bool) -> str:
    """The SQL of a report on a single job."""
    from elsa.report import jobs as made
    from elsa.report import summary as totals
    from elsa.report import usage

    if summary:
        return totals.query(selection).readable() + "\n"
    commands, _ = usage.query(usage.COMMANDS, selection, request.output)
    return f"{made.job_query(selection).readable()}\n\n{commands.readable()}\n"


def _shows_running(found: JobReport, selection: Selection, request: Request) -> bool:
    """Whether the live usage of a job is shown too."""
    if request.output.form != "table" or request.output.columns is not None or selection.window:
        return False
    values = dict(zip(found.columns, found.row, strict=True))
    return bool(values["running"]) and values["state"] == "open"


def _show_live(path: Path, job_id: int) -> None:
    """Show what the running members used so far and what the finished members used; nothing if jobd
    does not answer.
    """
    from elsa.cli import live as show
    from elsa.cli import tables
    from elsa.control.client import Client
    from elsa.kernel.procfs import Procfs
    from elsa.kernel.safe_paths import same_file
    from elsa.run.live_usage import read_job

    client = Client(config.load().socket, LIVE_TIMEOUT_S)
    try:
        if not same_file(path, client.warehouse()):
            return  # jobd has another warehouse, in which other jobs have these ids
        now = read_job(client, Procfs(), job_id, MOST_LIVE)
    except ElsaError as error:
        say([f"what the running processes use so far is unknown: {error}"])
        return
    table = tables.lines(
        show.SUMMARY,
        show.summary(now),
        right=show.NUMBERS,
        room=tables.terminal_width(),
        least_important=show.LEAST_IMPORTANT,
    )
    click.echo("\n" + "\n".join(table))
    say(show.notes(now))
