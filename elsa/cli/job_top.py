"""`elsa job top`: what jobs use now, on a screen that refreshes itself."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elsa.cli import options
from elsa.cli.job_text import (
    MEMBER,
    JsonObject,
    client_of,
    complete_job,
    fields_of_kinds,
    job_title,
    member_cells,
    ref_of,
    user_text,
)
from elsa.cli.main import Command
from elsa.control import protocol
from elsa.text import cleaned

if TYPE_CHECKING:
    from elsa.run.live_usage import Running

# The width at which notes of `top` are wrapped in a pipe, where there is no terminal.
LONGEST_LINE = 1000


def _ref_or_all(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> protocol.JobRef | None:
    return None if value is None else ref_of(ctx, param, value)


@click.command(cls=Command)
@click.argument(
    "ref", metavar="[JOB]", required=False, callback=_ref_or_all, shell_complete=complete_job
)
@click.option(
    "--every",
    type=click.FloatRange(0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to refresh.",
)
@options.kinds
@options.socket
def top(
    ref: protocol.JobRef | None, every: float, kinds: tuple[str, ...], socket: Path | None
) -> None:
    """Watch what a job uses now, or all open jobs: most CPU first, until q or Ctrl-C. In a pipe,
    print once.

    `cpus` is how many CPUs were busy with it since the last refresh. A note names the columns that
    do not fit on the terminal.

    \b
    Examples:
      elsa job top
      elsa job top --kind service,container
      elsa job top night --every 5
    """
    import textwrap

    from elsa.cli import live, tables
    from elsa.kernel.procfs import Procfs
    from elsa.run.live_usage import read_job, read_jobs

    client, procfs, rates = client_of(socket), Procfs(), live.Rates()

    def fit(headers: Sequence[str], rows: Sequence[Sequence[Any]], width: int | None) -> list[str]:
        return tables.lines(
            headers,
            rows,
            right=live.NUMBERS,
            room=width,
            least_important=live.LEAST_IMPORTANT,
        )

    def folded(notes: Iterable[str], width: int | None) -> list[str]:
        return [
            line for note in notes for line in textwrap.wrap(cleaned(note), width or LONGEST_LINE)
        ]

    def one_job(width: int | None) -> Sequence[str]:
        assert ref is not None  # noqa: S101
        now = read_job(client, procfs, ref, protocol.MAX_MEMBERS)
        running = [(member, process) for member, process in now.members if process is not None]
        cpu_s = {member["process_id"]: process.usage.cpu_s or 0.0 for member, process in running}
        rate = rates.next(cpu_s, time.monotonic())

        def most_cpu_first(pair: tuple[JsonObject, Running]) -> tuple[float, float]:
            key = pair[0]["process_id"]
            return -(rate[key] or 0), -cpu_s[key]

        rows = [
            (_rate(rate[member["process_id"]]), *member_cells(member), *live.usage_cells(process))
            for member, process in sorted(running, key=most_cpu_first)
        ]
        members = fit(("cpus", *MEMBER, *live.USAGE), rows, width)
        summary = fit(live.SUMMARY, live.summary(now), width)
        notes = folded(live.notes(now), width)
        return [job_title(now.job), "", *summary, "", *notes, *members]

    def all_jobs(width: int | None) -> Sequence[str]:
        ids = [job["id"] for job in client.request("list", **fields_of_kinds(kinds))["jobs"]]
        jobs = read_jobs(client, procfs, ids, protocol.MAX_MEMBERS)
        cpu_s = {now.job["id"]: (now.together or now.running).cpu_s or 0.0 for now in jobs}
        rate = rates.next(cpu_s, time.monotonic())
        jobs.sort(key=lambda now: (-(rate[now.job["id"]] or 0), -cpu_s[now.job["id"]]))
        rows = [
            (
                now.job["id"],
                now.job["name"],
                now.job.get("kind"),
                user_text(now.job["owner_uid"]),
                _rate(rate[now.job["id"]]),
                *kind,
            )
            for now in jobs
            for kind in live.summary(now)
        ]
        table = fit(
            ("id", "name", "kind", "user", "cpus", "members", *live.SUMMARY[1:]), rows, width
        )
        notes = folded(live.precision(jobs), width)
        return [*table, *notes] if rows else ["no open jobs"]

    live.refresh(all_jobs if ref is None else one_job, every)


def _rate(cpus: float | None) -> str:
    return "-" if cpus is None else f"{cpus:.2f}"
