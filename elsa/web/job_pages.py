"""The pages of jobs, and of a single job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from flask import Response, request

from elsa.errors import UsageError
from elsa.report import compare, folded, jobs, runs, tree
from elsa.report.query import steps
from elsa.report.query.job_lookup import by_id
from elsa.report.query.selection import Selection
from elsa.report.query.times import Window
from elsa.report.query.warehouse import several_hosts
from elsa.report.render import flame
from elsa.report.render.output import Output
from elsa.report.timeline import report as timeline
from elsa.report.timeline.asked import Asked
from elsa.report.timeline.window import with_window
from elsa.text import printable
from elsa.web import asked, charts, tables
from elsa.web.asked import ROWS, Ask
from elsa.web.page import STEPS, Page, choices, download, of_fleet, opened, shown
from elsa.web.tables import Table

# The tree of more processes takes longer than a page should.
_MOST_IN_TREE = 20_000
_EARLIER = 20
_AGAINST_USUAL = "+cpu_usual_s,cpu_more_percent"
_WORSE_FIRST = "cpu_more_percent,cpu_s"


def latest_runs() -> str | Response:
    """The latest run of each name, those first that used more than usual."""
    chosen = choices("job", "kind", "user")
    if of_fleet():
        # All runs that many hosts ever had are more than a page has time for.
        chosen = asked.with_default(chosen, since="7d")
    output = asked.output(request.args, asked.FEW_ROWS, _AGAINST_USUAL)
    ask = Ask("runs", chosen, replace(output, sort=output.sort or _WORSE_FIRST))
    # What the command takes where neither is given.
    usual = {} if chosen.keys() & {"kind", "job"} else {"kind": ("automatic",)}
    whole = replace(ask, asked=chosen | usual)
    with opened(whole) as page:
        selection = page.resolve_jobs(whole)
        report = runs.runs(page.connection, selection, ask.output)
        if ask.output.form != "table":
            return download(ask, report)
        made = page.table(ask, report, "Latest run of each name")
        return shown(page, "table.html", selection.window, table=made)


def all_jobs() -> str | Response:
    """All jobs, the newest first."""
    chosen = choices("job", "kind", "user", "state", "exit", "tag")
    ask = Ask("jobs", chosen, asked.output(request.args, asked.FEW_ROWS))
    with opened(ask) as page:
        selection = page.resolve_jobs(ask)
        report = jobs.jobs(page.connection, selection, ask.output)
        if ask.output.form != "table":
            return download(ask, report)
        made = page.table(ask, report, "All jobs")
        return shown(page, "table.html", selection.window, table=made)


class NoJobError(UsageError):
    """There is no job with the id in the address."""


class Job(NamedTuple):
    """The job of a page."""

    id: int
    selection: Selection
    found: jobs.JobReport
    values: dict[str, Any]


@contextmanager
def _job(job_id: int) -> Iterator[tuple[Page, Job]]:
    with opened(_ask(job_id)) as page:
        # In this address a number is an id, also where a job has it as its name.
        if by_id(page.connection, str(job_id)) is None:
            raise NoJobError(f"there is no job {job_id}, or it is not yours to see")
        selection = Selection(jobs=(job_id,), apart=several_hosts(page.connection))
        selection = page.ready(selection)
        found = jobs.job(page.connection, selection, Output())
        values = dict(zip(found.columns, found.row, strict=True))
        links = page.links.keeping(job=str(job_id), since=asked.ALWAYS)
        yield page._replace(links=links), Job(job_id, selection, found, values)


def _ask(job_id: int) -> Ask:
    return Ask("job", {}, Output(), (str(job_id),), usual=None)


def _shown(page: Page, template: str, window: Window, job: Job, **values: object) -> str:
    """A page of one job."""
    losses = job.values["gaps"] + job.values["usage_gaps"]
    title = printable(job.values["name"])
    of_job = {
        "title": title,
        "runs": _runs(job.values),
        "processes": None if of_fleet() else page.links.kept,
    }
    return shown(page, template, window, job.selection, losses, job=job, **of_job, **values)


def _runs(values: dict[str, Any]) -> dict[str, str]:
    """What chooses all runs of the name of a job."""
    host = {"host": asked.just(values["host"])} if of_fleet() else {}
    return host | {"job": f"{values['kind']}:{asked.name(values['name'])}"}


def one_job(job_id: int) -> str:
    """What a job cost, in all and by command, against earlier runs."""
    ask = _ask(job_id)
    with _job(job_id) as (page, job):
        found = job.found
        figures = [
            (tables.heading(key), tables.cell(key, job.values[key], page.links, {}))
            for key in jobs.shown_of_job(found)
        ]
        commands = replace(found.commands, shown=jobs.commands_shown(found), words=[])
        return _shown(
            page,
            "job.html",
            Window(),
            job,
            figures=figures,
            command=ask.command(page.settings.command_db),
            notes=tables.on_page(found.words),
            commands=page.part(ask, commands, "By command", "commands"),
            # Of a fleet, the commands of other runs are not known.
            earlier=None if of_fleet() else _earlier(page, job),
        )


def job_over_time(job_id: int) -> str:
    """CPU, memory and I/O of a job over time."""
    with _job(job_id) as (page, job):
        ask = Ask("timeline", {"job": (str(job.id),)}, Output())
        query = Asked(most=STEPS)
        chosen = with_window(page.connection, job.selection, query, page.now_ns, whole=True)
        made, drawn = timeline.report(page.connection, chosen, query, Output(), memory=True)
        ask = replace(ask, options=(("step", steps.name(drawn.length_s)),))
        found = [
            charts.chart(made, key, title)
            for key, title in (
                ("cpus", "CPUs in use"),
                ("resident_kib", "Resident memory"),
                ("read_bytes_s", "Read from storage per second"),
                ("write_bytes_s", "Written to storage per second"),
            )
        ]
        return _shown(
            page,
            "job_time.html",
            chosen.window,
            job,
            charts=[chart for chart in found if chart is not None],
            steps=page.steps(ask, made, "Over time"),
        )


def job_tree(job_id: int) -> str:
    """The processes of a job as a flame graph and as a tree."""
    with _job(job_id) as (page, job):
        ask = Ask("tree", {}, Output(limit=ROWS), (str(job.id),))
        made = None
        if job.values["processes"] <= _MOST_IN_TREE:
            report = tree.tree(
                page.connection, job.selection, ask.output, folding=True, blocks=True
            )
            made = page.part(ask, report, "Tree", "tree")
        return _shown(
            page,
            "job_tree.html",
            Window(),
            job,
            tree=made,
            flame=_flame_command(page, job),
            command=ask.command(page.settings.command_db),
        )


def _earlier(page: Page, job: Job) -> Table | None:
    """The latest run of a name against the runs before it; None for other jobs."""
    name = f"{job.values['kind']}:{job.values['owner']}:{job.values['name']}"
    try:
        sides, _ = compare.sides(page.connection, [name], _EARLIER + 1)
    except UsageError:
        return None  # there is no other run
    if sides[-1].jobs != (job.id,):
        return None
    ask = Ask("compare", {}, Output(), (name,), (("runs", str(_EARLIER + 1)),))
    found = compare.compare(page.connection, sides, Output())
    report = replace(found.measures, words=compare.too_few(sides[0]))
    return page.part(ask, report, "Against earlier runs", "earlier")


def _flame_command(page: Page, job: Job) -> str:
    ask = Ask("flame", {}, Output(), (str(job.id),), (("output", "job.svg"),), usual=None)
    return ask.command(page.settings.command_db)


def flame_graph(job_id: int) -> Response:
    """A job as a flame graph: a picture of its own, in which its script may run."""
    with _job(job_id) as (page, job):
        if job.values["processes"] > _MOST_IN_TREE:
            raise UsageError(
                "this job has too many processes for a picture on a page; draw it with:"
                f" {_flame_command(page, job)}"
            )
        frames = folded.frames(tree.load(page.connection, job.selection)[0], "cpu")
        title = tree.title(page.connection, job.selection, None)
        picture = "\n".join(flame.draw(frames, title, "cpu"))
    answer = Response(picture, mimetype="image/svg+xml")
    answer.headers["Content-Security-Policy"] = f"{flame.policy()}; frame-ancestors 'none'"
    return answer
