"""Given rows: a warehouse that tests fill row by row, with an ordinary value for everything
that a test does not care about.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from elsa.measures import COUNTERS
from elsa.state.clock import Clock
from elsa.state.intervals import IntervalRow, Shown, Used, reading
from elsa.store import intervals

SECOND = 1_000_000_000
# Real time at monotonic 0 of the boot that every warehouse of the tests starts with:
# 2026-01-02T03:04:05Z.
REAL = 1_767_323_045 * SECOND
RUNNING = None


def view_times(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a report with its times as the views show them, to the second."""
    return {
        key: value[:19].replace("T", " ") if value and key.endswith("_at") else value
        for key, value in row.items()
    }


class Warehouse:
    """A migrated warehouse with host 1, boot 1, clock 1 and accounting file 1. Times are seconds of
    the boot's monotonic clock.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._needed: dict[str, dict[str, object]] = {}
        self._used: dict[int, Used] = {}
        self._read_ns = 0
        self.insert("host", id=1, machine_id="m1", name="here")
        self.insert("boot", id=1, host_id=1, uuid="b1", started_at_ns=REAL, tick_ns=4_000_000)
        self.insert("clock", id=1, boot_id=1, since_ns=0, offset_ns=REAL, boottime_offset_ns=0)
        self.insert("acct_file", id=1, host_id=1, path="/var/log/account/pacct")

    def insert(self, table: str, **row: object) -> None:
        """One row, by column names; columns that must have a value and are not named get an empty
        one.
        """
        if table not in self._needed:
            self._needed[table] = {
                name: {"TEXT": "", "BLOB": b""}.get(kind, 0)
                for _, name, kind, needed, default, key in self.connection.execute(
                    f"pragma table_info({table})"
                )
                if needed and default is None and not key
            }
        row = self._needed[table] | row
        columns = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        self.connection.execute(f"insert into {table} ({columns}) values ({marks})", row)

    def comm(self, name: str) -> int:
        """Id of a command name."""
        found = self.connection.execute("select id from comm where name = ?", (name,)).fetchone()
        if found:
            return int(found[0])
        number = int(self.connection.execute("select count(*) + 1 from comm").fetchone()[0])
        self.insert("comm", id=number, name=name)
        return number

    def process(
        self,
        id_: int,
        *,
        start: float = 10,
        seconds: float | None = 1,
        comm: str | None = "work",
        **more: object,
    ) -> int:
        """One incarnation; `seconds=RUNNING` leaves it alive."""
        row: dict[str, Any] = {
            "boot_id": 1,
            "pid": 1000 + id_,
            "origin": 1,
            "start_ns": int(start * SECOND),
            "clock_id": 1,
            "uid": 1000,
            "comm_id": None if comm is None else self.comm(comm),
        }
        if seconds is not None:
            row |= {
                "elapsed_ns": int(seconds * SECOND),
                "end_clock_id": 1,
                "end_source": 1,
                "exit_status": 0,
            }
        self.insert("process", **({"id": id_} | row | more))
        return id_

    def acct(
        self,
        id_: int,
        process_id: int | None,
        *,
        join: int | None = None,
        comm: str = "work",
        **more: object,
    ) -> int:
        """One accounting record: joined exactly to a process, or pending when there is none."""
        row = {
            "acct_file_id": 1,
            "position": 64 * id_,
            "process_id": process_id,
            "join_outcome": join if join is not None else (0 if process_id is None else 1),
            "flag": 0,
            "version": 3,
            "tty": 0,
            "exitcode": 0,
            "uid": 1000,
            "gid": 100,
            "pid": 1000 + (process_id or 500 + id_),
            "ppid": 1,
            "btime": REAL // SECOND + 10,
            "etime": 100.0,
            "utime": 0,
            "stime": 0,
            "mem": 4096,
            "io": 0,
            "rw": 0,
            "minflt": 0,
            "majflt": 0,
            "swaps": 0,
            "comm_id": self.comm(comm),
        }
        self.insert("acct", **({"id": id_} | row | more))
        return id_

    def usage(
        self, process_id: int, *, threads: int = 1, complete: int = 1, **more: object
    ) -> None:
        """The taskstats of an ended process; counters that are not named are unknown."""
        self.insert("usage", process_id=process_id, threads=threads, complete=complete, **more)

    def job(
        self, id_: int, name: str = "build", *, members: tuple[int, ...] = (), **more: object
    ) -> int:
        """One job, with processes that were in it from their start to their end."""
        row = {
            "boot_id": 1,
            "name": name,
            "owner_uid": 1000,
            "created_at_ns": REAL,
            "closes_itself": 0,
        }
        self.insert("job", **({"id": id_} | row | more))
        for process_id in members:
            self.stay(id_, process_id)
        return id_

    def stay(
        self,
        job_id: int,
        process_id: int,
        *,
        since: float = 0,
        until: float | None = None,
        how: int = 2,
    ) -> None:
        """One stay of a process in a job."""
        until_ns = None if until is None else int(until * SECOND)
        self.insert(
            "membership",
            job_id=job_id,
            process_id=process_id,
            since_ns=int(since * SECOND),
            until_ns=until_ns,
            how=how,
        )

    def read(
        self, process_id: int, *, at: float = 0, at_ns: int | None = None, **counters: int
    ) -> None:
        """The counters of a living process when it entered or left a job; counters that are not
        named are unknown.
        """
        until_ns = int(at * SECOND) if at_ns is None else at_ns
        self._write(process_id, until_ns, [self._used_by(process_id, counters)], of_all=False)

    def interval(self, process_id: int, *, until: float, **counters: int) -> None:
        """The same of one process at the end of an interval."""
        self.reading(until, {process_id: counters})

    def reading(self, until: float, living: Mapping[int, dict[str, int]]) -> None:
        """The same of all living processes, by their ids."""
        until_ns = int(until * SECOND)
        rows = [self._used_by(process_id, counters) for process_id, counters in living.items()]
        self._write(next(iter(living)), until_ns, rows, of_all=True)
        self._read_ns = until_ns

    def _used_by(self, process_id: int, counters: dict[str, int]) -> IntervalRow:
        shown = tuple(counters.get(measure.column) for measure in COUNTERS)
        used = self._used.setdefault(process_id, Used())
        more = used.advance(Shown(shown, None, None, None, b""))
        keys = (counters.get(name) for name in ("gid", "forked_only", "rss_kib"))
        return (process_id, *keys, *more)

    def _write(
        self, process_id: int, until_ns: int, rows: list[IntervalRow], *, of_all: bool
    ) -> None:
        """A reading, by the clock at the start of a process."""
        (clock,) = self.connection.execute(
            "select c.id, c.since_ns, c.offset_ns, 0 from process as p join clock as c on c.id ="
            " p.clock_id where p.id = ?",
            (process_id,),
        ).fetchall()
        made = reading(Clock._make(clock), self._read_ns, until_ns, rows, of_all=of_all)
        intervals.write(self.connection, [made])

    def rows(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        """Every row of a query, by column names."""
        cursor = self.connection.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def row(self, sql: str, *parameters: object) -> dict[str, Any]:
        """The only row of a query."""
        (only,) = self.rows(sql, *parameters)
        return only

    def plan(self, sql: str) -> str:
        """How SQLite would run a query."""
        return "\n".join(row["detail"] for row in self.rows(f"explain query plan {sql}"))
