"""Defines a job after the fact: selects its members and stores them, with or without a jobd.

A user who may write the warehouse runs this in his own process. For other users jobd runs this
module as a program (elsa/jobd/helper_programs.py), which reads an order from stdin and writes the
reply, a line of the protocol, to stdout; so jobd receives events however long it takes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elsa.control import protocol
from elsa.control.client import Client
from elsa.errors import ElsaError, RetryError
from elsa.kernel import clocks
from elsa.progress import Progress, no_progress
from elsa.state.criteria import Criteria
from elsa.store import database, defined_jobs

# The error for a client in another pid namespace that selects by pid.
FOREIGN = (
    "recorded processes have the host's pids, and you are in another pid namespace: define the job"
    " from the host, or by --command (or --where, in which pid is the host's)"
)


@dataclass(frozen=True)
class Order:
    """A job to be defined."""

    db: str
    socket: str | None
    """The socket of the jobd that keeps this warehouse; None: no jobd runs."""
    name: str
    tags: Mapping[str, str]
    owner_uid: int
    only_uid: int | None
    """The user whose processes may be members; None: processes of all users."""
    selection: Criteria
    dry_run: bool
    limit_s: int
    """How long the search with a condition may take."""


def define(order: Order, progress: Progress = no_progress) -> dict[str, Any]:
    """Find the selected processes and make them a job. Returns the reply to the request `define`:
    the job (None after a dry run), and what was found.
    """
    db = Path(order.db)
    client = Client(Path(order.socket)) if order.socket is not None else None
    if client is not None:
        client.request("sync")  # so that all that happened before the order is recorded
    opened = database.open_for_reading(db) if order.dry_run else database.open_for_writing(db)
    with database.translated(db), closing(opened) as connection:
        found = defined_jobs.find(connection, db, order.selection, order.only_uid, order.limit_s)
        job = None
        if not order.dry_run:
            job = _reserve(client, order, found.boot_id, connection)
            members = defined_jobs.fill(connection, job["id"], found, progress)
            found = found._replace(processes=members)
    return {"job": job, "found": defined_jobs.describe(found)}


def _reserve(
    client: Client | None, order: Order, boot_id: int, connection: sqlite3.Connection
) -> dict[str, Any]:
    """The job, without members, as the protocol shows it. If a jobd runs, it chooses the id."""
    if client is not None:
        reply = client.request(
            "reserve", name=order.name, tags=dict(order.tags), owner_uid=order.owner_uid
        )
        if reply.get("committed") is False:
            raise RetryError(f"the job could not be stored: {reply.get('why')}; try again later")
        return dict(reply["job"])
    now_at_ns = clocks.realtime_ns()
    job_id = defined_jobs.reserve(
        connection, Path(order.db), boot_id, order.name, order.owner_uid, order.tags, now_at_ns
    )
    return {
        "id": job_id,
        "name": order.name,
        "owner_uid": order.owner_uid,
        "created_at_ns": now_at_ns,
        "closed_at_ns": now_at_ns,
        "closes_itself": False,
        "living": 0,
        "tags": dict(order.tags),
    }


def as_json(order: Order) -> str:
    """An order as it is written to the program."""
    return json.dumps(dataclasses.asdict(order))


def from_json(text: str) -> Order:
    """An order as the program reads it."""
    fields = json.loads(text)
    chosen = fields.pop("selection")
    return Order(selection=Criteria(**{**chosen, "commands": tuple(chosen["commands"])}), **fields)


def main() -> None:
    """Carry out the order on stdin and print the reply."""
    # An exception, so that an unfinished transaction is rolled back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.setpriority(os.PRIO_PROCESS, 0, 0)  # jobd's own is higher
    # If memory is short, the kernel should kill this program rather than jobd.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    try:
        reply: dict[str, Any] | ElsaError = define(from_json(sys.stdin.read()))
    except ElsaError as error:
        reply = error
    sys.stdout.buffer.write(protocol.encode_reply(reply))
