"""The start of a run of the collector: recorded in the warehouse as soon as that can be written."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from elsa.config import Config
from elsa.errors import RetryError
from elsa.host import proc_scan
from elsa.jobd import sd_notify
from elsa.kernel.procfs import Procfs
from elsa.state.process_table import Processes
from elsa.store import boots, collector_runs, database
from elsa.store.collector_runs import CollectorRun
from elsa.store.upgrade import upgrade

log = logging.getLogger(__name__)

# How much more time the service manager is asked for while jobd waits for the warehouse.
START_S = 60


class RunStart(NamedTuple):
    """A run of the collector as the warehouse has it, and what earlier runs left."""

    run: CollectorRun
    processes: Processes
    next_clock_id: int
    used_job_ids: set[int]
    """The ids of open jobs of the warehouse before that other jobs of this one have."""


def start_run(
    config: Config, procfs: Procfs, since_ns: int, before: Processes | None, *, upgrades: bool
) -> RunStart:
    """Record a run in the warehouse. `before` is the state of the collector of a warehouse that was
    replaced. `upgrades`: the warehouse is created or upgraded first.
    """
    path = config.db
    if upgrades:
        upgrade_warehouse(path)
    with (
        database.translated(path),
        contextlib.closing(database.open_for_writing(path)) as connection,
    ):
        least_job_id = before.jobs.next_id if before is not None else 1
        run = collector_runs.begin(
            connection, proc_scan.machine(procfs), os.getpid(), since_ns, least_job_id
        )
        processes = collector_runs.restore(connection, run.boot_id, run.next_job_id)
        processes.keeps_events = config.keep_events != "0"
        next_clock_id = boots.next_own_id(connection, "clock", boots.COLLECTOR_IDS)
        open_before = before.jobs.open if before is not None else ()
        used = collector_runs.used_job_ids(connection, open_before)
    return RunStart(run, processes, next_clock_id, used)


def until_writable(start: Callable[[], RunStart]) -> RunStart:
    """Start as soon as the warehouse can be written (a full disk, a long lock): until then the
    kernel keeps the events.
    """
    reported = ""
    while True:
        try:
            return start()
        except RetryError as error:
            if str(error) != reported:
                log.error("%s; listening, and trying again", error)
            reported = str(error)
            sd_notify.notify(
                sd_notify.extend_start(START_S),
                sd_notify.status(f"waiting for the warehouse: {reported}"),
            )
            time.sleep(1)


def gap_before(run: CollectorRun) -> tuple[str, int, str] | None:
    """The gap (kind, since when, note) before a collector's start; the time before the first
    collector of a host is none.
    """
    if run.heard_ns is None:
        return None
    if not run.heard_ns:
        return "boot", 0, "the collector was not started yet"
    return "down", run.heard_ns, "the collector did not run"


def upgrade_warehouse(path: Path) -> None:
    """Create or upgrade the warehouse, and log it."""
    done = upgrade(path)
    if done.changed:
        what = "upgraded" if done.before else "created"
        log.info("%s: %s, at revision %s", path, what, done.after)
