"""Defining a job after the fact, from the order to its members, with a jobd or without.

Whoever may write the warehouse does it in a process of his own. For others jobd starts this module
as a program (elsa/jobd/helper_programs.py): an order comes on stdin, and the reply, a line of the
protocol, goes to stdout; so jobd goes on hearing whatever it takes.
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
from elsa.state.criteria import Selection
from elsa.store import database, defined_jobs
from elsa.store.defined_jobs import Progress

# Why a pid that a client in another pid namespace names is not looked up.
FOREIGN = (
    "what is on record bears the host's pids, and you are in another pid namespace: define it from"
    " the host, or by --command (or --where, in which pid is the host's)"
)


@dataclass(frozen=True)
class Order:
    """Who wants which job."""

    db: str
    socket: str | None
    """Of the jobd that keeps this warehouse; None: there is none."""
    name: str
    tags: Mapping[str, str]
    owner_uid: int
    only_uid: int | None
    """Whose processes alone may be in it; None: anybody's."""
    selection: Selection
    dry_run: bool
    limit_s: int
    """How long a condition may take."""


def define(order: Order, progress: Progress = lambda done, total: None) -> dict[str, Any]:
    """Find what is selected and make it a job; the reply of the request `define`: the job (None of
    a dry run), and what was found.
    """
    db = Path(order.db)
    client = Client(Path(order.socket)) if order.socket is not None else None
    if client is not None:
        client.request("sync")  # what happened before the order is recorded
    opened = database.open_for_reading(db) if order.dry_run else database.open_for_writing(db)
    with database.translated(db), closing(opened) as connection:
        found = defined_jobs.find(connection, db, order.selection, order.only_uid, order.limit_s)
        job = None
        if not order.dry_run:
            job = _reserve(client, order, found.boot_id, connection)
            found = found._replace(
                processes=defined_jobs.fill(connection, job["id"], found, progress)
            )
    return {"job": job, "found": defined_jobs.describe(found)}


def _reserve(
    client: Client | None, order: Order, boot_id: int, connection: sqlite3.Connection
) -> dict[str, Any]:
    """The job as the protocol shows it, with no members yet. A jobd that is at work gives out the
    id.
    """
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
    job = {
        "id": job_id,
        "name": order.name,
        "owner_uid": order.owner_uid,
        "created_at_ns": now_at_ns,
        "closed_at_ns": now_at_ns,
    }
    return {**job, "closes_itself": False, "living": 0, "tags": dict(order.tags)}


def as_json(order: Order) -> str:
    """An order as it is handed to the program."""
    return json.dumps(dataclasses.asdict(order))


def from_json(text: str) -> Order:
    """An order as the program gets it."""
    fields = json.loads(text)
    chosen = fields.pop("selection")
    return Order(selection=Selection(**{**chosen, "commands": tuple(chosen["commands"])}), **fields)


def main() -> None:
    """Carry out the order on stdin and print the reply."""
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(1)
    )  # as an exception, so that what is half done is taken back
    os.setpriority(os.PRIO_PROCESS, 0, 0)  # jobd's own is higher
    with contextlib.suppress(
        OSError
    ):  # if memory is short, rather this than the jobd that started it
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    try:
        reply: dict[str, Any] | ElsaError = define(from_json(sys.stdin.read()))
    except ElsaError as error:
        reply = error
    sys.stdout.buffer.write(protocol.encode_reply(reply))
