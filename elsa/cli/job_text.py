"""What commands on jobs share: the argument JOB, the client, and how jobs and members are shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elsa import config
from elsa.control import protocol
from elsa.control.client import Client
from elsa.errors import ElsaError
from elsa.formats import local_time_ns
from elsa.kernel import accounts
from elsa.state.job_kinds import MANUAL
from elsa.text import cleaned

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

JsonObject = Mapping[str, Any]
# Commands that change a job, which nobody can do to an automatic job.
_MANUAL_ONLY = ("add", "remove", "close")


def ref_of(_ctx: click.Context, _param: click.Parameter, value: str) -> protocol.JobRef:
    """An id, if the text is digits: no name may be a number. Else a name."""
    return int(value) if value.isdecimal() and len(value) < 20 else value


def complete_job(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The open jobs, for completion in the shell; none if jobd does not answer at once."""
    from click.shell_completion import CompletionItem

    try:
        jobs = Client(
            config.load({"socket": ctx.params.get("socket")}).socket, timeout_s=0.5
        ).request("list")["jobs"]
    except ElsaError:
        return []
    if ctx.command.name in _MANUAL_ONLY:
        jobs = [job for job in jobs if job.get("kind", MANUAL) == MANUAL]
    key = "id" if incomplete.isdecimal() else "name"
    return [
        CompletionItem(str(job[key]), help=job_title(job))
        for job in jobs
        if str(job[key]).startswith(incomplete)
    ]


def client_of(socket: Path | None) -> Client:
    """The client of the jobd that answers on a socket, or on that of the settings."""
    return Client(config.load({"socket": socket}).socket)


def fields_of_kinds(kinds: tuple[str, ...]) -> dict[str, object]:
    """The field of a request that asks for these kinds; an older jobd does not know it."""
    return {"kinds": kinds} if kinds else {}


MEMBER = ("pid", "ppid", "command", "user", "member since")


def member_cells(member: JsonObject) -> tuple[object, ...]:
    """The cells of the columns MEMBER."""
    since = "birth" if member.get("from_birth") else time_text(member.get("since_at_ns"))
    return (
        member["pid"],
        member.get("ppid"),
        member.get("comm"),
        user_text(member.get("uid")),
        since,
    )


def job_title(job: JsonObject) -> str:
    """A job by its id and name."""
    return cleaned(f"job {job['id']} ({job['name']})")


def time_text(at_ns: int | None) -> str:
    """A real time on this host's clock; empty if there is none."""
    return local_time_ns(at_ns) if at_ns else ""


def user_text(uid: int | None) -> str:
    """The name of a user on this host; empty if it is not known."""
    return "" if uid is None else accounts.user(uid)
