"""jobd from its start to its end: privileges, the warehouse and its lock, and a collector, again
whenever another warehouse takes the place of the one that is written.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time

from elsa.config import Config
from elsa.errors import ElsaError, RetryError
from elsa.jobd import define_job, redaction, send_own_records
from elsa.jobd.cgroup_reader import CgroupSource
from elsa.jobd.collector import Collector
from elsa.jobd.run_start import START_S, upgrade_warehouse
from elsa.jobd.spawner import Spawner
from elsa.kernel import privileges
from elsa.kernel.procfs import Procfs
from elsa.store import database, locks

log = logging.getLogger(__name__)

# What is needed later, by a user other than root: statistics of living processes (and the sockets
# again, when the warehouse is replaced); /proc of other users.
KEPT_CAPABILITIES = (privileges.CAP_NET_ADMIN, privileges.CAP_SYS_PTRACE)
# Modules that are run as programs of their own.
PROGRAMS = (define_job.__name__, redaction.__name__, send_own_records.__name__)


def collect(config: Config, user: str | None = None, *, upgrades: bool = False) -> None:
    """Run the daemon until it is to stop, as this user once root is no longer needed. Raises an
    ElsaError if it cannot start. `upgrades`: the warehouse is created or upgraded first.
    """
    cgroups = _cgroup_source() if config.auto_jobs else None  # most kernels want root for it
    with contextlib.closing(cgroups) if cgroups is not None else contextlib.nullcontext():
        if user is not None:
            privileges.become(user, KEPT_CAPABILITIES)
        _collect(config, cgroups, upgrades=upgrades)


def _collect(config: Config, cgroups: CgroupSource | None, *, upgrades: bool) -> None:
    # The warehouse is opened before the lock is taken for its clear errors: no folder, no
    # warehouse, wrong version. One that is to be upgraded need only exist: the lock lies beside it.
    with contextlib.suppress(RetryError):
        if not upgrades:
            database.open_for_writing(config.db).close()
        elif not os.path.exists(config.db):  # noqa: PTH110 (False where Path.exists may raise)
            upgrade_warehouse(config.db)
    with locks.only(locks.COLLECTOR, config.db), contextlib.closing(Spawner(PROGRAMS)) as spawner:
        collector = Collector(config, Procfs(), spawner, cgroups, upgrades=upgrades)
        # On a busy host this may take long; `start` waits again when it is needed.
        with contextlib.suppress(OSError):
            spawner.wait(START_S)
        while not collector.run():
            collector = _for_new_warehouse(config, spawner, cgroups, collector)


def _for_new_warehouse(
    config: Config, spawner: Spawner, cgroups: CgroupSource | None, before: Collector
) -> Collector:
    """A collector for the warehouse that replaced another, as soon as it can be opened."""
    reported = ""
    while True:
        try:
            return Collector(config, Procfs(), spawner, cgroups, before)
        except ElsaError as error:
            if str(error) != reported:
                log.error("%s; trying again", error)
            reported = str(error)
            time.sleep(1)


def _cgroup_source() -> CgroupSource | None:
    """Control groups, if this host has any; else None, and a warning that says what that means."""
    try:
        return CgroupSource()
    except ElsaError as error:
        log.warning("no automatic jobs: %s", error)
        return None
