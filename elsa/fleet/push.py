"""Push a host's sums, jobs and losses to a fleet database.

One transaction of the server per batch. It locks the host's row there, reads which versions the
fleet has, reads what differs from one state of the warehouse, and writes it. So a push that is
killed or cut off leaves what the batches before it left, the next push goes on from there, and
pushing twice changes nothing. Nothing is remembered at the host.

The oldest hours are sent first, so that everything before host.until_hour is always there. The
warehouse is read in short transactions, which never wait for the server.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

from elsa import __version__
from elsa.errors import ConfigError, UsageError
from elsa.fleet import database, tables, warehouse
from elsa.fleet.tables import Fleet
from elsa.fleet.warehouse import HOURLY, SMALL, Host, Jobs, Row
from elsa.fleet_url import FleetUrl
from elsa.kernel import accounts as known_here
from elsa.progress import Progress, no_progress
from elsa.report import collector_status
from elsa.report.query.times import Window
from elsa.store import database as store
from elsa.store import rollups

# Of one transaction.
MOST_HOURS = 240
MOST_ROWS = 50_000
MOST_JOBS = 20_000

History = Literal["keep", "forget"]
Names = Callable[[str, int], str | None]
"""The name of a user or group (the kind) of the host by its id; None if it has none."""


def names_of_this_host(kind: str, number: int) -> str | None:
    """As Names."""
    name = known_here.user(number) if kind == "user" else known_here.group(number)
    return None if name == str(number) else name


class Pushed(NamedTuple):
    """What a push sent, or would send."""

    hours: int = 0
    jobs: int = 0
    others: int = 0
    """Rows of boots, clocks, runs of jobd, gaps and accounts."""
    until_hour: int = 0
    """Every hour before is in the fleet, as far as the warehouse has it."""
    ahead: int = 0
    """How many hours the newest of these is after the server's clock."""


class _State(NamedTuple):
    """The host in the fleet."""

    id: int
    since_hour: int | None
    pruned_hour: int
    server_hour: int


class _Batch(NamedTuple):
    """What one transaction sends, read from one state of the warehouse."""

    hours: dict[int, int]
    """The versions of the hours."""
    sums: dict[str, list[Row]]
    hours_left: int
    """How many hours have to wait for the next batch."""
    until_hour: int
    jobs: Jobs | None
    """None while hours are left."""
    job_ids: list[int]
    job_rows: list[Row]
    jobs_left: int
    small: dict[str, set[Row]]
    accounts: set[tuple[str, int]]
    """All users and groups of the warehouse; none while hours are left."""
    silent_since_ns: int | None
    """Since when jobd has been silent."""
    unread_since_ns: int | None
    """Since when no accounting record was read although jobd runs."""

    @property
    def is_last(self) -> bool:
        return not self.hours_left and not self.jobs_left


def push(
    path: Path,
    url: FleetUrl,
    now_ns: int,
    progress: Progress = no_progress,
    *,
    names: Names = names_of_this_host,
    history: History | None = None,
    dry_run: bool = False,
) -> Pushed:
    """Send what differs. `history` says what becomes of the rows that the fleet has of another
    warehouse with this machine id; None refuses.

    Raises ConfigError, PrivilegeError, RetryError (no answer; what was sent stays), ...
    """
    with store.translated(path), closing(store.open_for_reading(path)) as connection:
        host = warehouse.host(connection)
        with database.translated(url), closing(database.connect(url)) as fleet:
            pusher = _Pusher(connection, fleet, host, now_ns, names, progress)
            return pusher.compare(history) if dry_run else pusher.run(history)


