"""A warehouse of a month on a busy host, made up: the same rows for the same seed, some hundred
thousand processes a second.

    python -m tests.support.month 1000000 /tmp/month.db

`Month.batches` gives the raw rows of every table, for computations that know nothing of SQL;
`write` puts them into the real schema. Thirty days and three boots (one ended by a crash), a step
of the clock, 200 users, 300 commands, up to 1,000 jobs, some within others, members for a part of
their life with and without counters, processes of which one witness or none tells, records that are
joined to none, gaps, lives of days, and what still runs when the month is over.
"""

from __future__ import annotations

import math
import random
import sqlite3
import sys
from array import array
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from elsa.measures import COUNTERS, IN_INTERVALS
from elsa.state.codes import End, EventKind, How, Join, Origin
from elsa.state.intervals import Shown, Used
from elsa.store import schema

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
HOURS = 30 * 24
BEGIN_NS = 1_790_812_800 * SECOND
"""2026-10-01T00:00:00Z; the month ends HOURS later."""
END_NS = BEGIN_NS + HOURS * HOUR
USERS, COMMANDS, MOST_JOBS = 200, 300, 1000
FIRST_UID = 1000
PROFILES = 4096
GIANT = 100_000
# Nothing runs while the machine starts.
DARK_NS = 600 * SECOND

# Plain numbers, since sqlite3 takes twice as long over an enum.
FORKED, RECORDED = int(Origin.FORK), int(Origin.ACCT)
EXIT, TOLD, REBOOT = int(End.EXIT), int(End.ACCT), int(End.REBOOT)
ADDED, INHERITED, LAUNCHED, INFERRED = (
    int(How.ADDED),
    int(How.INHERITED),
    int(How.LAUNCHED),
    int(How.INFERRED),
)
PENDING, EXACT, UNCERTAIN, SELF, OWN, AMBIGUOUS = (int(join) for join in Join)
FORK, EXEC, GONE = (int(kind) for kind in EventKind)

Row = tuple[Any, ...]
Rows = dict[str, list[Row]]

_COUNTERS = tuple(measure.column for measure in COUNTERS)
COLUMNS: dict[str, tuple[str, ...]] = {
    table: tuple(
        column.name for column in schema.metadata.tables[table].columns if column.computed is None
    )
    for table in (
        "host",
        "boot",
        "clock",
        "collector",
        "gap",
        "comm",
        "process",
        "usage",
        "usage_reading",
        "usage_interval",
        "usage_so_far",
        "job",
        "job_tag",
        "acct_file",
        "acct",
        "membership",
    )
} | {
    "membership": ("job_id", "process_id", "since_ns", "until_ns", "how"),
    "job": (
        *("id", "boot_id", "name", "owner_uid", "created_at_ns", "closed_at_ns", "close_reason"),
        "closes_itself",
    ),
    "process": (
        *(
            "id",
            "boot_id",
            "pid",
            "parent_id",
            "origin",
            "parent_inferred",
            "start_ns",
            "clock_id",
            "elapsed_ns",
            "end_clock_id",
        ),
        *("end_source", "exit_status", "uid", "comm_id", "inherited_job_id"),
    ),
    "event": (
        "boot_id",
        "kind",
        "time_ns",
        "cpu",
        "pid",
        "tgid",
        "parent_pid",
        "parent_tgid",
        "code",
        "signal",
        "process_id",
    ),
}
"""What the tuples of a table hold, in order."""


class Boot(NamedTuple):
    """One boot: real times, and the clocks (id, since, offset) with the step of the second one."""

    id: int
    begin_ns: int
    end_ns: int
    clocks: tuple[tuple[int, int, int], ...]


# The machine crashed on the 22nd; on the 16th somebody set the clock 5 s ahead.
BOOTS = (
    Boot(1, BEGIN_NS, BEGIN_NS + 11 * 24 * HOUR, ((2, 0, BEGIN_NS),)),
    Boot(
        2,
        BEGIN_NS + 11 * 24 * HOUR,
        BEGIN_NS + 21 * 24 * HOUR,
        (
            (4, 0, BEGIN_NS + 11 * 24 * HOUR),
            (6, 108 * HOUR, BEGIN_NS + 11 * 24 * HOUR + 5 * SECOND),
        ),
    ),
    Boot(3, BEGIN_NS + 21 * 24 * HOUR, END_NS, ((8, 0, BEGIN_NS + 21 * 24 * HOUR),)),
)


