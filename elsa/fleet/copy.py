"""A small warehouse in memory with what a report on the fleet reads: sums of the chosen hosts,
their jobs and losses, and no process. It is filled from PostgreSQL, which it has a connection to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from elsa.fleet import settings
from elsa.fleet.ids import HOSTS, IDS_OF_HOST, split_ids
from elsa.fleet.lacking import Hosts
from elsa.report.collector_status import Silence
from elsa.report.query.choices import host_ids
from elsa.store import statements

if TYPE_CHECKING:
    from elsa.fleet_url import FleetUrl
    from elsa.report.query.choices import Asked
    from elsa.report.render.output import Output

OF_JOBS = ("jobs", "job", "runs")
"""The reports on jobs."""
OFFSET = {
    "boot": ("id",),
    "clock": ("id", "boot_id"),
    "gap": ("id", "boot_id"),
    "job": ("id", "boot_id"),
    "job_tag": ("job_id",),
    "job_cgroup": ("job_id",),
    "rollup_job": ("job_id",),
    "rollup_audit": ("boot_id",),
}
"""The columns that have ids of the fleet in the copy, by table."""
# A condition that a row is of one of many boots or jobs, by the halves of their ids in the copy.
AMONG = "(t.host_id, t.{}) in (select * from unnest(%s::bigint[], %s::bigint[]))"


@dataclass(frozen=True)
class Wanted:
    """What a report asks for, before its jobs and users are known."""

    report: str
    asked: Asked
    output: Output
    by: str | None = None
    """What a bill has lines by."""
    job: str | None = None
    """The job that it is about."""
    clip: bool = False
    explain: bool = False
    as_of_ns: int | None = None

    @property
    def names_jobs(self) -> bool:
        """Whether it is about jobs that are chosen by name, id or tag."""
        if self.report in OF_JOBS:
            return bool(self.asked.get("job") or self.asked.get("tag") or self.job)
        return bool(self.asked.get("job") or self.asked.get("tag") or self.asked.get("kind"))


class Part(NamedTuple):
    """Hours whose sums count in the same hour of the copy; None for that hour: each in itself."""

    first: int
    until: int
    hour: int | None = None


class Copy(sqlite3.Connection):
    """The warehouse in memory, with the connection to the fleet database."""

    server: Any
    url: FleetUrl
    wanted: Wanted
    chosen: list[int] | None = None
    """The hosts of --host; None: all."""
    host_names: list[str]
    """Of all hosts."""
    explained: list[str]
    hosts = Hosts(0, [], [], [], [], [], [], None, begun=True)
    hours_taken: list[Part]
    """The hours whose sums were taken from tables that `elsa fleet prune` shortens."""

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query in PostgreSQL, whose SQL --explain prints."""
        if self.wanted.explain:
            self._explain(sql, values)
        with self.server.cursor(binary=True) as cursor:
            rows: list[tuple[Any, ...]] = cursor.execute(sql, values).fetchall()
        return rows

    def _explain(self, sql: str, values: Sequence[Any]) -> None:
        first, *rest = sql.split("%s")
        text = first + "".join(
            _literal(value) + part for value, part in zip(values, rest, strict=True)
        )
        self.explained.append(f"{text.strip()};")

    def of_hosts(self, alias: str = "t") -> tuple[str, list[Any]]:
        """A condition, and its values, for the chosen hosts."""
        if self.chosen is None:
            return "true", []
        return f"{alias}.host_id = any(%s)", [self.chosen]

    def fill(self, table: str, where: str, values: Sequence[Any]) -> None:
        """Copy rows of a table that both have, with ids that are unique in the fleet."""
        names = [name for _, name, *_ in self.execute(f"pragma table_info({table})")]
        texts = {"cgroup_id": "cgroup", "acct_file_id": "acct_file"}
        listed = ", ".join(
            f"t.host_id * {IDS_OF_HOST} + t.{name}"
            if name in OFFSET.get(table, ())
            else f"t.{texts.get(name, name)}"
            for name in names
        )
        of_hosts, hosts = self.of_hosts()
        if table in ("tariff", "tariff_factor"):
            of_hosts, hosts = "true", []
        rows = self.rows(
            f"select {listed} from elsa.{table} as t where {of_hosts} and {where}",
            [*hosts, *values],
        )
        for name in texts.keys() & {*names}:
            rows = self._with_ids(rows, names.index(name), name)
        places = ", ".join("?" * len(names))
        self.executemany(f"insert or ignore into {table} values ({places})", rows)

    def _with_ids(
        self, rows: list[tuple[Any, ...]], place: int, name: str
    ) -> list[tuple[Any, ...]]:
        """The rows with the id of a text instead of the text."""
        texts = {row[place] for row in rows if row[place] is not None}
        ids = {text: self._text_id(name, text) for text in sorted(texts)}
        return [(*row[:place], ids.get(row[place]), *row[place + 1 :]) for row in rows]

    def _text_id(self, name: str, text: str) -> int:
        if name == "acct_file_id":
            sql = """insert into acct_file values (null, (select min(id) from host), ?, 0, 0, 0, 0,
                x'', x'', 0, 0, 0, 0)"""
            return int(self.execute(sql, (text,)).lastrowid or 0)
        self.execute("insert or ignore into long_text (value) values (?)", (text,))
        (id_,) = self.execute("select id from long_text where value = ?", (text,)).fetchone()
        return int(id_)

    def begin(self) -> None:
        """Copy what choices of hosts and users are understood by: hosts and names."""
        for statement in (*statements.tables(), *statements.views()):
            self.execute(statement)
        # A host has a few clocks; with those of a fleet, each gap would be compared with thousands.
        self.execute("create index clock_boot on clock (boot_id, since_ns)")
        self.execute("create temp table account (kind, host_id, id, name)")
        if dict(self.rows(settings.QUERY)).get(settings.SAME_USERS) == "yes":
            self.execute("create temp table same_users (x)")
        self.execute(f"create temp table silence ({', '.join(Silence._fields)})")
        self.execute("create index temp.account_id on account (kind, host_id, id)")
        hosts = self.rows(f"{HOSTS} order by t.id")
        self.executemany("insert into host values (?, ?, ?)", hosts)
        self.host_names = sorted({name for _, _, name in hosts})
        if self.wanted.asked.get("host"):
            self.chosen = host_ids(self, self.wanted.asked["host"])
        for kind in ("user", "group"):
            names = [text for text in self.wanted.asked.get(kind, ()) if text]
            if names:
                self.fill_accounts("t.kind = %s and t.name = any(%s)", [kind, names])

    def fill_accounts(self, where: str, values: Sequence[Any]) -> None:
        """Copy names that users and groups have on the hosts."""
        of_hosts, hosts = self.of_hosts()
        rows = self.rows(
            f"select t.kind, t.host_id, t.id, t.name from elsa.account as t where {of_hosts}"
            f" and {where}",
            [*hosts, *values],
        )
        self.executemany("insert into temp.account values (?, ?, ?, ?)", rows)

    def fill_jobs(self, where: str, values: Sequence[Any]) -> None:
        """Copy jobs with their tags, counters and boots."""
        self.fill("job", where, values)
        jobs = f"(t.host_id, t.job_id) in (select t.host_id, t.id from elsa.job as t where {where})"
        for table in ("job_tag", "job_cgroup"):
            self.fill(table, jobs, values)
        boots = (
            f"(t.host_id, t.id) in (select t.host_id, t.boot_id from elsa.job as t where {where})"
        )
        self.fill("boot", boots, values)

    def ids(self, sql: str) -> list[int]:
        """Ids in the copy, by SQL for SQLite."""
        return [id_ for (id_,) in self.execute(sql)]

    def fill_jobs_of(self, ids: Iterable[int]) -> None:
        """Copy the jobs with these ids, where they were not copied yet."""
        known = {*self.ids("select id from job")}
        missing = [id_ for id_ in ids if id_ not in known]
        if missing or self.wanted.explain:
            self.fill_jobs(AMONG.format("id"), split_ids(missing))


def _literal(value: object) -> str:
    """A value as PostgreSQL reads it."""
    if isinstance(value, list):
        return f"array[{', '.join(map(_literal, value))}]" if value else "'{}'"
    text = str(value).replace("'", "''")
    return text if isinstance(value, int) else f"'{text}'"