class _Pusher:
    def __init__(
        self,
        connection: sqlite3.Connection,
        fleet: Fleet,
        host: Host,
        now_ns: int,
        names: Names,
        progress: Progress,
    ) -> None:
        self._warehouse = connection
        self._fleet = fleet
        self._host = host
        self._now_ns = now_ns
        self._names = names
        self._progress = progress

    def run(self, history: History | None) -> Pushed:
        """Push one batch after the other."""
        done = Pushed()
        while True:
            with self._fleet.transaction():
                state = self._lock(history)
                history = None
                batch = self._read(state)
                others = self._write(state, batch)
            done = Pushed(
                done.hours + len(batch.hours),
                done.jobs + len(batch.job_ids),
                done.others + others,
                batch.until_hour,
                max(batch.until_hour - 1 - state.server_hour, 0),
            )
            self._progress(done.hours, done.hours + batch.hours_left)
            if batch.is_last:
                return done

    def compare(self, history: History | None) -> Pushed:
        """What would be sent; nothing is changed."""
        with self._fleet.transaction(force_rollback=True):
            state = self._lock(history)
            batch = self._read(state, every_job=True)
            others = sum(
                tables.bring_in_step(self._fleet, state.id, table, rows)
                for table, rows in batch.small.items()
            )
            hours = len(batch.hours) + batch.hours_left
            return Pushed(hours, len(batch.job_ids), others, batch.until_hour)

    # --- which host

    def _lock(self, history: History | None) -> _State:
        """The host's row, locked until the end of the transaction, made if it is not there."""
        state = self._find()
        if state is not None and history is not None:
            self._part_with(state, history)
            state = None
        if state is None:
            self._refuse_copies()
            self._fleet.execute(
                "insert into elsa.host (machine_id, name, version) values (%s, %s, %s)"
                " on conflict (machine_id) do nothing",
                [self._host.machine_id, self._host.name, __version__],
            )
            state = self._find()
        if state is None:
            raise ConfigError(
                f"the fleet has the machine id {self._host.machine_id} from another role: this host"
                " is a clone, or its role was changed; give a clone an id of its own"
                " (systemd-machine-id-setup, then a new warehouse), or let an administrator of the"
                " fleet run: elsa fleet remove"
            )
        return state

    def _find(self) -> _State | None:
        row = self._fleet.execute(
            "select id, since_hour, coalesce(pruned_hour, 0),"
            " floor(extract(epoch from clock_timestamp()) / 3600)::bigint"
            " from elsa.host where machine_id = %s for update",
            [self._host.machine_id],
        ).fetchone()
        return None if row is None else _State(*row)

    def _part_with(self, state: _State, history: History) -> None:
        """Forget what the fleet has of this machine id, or keep it as a host of its own."""
        if history == "forget":
            tables.forget(self._fleet, state.id)
        else:
            if any(mine == state.id for mine, _ in self._copies()):
                raise UsageError(
                    "--history keep: the fleet has this very warehouse, or a later state of it, and"
                    " would count the same hours twice; push without --history. If this is an old"
                    " copy, from a backup, then either --history forget (the fleet loses what came"
                    " after it), or start with a new warehouse and --history keep"
                )
            self._fleet.execute(
                "update elsa.host set machine_id = machine_id || '#' || id::text,"
                " name = name || '#' || id::text where id = %s",
                [state.id],
            )

    def _copies(self) -> list[tuple[int, str]]:
        """The hosts of the fleet that are this warehouse in some state, with their names: those
        kept by --history keep too.
        """
        with warehouse.snapshot(self._warehouse):
            boots = {row[:2] for row in warehouse.small(self._warehouse, self._host, "boot")}
            versions = warehouse.hours(self._warehouse).items()
        kept = self._fleet.execute(
            "select id, name from elsa.host where split_part(machine_id, '#', 1) = %s order by id",
            [self._host.machine_id],
        ).fetchall()
        found = []
        for number, name in kept:
            there = {*self._boots(number)}
            # The version of an hour is the time when it was rolled up: no other warehouse has it.
            same_hours = versions & tables.hours(self._fleet, number).items()
            if (there and there <= boots) or any(made_at_ns for _, made_at_ns in same_hours):
                found.append((number, name))
        return found

    def _refuse_copies(self) -> None:
        """Refuse to push as a new host what the fleet has as another one."""
        for number, name in self._copies():
            raise ConfigError(
                f"the fleet has this warehouse already, kept as {name}, and would count it twice;"
                f" let an administrator of the fleet run: elsa fleet remove {number}"
            )

    def _require_same_warehouse(self, there: Iterable[Row], boots: Iterable[Row]) -> None:
        """Refuse to mix two warehouses: each boot that the fleet has must be one of this warehouse,
        under the same id.
        """
        mine = {row[0]: row[1] for row in boots}
        for number, uuid in there:
            if mine.get(number) != uuid:
                raise ConfigError(
                    f"the fleet has boot {uuid} of the machine id {self._host.machine_id}, and this"
                    " warehouse has not: another host has the same machine id (a clone; give it an"
                    " id of its own with systemd-machine-id-setup, and a new warehouse), or this"
                    " warehouse is not the one that was pushed before (then: elsa push --history"
                    " keep, or forget)"
                )

    # --- reading

    def _read(self, state: _State, *, every_job: bool = False) -> _Batch:
        """The next batch. Jobs are read once no hours are left, or with `every_job`."""
        there = tables.hours(self._fleet, state.id)
        blocks = tables.job_blocks(self._fleet, state.id)
        boots = self._boots(state.id)
        with warehouse.snapshot(self._warehouse):
            silent = collector_status.still_open(self._warehouse, Window(), self._now_ns)
            unread_since_ns = collector_status.unread_since_ns(self._warehouse, self._now_ns)
            small = {table: warehouse.small(self._warehouse, self._host, table) for table in SMALL}
            self._require_same_warehouse(boots, small["boot"])
            versions = warehouse.hours(self._warehouse)
            pruned = warehouse.pruned_hours(self._warehouse)
            wanted = sorted(
                hour
                for hour, made_at_ns in versions.items()
                if there.get(hour) != made_at_ns
                and not (hour in there and (hour in pruned or hour < state.pruned_hour))
            )
            hours, sums = self._sums(wanted)
            left = wanted[len(hours) :]
            settled = rollups.first_unsettled(self._now_ns)
            until_hour = min([*left[:1], *warehouse.unready_hours(self._warehouse), settled])
            jobs, maybe, job_rows = None, list[int](), list[Row]()
            accounts = set[tuple[str, int]]()
            if every_job or not left:
                accounts = warehouse.accounts(self._warehouse, self._host)
                jobs = warehouse.jobs(self._warehouse, self._host, {*there, *wanted})
                maybe = tables.in_differing_blocks(jobs.digests, blocks)
                job_rows = warehouse.job_rows(self._warehouse, self._host, maybe[:MOST_JOBS])
        job_ids = []
        if jobs is not None:
            job_ids = tables.differing_jobs(
                self._fleet, state.id, maybe if every_job else maybe[:MOST_JOBS], jobs.digests
            )
        return _Batch(
            {hour: versions[hour] for hour in hours},
            sums,
            len(left),
            until_hour,
            jobs,
            job_ids,
            [row for row in job_rows if row[0] in set(job_ids)],
            # Blocks that differ though none of their jobs does are no reason to go on.
            max(len(maybe) - MOST_JOBS, 0) if job_ids else 0,
            small,
            accounts,
            None if silent is None else silent.since_ns,
            None if silent is not None else unread_since_ns,
        )

    def _boots(self, host_id: int) -> list[Row]:
        """The boots that the fleet has of a host: id and uuid."""
        rows: list[Row] = self._fleet.execute(
            "select id, uuid from elsa.boot where host_id = %s and uuid is not null order by id",
            [host_id],
        ).fetchall()
        return rows

    def _sums(self, wanted: list[int]) -> tuple[list[int], dict[str, list[Row]]]:
        """The sums of the first of some hours, day by day until the batch is full."""
        taken: list[int] = []
        sums: dict[str, list[Row]] = {table: [] for table in HOURLY}
        for first in range(0, min(len(wanted), MOST_HOURS), 24):
            hours = wanted[first : min(first + 24, MOST_HOURS)]
            for table in HOURLY:
                sums[table] += warehouse.sums(self._warehouse, self._host, table, hours)
            taken += hours
            if sum(map(len, sums.values())) > MOST_ROWS:
                break
        return taken, sums

    # --- writing

    def _write(self, state: _State, batch: _Batch) -> int:
        """Write a batch; return how many rows of small tables were new."""
        others = sum(
            tables.bring_in_step(self._fleet, state.id, table, rows)
            for table, rows in batch.small.items()
        )
        if batch.hours:
            tables.replace_hours(self._fleet, state.id, batch.hours, batch.sums)
        if batch.hours_left:
            self._forget_unsettled(state)
        elif batch.jobs is not None:
            self._write_jobs(state, batch, batch.jobs)
        others += self._write_accounts(state, batch)
        self._fleet.execute(
            "update elsa.host set name = %s, version = %s, since_hour = %s, until_hour = %s,"
            " silent_since_ns = %s, unread_since_ns = %s where id = %s",
            [
                *(self._host.name, __version__, _since(state, batch), batch.until_hour),
                *(batch.silent_since_ns, batch.unread_since_ns, state.id),
            ],
        )
        if batch.is_last:
            self._fleet.execute(
                "update elsa.host set pushed_at_ns ="
                " (extract(epoch from clock_timestamp()) * 1000000)::bigint * 1000 where id = %s",
                [state.id],
            )
        return others

    def _forget_unsettled(self, state: _State) -> None:
        """Delete sums of jobs over what was in no hour: some of it is in these hours now. The last
        batch sends the jobs again.
        """
        self._fleet.execute(
            "with gone as (delete from elsa.rollup_job where host_id = %s and hour is null"
            " returning job_id)"
            " update elsa.job set digest = -1"
            " where host_id = %s and id in (select job_id from gone)",
            [state.id, state.id],
        )

    def _write_jobs(self, state: _State, batch: _Batch, jobs: Jobs) -> None:
        ids = batch.job_ids
        if not ids:
            return
        for table, key in (("job_tag", "job_id"), ("job_cgroup", "job_id"), ("job", "id")):
            tables.delete(self._fleet, state.id, table, key, ids)
        self._fleet.execute(
            "delete from elsa.rollup_job where host_id = %s and job_id = any(%s::bigint[])"
            " and hour is null",
            [state.id, ids],
        )
        rows = [(*row, jobs.digests[row[0]]) for row in batch.job_rows]
        tables.insert(self._fleet, state.id, "job", rows, "digest")
        for table, of_job in (("job_tag", jobs.tags), ("job_cgroup", jobs.cgroups)):
            its = [row for number in ids for row in of_job.get(number, ())]
            tables.insert(self._fleet, state.id, table, its)
        unsettled = [(None, *row) for number in ids for row in jobs.unsettled.get(number, ())]
        tables.insert(self._fleet, state.id, "rollup_job", unsettled)

    def _write_accounts(self, state: _State, batch: _Batch) -> int:
        """Names of the users and groups of the batch, and at the end new names of all: one that had
        none may have one by now.
        """
        there: dict[tuple[str, int], str] = {
            (kind, number): name
            for kind, number, name in self._fleet.execute(
                "select kind, id, name from elsa.account where host_id = %s", [state.id]
            )
        }
        columns = warehouse.columns("rollup_user")
        uid, gid = columns.index("uid"), columns.index("gid")
        owner = warehouse.columns("job").index("owner_uid")
        needed = {("user", row[uid]) for row in batch.sums["rollup_user"]}
        needed |= {("group", row[gid]) for row in batch.sums["rollup_user"]}
        needed |= {("user", row[owner]) for row in batch.job_rows}
        if batch.is_last:
            needed |= there.keys() | batch.accounts
        names = {
            account: name
            for account in needed
            if account[1] is not None and (name := self._names(*account)) is not None
        }
        new = [(*account, name) for account, name in names.items() if there.get(account) != name]
        for kind, number, name in new:
            self._fleet.execute(
                "insert into elsa.account (host_id, kind, id, name) values (%s, %s, %s, %s)"
                " on conflict (host_id, kind, id) do update set name = excluded.name",
                [state.id, kind, number, name],
            )
        return len(new)


def _since(state: _State, batch: _Batch) -> int | None:
    """The first hour with sums."""
    at = warehouse.columns("rollup_user").index("hour")
    known = [row[at] for row in batch.sums["rollup_user"]]
    if state.since_hour is not None:
        known.append(state.since_hour)
    return min(known, default=None)