class Profile(NamedTuple):
    """What a kind of process does, for any user."""

    elapsed_ns: int
    status: int
    flag: int
    ticks: Row
    """etime to swaps of acct."""
    counters: Row
    """In the order of COUNTERS."""
    tail: Row
    """What comes after the counters in usage."""
    threads: int


class Job:
    """A job and who is in it last."""

    def __init__(self, id_: int, uid: int, first: int, last: int, within: Job | None) -> None:
        self.id, self.uid, self.first, self.last = id_, uid, first, last
        self.ids: tuple[int, ...] = (id_, *within.ids) if within else (id_,)
        self.root = self.newest = (0, 0)
        self.size = 0


def _profile(rng: random.Random) -> Profile:
    kind = rng.random()
    typical = (
        0.03 if kind < 0.9 else 5.0 if kind < 0.985 else 3 * 3600.0 if kind < 0.998 else 4 * 86400.0
    )
    elapsed_ns = int(min(rng.lognormvariate(math.log(typical), 1.2), 12 * 86400) * SECOND)
    run_ns = int(elapsed_ns * rng.random() ** 3 * (0.9 if kind < 0.9 else 0.02))
    user_us = int(run_ns / 1000 * rng.random())
    system_us = max(run_ns // 1000 - user_us, 0)
    faults, major = rng.randrange(80, 4000), rng.choice((0, 0, 0, 0, 1, 7))
    rss = rng.randrange(800, 200_000)
    killed = rng.random() < 0.03
    status = rng.choice((9, 15)) if killed else rng.choice((0, 0, 0, 0, 256))
    flag = (rng.random() < 0.15) | (rng.random() < 0.1) << 1 | killed << 4
    ticks = (
        float(elapsed_ns // 10_000_000),
        user_us // 10_000,
        system_us // 10_000,
        rss * 3,
        0,
        0,
        faults,
        major,
        0,
    )
    chars, bytes_ = (
        rng.randrange(1 << 18) << 10,
        rng.choice((0, 0, 0, rng.randrange(1 << 12) << 12)),
    )
    known = {
        "run_ns": run_ns,
        "utime_us": user_us,
        "stime_us": system_us,
        "minflt": faults,
        "majflt": major,
        "coremem_mb_us": run_ns // 1000 * rss // 1024,
        "virtmem_mb_us": run_ns // 1000 * rss * 3 // 1024,
        "read_chars": chars,
        "write_chars": chars // 3,
        "read_bytes": bytes_,
        "write_bytes": bytes_ // 2,
        "cancelled_write_bytes": 0,
        "read_syscalls": chars >> 12,
        "write_syscalls": chars >> 13,
        "nvcsw": rng.randrange(60),
        "nivcsw": rng.randrange(20),
        "cpu_delay_ns": run_ns // 20,
    }
    counters = tuple(known.get(name) for name in _COUNTERS)
    threads = rng.choice((1, 1, 1, 1, 1, 1, 4))
    return Profile(
        elapsed_ns,
        status,
        flag,
        ticks,
        counters,
        (rss, rss * 3, 2049, rng.randrange(1 << 20)),
        threads,
    )


class Month:
    """The rows of a month. `jobs` is how many jobs there are, `events` whether each fork, exec and
    exit has a row.
    """

    def __init__(
        self,
        processes: int,
        *,
        seed: int = 1,
        jobs: int | None = None,
        events: bool = False,
        taskstats: bool = True,
        users: int = USERS,
        commands: int = COMMANDS,
    ) -> None:
        self.processes, self.events, self.taskstats = processes, events, taskstats
        self._rng = random.Random(seed)
        self._profiles = [_profile(self._rng) for _ in range(PROFILES)]
        self._commands = self._ranks(commands, 1)
        self._users = self._ranks(users, FIRST_UID)
        self.jobs = self._make_jobs(
            min(MOST_JOBS, max(processes // 20, 5)) if jobs is None else jobs
        )
        self._giant = self.jobs[len(self.jobs) // 2] if processes >= 10 * GIANT else None
        self._ids = {FORKED: 0, RECORDED: -1}
        self._next_acct = 1
        self._readings = 0
        self._lives = {False: 0, True: 0}
        self._records = [0] * (HOURS // 24)

    def _ranks(self, count: int, first: int) -> list[int]:
        """A table to draw from: the first is most frequent, each next a little less."""
        return self._rng.choices(
            range(first, first + count), [1 / (rank + 3) for rank in range(count)], k=1 << 16
        )

    def _make_jobs(self, count: int) -> list[Job]:
        jobs: list[Job] = []
        for index in range(count):
            first = index * HOURS // count
            boot_last = (_boot_at(BEGIN_NS + first * HOUR).end_ns - BEGIN_NS) // HOUR
            last = min(first + self._rng.randrange(1, 30), boot_last)
            # Of five the fourth is within the third, and the fifth within the fourth.
            within = jobs[-1] if index % 5 >= 3 and jobs[-1].last > first else None
            jobs.append(
                Job(
                    index + 1,
                    self._rng.choice(self._users),
                    first,
                    min(last, within.last) if within else last,
                    within,
                )
            )
        return jobs

    def batches(self) -> Iterator[Rows]:
        """The rows of every table, an hour at a time; the first batch has what others refer to."""
        yield self._beginnings()
        weights = [
            1 + 3 * max(math.sin((hour % 24 - 6) / 24 * 2 * math.pi), 0) for hour in range(HOURS)
        ]
        whole, done = sum(weights), 0.0
        for hour, weight in enumerate(weights):
            first, done = round(done), done + weight * self.processes / whole
            yield self._hour(hour, round(done) - first)

    def _beginnings(self) -> Rows:
        rows: Rows = {table: [] for table in COLUMNS}
        rows["host"] = [(1, "0123456789abcdef0123456789abcdef", "busy")]
        for boot in BOOTS:
            over = boot.end_ns if boot.end_ns < END_NS else None
            length = boot.end_ns - boot.clocks[-1][2]
            rows["boot"].append((boot.id, 1, f"boot-{boot.id}", boot.begin_ns, over, 4_000_000))
            rows["clock"] += [
                (id_, boot.id, since_ns, offset_ns, 0) for id_, since_ns, offset_ns in boot.clocks
            ]
            rows["collector"].append(
                (boot.id, boot.id, 700, "0", 5 * SECOND, length, None, 0, 0, len(self.jobs) + 1000)
            )
            for number, kind in enumerate(("overrun", "down", "taskstats", "sequence")):
                from_ns = (number + 1) * 37 * HOUR
                rows["gap"].append(
                    (
                        4 * boot.id + number,
                        boot.id,
                        kind,
                        from_ns,
                        from_ns + 3 * SECOND,
                        10,
                        None,
                        None,
                        None,
                        None,
                    )
                )
        rows["comm"] = [(id_, f"command{id_}") for id_ in range(1, COMMANDS + 1)]
        for job in self.jobs:
            begin_ns, end_ns = BEGIN_NS + job.first * HOUR, BEGIN_NS + job.last * HOUR
            closed = (end_ns, "request") if end_ns < END_NS else (None, None)
            rows["job"].append(
                (job.id, _boot_at(begin_ns).id, f"job{job.id % 50}", job.uid, begin_ns, *closed, 0)
            )
            rows["job_tag"].append((job.id, "project", f"p{job.id % 7}"))
        for day in range(HOURS // 24):
            begin_ns = BEGIN_NS + day * 24 * HOUR
            rows["acct_file"].append(
                (
                    day + 1,
                    1,
                    f"/var/log/account/pacct.{30 - day}",
                    1,
                    day + 1,
                    0,
                    0,
                    b"",
                    b"",
                    0,
                    0,
                    0,
                    begin_ns,
                )
            )
            # What acct(2) writes about its own caller.
            record = (3, 3, 0, 0, 0, 0, 600, 1, begin_ns // SECOND, 0.0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
            rows["acct"].append((self._next_acct, day + 1, 0, None, SELF, *record, None))
            self._next_acct += 1
        return rows

    def _hour(self, hour: int, count: int) -> Rows:
        rows: Rows = {table: [] for table in COLUMNS}
        active = [job for job in self.jobs if job.first <= hour < job.last]
        boot = _boot_at(BEGIN_NS + hour * HOUR)
        dark_ns = DARK_NS if boot.begin_ns == BEGIN_NS + hour * HOUR else 0
        base_ns, step_ns = (
            BEGIN_NS + hour * HOUR - boot.begin_ns + dark_ns,
            (HOUR - dark_ns) // max(count, 1),
        )
        drawn = array("H")
        drawn.frombytes(self._rng.randbytes(10 * count))
        for index in range(count):
            self._process(
                rows, boot, base_ns + index * step_ns, active, *drawn[5 * index : 5 * index + 5]
            )
        return rows

    def _process(
        self,
        rows: Rows,
        boot: Boot,
        start_ns: int,
        active: list[Job],
        kind: int,
        who: int,
        how: int,
        luck: int,
        fate: int,
    ) -> None:
        """One life. The five numbers are drawn from 0 to 65535."""
        profile = self._profiles[kind & 4095]
        job = None
        if active and luck < 40_000:
            giant = self._giant
            job = (
                giant
                if giant in active and giant is not None and giant.size < GIANT and luck < 30_000
                else active[luck % len(active)]
            )
        uid = job.uid if job else self._users[who]
        comm_id = self._commands[how]
        long = profile.elapsed_ns > 60 * SECOND
        self._lives[long] += 1
        pid = 100_000 + self._lives[True] if long else 1000 + self._lives[False] % 31_000
        ended = start_ns + profile.elapsed_ns + boot.clocks[-1][2] < boot.end_ns
        origin = RECORDED if fate < 600 and ended else FORKED
        self._ids[origin] += 2
        process_id = self._ids[origin]
        parent_id, ppid = (None, 1) if job is None else job.newest if how & 3 == 0 else job.root
        clock_id = (boot.clocks[-1] if start_ns >= boot.clocks[-1][1] else boot.clocks[0])[0]
        end_ns = start_ns + profile.elapsed_ns
        end: Row
        if ended:
            end_clock = boot.clocks[-1] if end_ns >= boot.clocks[-1][1] else boot.clocks[0]
            end = (
                profile.elapsed_ns,
                end_clock[0],
                TOLD if origin == RECORDED else EXIT,
                profile.status,
            )
        elif boot.end_ns < END_NS:
            end = (boot.end_ns - boot.clocks[-1][2] - start_ns, boot.clocks[-1][0], REBOOT, None)
        else:
            end = (None, None, None, None)
        inferred = 1 if fate < 900 and parent_id else None
        inherited = None
        if job is not None:
            inherited = self._enter(
                rows,
                job,
                boot,
                process_id,
                pid,
                start_ns,
                profile,
                who,
                inferred=bool(inferred),
                ended=ended,
            )
        rows["process"].append(
            (
                process_id,
                boot.id,
                pid,
                parent_id or None,
                origin,
                inferred,
                start_ns,
                clock_id,
                *end,
                uid,
                comm_id,
                inherited,
            )
        )
        if ended:
            self._told(
                rows,
                process_id,
                origin,
                profile,
                fate,
                end_ns + end_clock[2],
                (uid, uid // 10, pid, ppid),
                comm_id,
            )
        if self.events and origin == FORKED:
            self._heard(rows, boot.id, process_id, pid, ppid, start_ns, profile, ended=ended)

    def _told(
        self,
        rows: Rows,
        process_id: int,
        origin: int,
        profile: Profile,
        fate: int,
        ended_ns: int,
        whose: Row,
        comm_id: int,
    ) -> None:
        """What the sources record of an end."""
        if not 1000 <= fate < 1700:
            joined: int | None = process_id
            join = OWN if origin == RECORDED else EXACT
            if 1700 <= fate < 2100:
                join = UNCERTAIN
            elif 2100 <= fate < 2300 and origin == FORKED:
                joined, join = None, AMBIGUOUS if fate & 1 else PENDING
            day = min((ended_ns - BEGIN_NS) // (24 * HOUR), len(self._records) - 1)
            self._records[day] += 1
            btime = ended_ns // SECOND - int(profile.ticks[0]) // 100
            record = (profile.flag, 3, 0, profile.status, *whose, btime, *profile.ticks, comm_id)
            rows["acct"].append(
                (self._next_acct, day + 1, 64 * self._records[day], joined, join, *record, None)
            )
            self._next_acct += 1
        if self.taskstats and origin == FORKED and not 2300 <= fate < 5000:
            rows["usage"].append(
                (
                    process_id,
                    profile.threads,
                    0 if 5000 <= fate < 5300 else 1,
                    *profile.counters,
                    *profile.tail,
                )
            )

    def _enter(
        self,
        rows: Rows,
        job: Job,
        boot: Boot,
        process_id: int,
        pid: int,
        start_ns: int,
        profile: Profile,
        who: int,
        *,
        inferred: bool,
        ended: bool,
    ) -> int | None:
        """Into the job and those around it, most from start to end. Returns the job that is in the
        process's row, as jobd would have it: the first that it inherited, which is the outermost.
        """
        job.size += 1
        job.newest = (process_id, pid)
        how = INFERRED if inferred else INHERITED
        if not job.root[0]:
            job.root, how = job.newest, LAUNCHED
        part = who < 1500 and profile.elapsed_ns >= 8
        quarter = profile.elapsed_ns // 4
        late = start_ns + quarter if part and who % 3 else 0
        gone = start_ns + 3 * quarter if part and who % 4 and ended else None
        ids, inherited = job.ids, None
        if how == INHERITED and not late and gone is None:
            ids, inherited = ids[:-1], ids[-1]
        rows["membership"] += [
            (job_id, process_id, late, gone, ADDED if late else how) for job_id in ids
        ]
        if part and who % 5:  # else nobody could read the counters
            used = Used()
            for edge_ns, quarters in ((late, 1), (gone, 3)):
                if edge_ns:
                    counters = _part(profile.counters, quarters)
                    self._read_at(rows, boot, process_id, edge_ns, used, counters)
        return inherited

    def _read_at(
        self, rows: Rows, boot: Boot, process_id: int, edge_ns: int, used: Used, counters: Row
    ) -> None:
        """The counters of a process were read when it entered or left a job."""
        clock_id, _, offset_ns = next(
            clock for clock in reversed(boot.clocks) if clock[1] <= edge_ns
        )
        self._readings += 1
        hour = (edge_ns - 1 + offset_ns) // HOUR
        rows["usage_reading"].append((self._readings, clock_id, 0, edge_ns, hour, 0))
        user_us, system_us, *more = used.advance(Shown(counters, None, None, None, b""))
        by_column = dict(zip(_COUNTERS, more, strict=True))
        in_intervals = [by_column[measure.column] for measure in IN_INTERVALS]
        rows["usage_interval"].append(
            (self._readings, process_id, user_us, system_us, *in_intervals, None)
        )
        sums = (edge_ns, None, None, None, used.user_us, used.system_us, *counters)
        so_far = rows["usage_so_far"]
        if so_far and so_far[-1][:2] == (process_id, 0):
            so_far.pop()
        so_far += [(process_id, edge_ns, *sums), (process_id, 0, *sums)]

    def _heard(
        self,
        rows: Rows,
        boot_id: int,
        process_id: int,
        pid: int,
        ppid: int,
        start_ns: int,
        profile: Profile,
        *,
        ended: bool,
    ) -> None:
        events = rows["event"]
        cpu = process_id & 7
        events.append((boot_id, FORK, start_ns, cpu, pid, pid, ppid, ppid, None, None, process_id))
        if not profile.flag & 1:
            events.append(
                (
                    boot_id,
                    EXEC,
                    start_ns + 300_000,
                    cpu,
                    pid,
                    pid,
                    None,
                    None,
                    None,
                    None,
                    process_id,
                )
            )
        if ended:
            end_ns = start_ns + profile.elapsed_ns
            events.append(
                (boot_id, GONE, end_ns, cpu, pid, pid, ppid, ppid, profile.status, 17, process_id)
            )


def _boot_at(real_ns: int) -> Boot:
    return next(boot for boot in BOOTS if boot.begin_ns <= real_ns < boot.end_ns)


def _part(counters: Row, quarters: int) -> Row:
    return tuple(None if value is None else value * quarters // 4 for value in counters)


def write(connection: sqlite3.Connection, month: Month) -> None:
    """Put a month into an empty warehouse. The indexes that no trigger asks are made at the end,
    which is faster than keeping them.
    """
    indexes = connection.execute(
        "select name, sql from sqlite_master where type = 'index' and sql is not null and tbl_name"
        " <> 'membership'"
    ).fetchall()
    inserts = {
        table: (
            f"insert into {table} ({', '.join(columns)}) values ({', '.join('?' * len(columns))})"
        )
        for table, columns in COLUMNS.items()
    }
    connection.execute("pragma synchronous = off")
    connection.execute("pragma cache_size = -200000")
    connection.execute("begin")
    for name, _ in indexes:
        connection.execute(f"drop index {name}")
    for rows in month.batches():
        for table, batch in rows.items():
            if batch:
                connection.executemany(inserts[table], batch)
    for _, sql in indexes:
        connection.execute(sql)
    connection.execute("commit")


def main() -> None:
    """A month in a new warehouse."""
    from elsa.store.upgrade import upgrade

    processes, path = int(sys.argv[1]), Path(sys.argv[2])
    upgrade(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        write(connection, Month(processes, events="--events" in sys.argv))


if __name__ == "__main__":
    main()
