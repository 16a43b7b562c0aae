"""A small warehouse in memory with what a report on the fleet reads: the sums of the chosen hosts,
added up in PostgreSQL as far as the report allows, and no process. The report itself is that of a
host, with the same options, words and formats.

Sums of many hours stand in one hour of the copy: the hour in which the report counts them
(`Part`). All sums are marked as those of pruned processes, since only sums are known.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from elsa.errors import UsageError
from elsa.fleet import database
from elsa.fleet.ids import IDS_OF_HOST, split_ids
from elsa.fleet.lacking import LATE_HOURS, Hosts, Incomplete, Late, Pruned, iso
from elsa.fleet.numeric import storable
from elsa.measures import OF_AUDIT, ROLLED, ROLLED_OF_JOB, Measure
from elsa.report import bill, completeness, usage
from elsa.report.query import periods, rollup_source, warehouse
from elsa.report.query.selection import Selection, host_ids
from elsa.report.query.statement import columns_of
from elsa.report.query.times import Window
from elsa.report.render.columns import local_time
from elsa.state import job_kinds
from elsa.store import statements, tariffs
from elsa.units import HOUR_NS

if TYPE_CHECKING:
    from elsa.fleet_url import FleetUrl
    from elsa.report.query.selection import Asked
    from elsa.report.render.output import Output

_ALWAYS = Window()
_DAY = 24
_FIRST, _LAST = -(2**31), 2**31 - 1
_BY = {"commands": usage.COMMANDS, "users": usage.USERS, "groups": usage.GROUPS}
_OVER_TIME = {"hours": usage.HOURS, "days": usage.DAYS, "months": usage.MONTHS}
_OF_JOBS = ("jobs", "job", "runs")
REPORTS = (*_BY, *_OVER_TIME, *_OF_JOBS, "kinds", "bill", "audit", "gaps")
"""The reports that sums can answer."""
_OFFSET = {
    "boot": ("id",),
    "clock": ("id", "boot_id"),
    "gap": ("id", "boot_id"),
    "job": ("id", "boot_id"),
    "job_tag": ("job_id",),
    "job_cgroup": ("job_id",),
    "rollup_job": ("job_id",),
    "rollup_audit": ("boot_id",),
}
# What a bill reads of the measures.
_CHARGED = {
    *("processes", "cpu_s", "coremem_mb_s", "read_bytes", "write_bytes"),
    *("with_usage", "without_usage", *completeness.CLASS_SUMS),
}
# The keys of the tables of sums, besides host_id.
_KEYS = {
    "rollup_user": ("uid", "gid", "in_job"),
    "rollup_command": ("command", "forked_only"),
    "rollup_job": ("job_id",),
    "rollup_audit": ("boot_id", "class", "before_first_start"),
}
_WITH_HOST = ("rollup_user", "rollup_command")
_MEASURES: dict[str, dict[str, Measure]] = {
    "rollup_user": ROLLED,
    "rollup_command": ROLLED,
    "rollup_job": ROLLED_OF_JOB,
    "rollup_audit": OF_AUDIT,
}
_FOLDS = {"float": "sum(t.{})", "max": "max(t.{})", "min": "min(t.{})", "union": "bit_or(t.{})"}
# A sum of bigint is numeric. As bigint it takes less time, unless it is too large.
_PLAIN, _EXACT = "sum(t.{})::bigint", "sum(t.{})"


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
    explained: list[str]
    hosts = Hosts(0, [], [], [])
    hours_taken: list[Part]
    """The hours whose sums were taken from tables that `elsa fleet prune` shortens."""

    # --- reading from PostgreSQL

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
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

    def _of_hosts(self, alias: str = "t") -> tuple[str, list[Any]]:
        """A condition, and its values, for the chosen hosts."""
        if self.chosen is None:
            return "true", []
        return f"{alias}.host_id = any(%s)", [self.chosen]

    def _fill(self, table: str, where: str, values: Sequence[Any]) -> None:
        """Copy rows of a table that both have, with ids that are unique in the fleet."""
        names = [name for _, name, *_ in self.execute(f"pragma table_info({table})")]
        texts = {"cgroup_id": "cgroup", "acct_file_id": "acct_file"}
        listed = ", ".join(
            f"t.host_id * {IDS_OF_HOST} + t.{name}"
            if name in _OFFSET.get(table, ())
            else f"t.{texts.get(name, name)}"
            for name in names
        )
        of_hosts, hosts = self._of_hosts()
        if table in ("tariff", "tariff_factor"):
            of_hosts, hosts = "true", []
        rows = self._rows(
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

    # --- before the selection is known

    def begin(self) -> None:
        """Copy what the options are understood by: hosts, names, tariffs, and jobs by name."""
        for statement in (*statements.tables(), *statements.views()):
            self.execute(statement)
        self.execute("create temp table account (kind, host_id, id, name)")
        self.execute("create index temp.account_id on account (kind, host_id, id)")
        hosts = self._rows("select t.id, t.machine_id, t.name from elsa.host as t order by t.id")
        self.executemany("insert into host values (?, ?, ?)", hosts)
        if self.wanted.asked.get("host"):
            self.chosen = host_ids(self, self.wanted.asked["host"])
        for kind in ("user", "group"):
            names = [text for text in self.wanted.asked.get(kind, ()) if text]
            if names:
                self._fill_accounts("t.kind = %s and t.name = any(%s)", [kind, names])
        if self.wanted.report == "bill":
            self._fill("tariff", "true", [])
            self._fill("tariff_factor", "true", [])
        self._fill_named_jobs()

    def _fill_accounts(self, where: str, values: Sequence[Any]) -> None:
        of_hosts, hosts = self._of_hosts()
        rows = self._rows(
            f"select t.kind, t.host_id, t.id, t.name from elsa.account as t where {of_hosts}"
            f" and {where}",
            [*hosts, *values],
        )
        self.executemany("insert into temp.account values (?, ?, ?, ?)", rows)

    @property
    def _names_jobs(self) -> bool:
        asked = self.wanted.asked
        if self.wanted.report in _OF_JOBS:
            return bool(asked.get("job") or asked.get("tag") or self.wanted.job)
        return bool(asked.get("job") or asked.get("tag") or asked.get("kind"))

    def _fill_named_jobs(self) -> None:
        """Copy the jobs that the names, ids and tags of options may mean."""
        if not self._names_jobs:
            return
        asked = self.wanted.asked
        names = [*asked.get("job", ()), *([self.wanted.job] if self.wanted.job else [])]
        where, values = "true", []
        if names and not any(set("*?[") & {*name} for name in names):
            possible = {end for name in names for end in _endings(name)}
            ids = [int(name) for name in names if name.isascii() and name.isdigit()]
            ids = [id_ for id_ in ids if id_ < 2**63]
            where = f"(t.name = any(%s) or t.host_id * {IDS_OF_HOST} + t.id = any(%s))"
            values = [sorted(possible), ids]
        elif not names and asked.get("tag"):
            where = """(t.host_id, t.id) in (
                select g.host_id, g.job_id from elsa.job_tag as g where g.key = any(%s))"""
            values = [[tag.partition("=")[0] for tag in asked["tag"]]]
        self._fill_jobs(where, values)

    def _fill_jobs(self, where: str, values: Sequence[Any]) -> None:
        """Copy jobs with their tags, counters and boots."""
        self._fill("job", where, values)
        jobs = f"(t.host_id, t.job_id) in (select t.host_id, t.id from elsa.job as t where {where})"
        for table in ("job_tag", "job_cgroup"):
            self._fill(table, jobs, values)
        boots = (
            f"(t.host_id, t.id) in (select t.host_id, t.boot_id from elsa.job as t where {where})"
        )
        self._fill("boot", boots, values)

    # --- when it is known

    def fetch(self, selection: Selection) -> Selection:
        """Copy what the report on a selection reads, and return the selection by whole hours.
        Raises UsageError if sums cannot answer it.
        """
        selection, words = _by_whole_hours(selection)
        # The copy has the chosen hosts only.
        others = (each for each in selection.choices if columns_of([each.sql]) != {"host_id"})
        selection = replace(selection, choices=tuple(others))
        report, window = self.wanted.report, selection.window
        if self.wanted.clip:
            raise self._needs_processes("--clip")
        if report in _BY or report in _OVER_TIME:
            self._fetch_usage((_BY | _OVER_TIME)[report], selection)
        elif report == "kinds":
            self._sum("rollup_user", columns_of(each.sql for each in selection.choices), window)
            self._sum("rollup_job", {"job_id"}, window)
            if window:
                self._fill_jobs_of(self._summed_jobs())
            else:
                self._fill_jobs("t.kind <> 'manual'", [])
        elif report == "bill":
            self._fetch_bill(selection)
        elif report == "audit":
            self._sum("rollup_audit", {*_KEYS["rollup_audit"]}, window)
            self._fetch_whole_jobs(self._with_counters(window))
        elif report in _OF_JOBS:
            self._fetch_jobs(selection)
        self._fill_boots_and_gaps(window)
        self._fill_names()
        warehouse.give_names(self)
        self.hosts = self._incomplete_hosts(window)
        return replace(selection, words=(*selection.words, *words))

    def _needs_processes(self, what: str) -> UsageError:
        hosts = [name for (name,) in self.execute("select name from host order by id")]
        if self.chosen is not None:
            ids = ", ".join(map(str, self.chosen))
            rows = self.execute(f"select name from host where id in ({ids}) order by id")
            hosts = [name for (name,) in rows]
        where = f"on {hosts[0]}" if len(hosts) == 1 else "on the host itself"
        return UsageError(
            f"{what} needs single processes, and a fleet database has sums only: by user and group,"
            f" by command, and by job; run this report {where}"
        )

    def _fetch_usage(self, by: usage.By, selection: Selection) -> None:
        of_job = by.period is not None and selection.job is not None
        by = by.of(selection, self.wanted.output)
        rollup = usage.rollup_of(by, selection)
        if rollup is None:
            raise self._needs_processes(
                f"{self.wanted.report} with these options" if not of_job else "this choice"
            )
        table = "rollup_user" if rollup == rollup_source.ALL else rollup
        choices = [each.sql for each in selection.choices]
        keys = columns_of([*by.keys.values(), *by.apart, *choices])
        needed = usage.measures(by, selection, self.wanted.output)
        parts = self._parts(by.period, selection.window)
        self._sums(table, keys, parts, needed, selection.jobs)
        if table == "rollup_user":
            return
        if rollup_source.knows("rollup_user", selection.choices):
            sources = {*completeness.CLASS_SUMS}
            self._sum("rollup_user", columns_of(choices), selection.window, sources)
        # The view hour_without_day knows an hour by its sums by user.
        self.execute(
            "insert into rollup_user (hour, pruned, in_job)"
            f" select distinct hour, 1, 0 from {table}"
            " where hour not in (select hour from rollup_user)"
        )

    def _fetch_bill(self, selection: Selection) -> None:
        by = self.wanted.by or "user"
        if bill.rollup_of(by, selection) is None:
            raise self._needs_processes("a bill with these options")
        choices = columns_of(each.sql for each in selection.choices)
        parts = self._parts_of_prices(selection.window)
        if by in ("user", "group"):
            of = {"uid" if by == "user" else "gid", "host_id"}
            self._sums("rollup_user", of | choices, parts, _CHARGED)
            return
        self._sums("rollup_user", {"in_job"} | choices, parts, _CHARGED)
        self._sums("rollup_job", {"job_id"}, parts, _CHARGED)
        self._fill_jobs_of(self._summed_jobs())

    def _fetch_jobs(self, selection: Selection) -> None:
        """Copy what the chosen jobs used in the window and otherwise, in different hours."""
        window, report = selection.window, self.wanted.report
        if report == "job" and window and self.wanted.by:
            raise self._needs_processes("--summary in a window")
        if self._names_jobs:
            ids = selection.jobs or self._ids("select id from job")
        elif report == "jobs" and window:
            self._sum("rollup_job", {"job_id"}, window)
            ids = self._summed_jobs()
        else:
            ids = self._listed_jobs(window)
        if window and (self._names_jobs and report != "runs"):
            self._sum("rollup_job", {"job_id"}, window, jobs=ids)
        self._fetch_whole_jobs(ids, window if report != "runs" else Window())

    def _fetch_whole_jobs(self, ids: Sequence[int], window: Window = _ALWAYS) -> None:
        """Copy jobs, and what they used outside of a window that was copied already."""
        self._fill_jobs_of(ids)
        first, until = _hours(window)
        elsewhere = until if window.since is None else first - 1
        parts = [Part(_FIRST, first, elsewhere), Part(until, _LAST, elsewhere)]
        if not window:
            elsewhere, parts = 0, [Part(_FIRST, _LAST, 0)]
        self._sums("rollup_job", {"job_id"}, parts, None, ids)
        self._sum_ranges(
            "rollup_job", "rollup_job", None, [Part(0, 0, elsewhere)], {"job_id"}, None, ids
        )

    def _listed_jobs(self, window: Window) -> list[int]:
        """The jobs of a list of jobs without a window, or of a report on runs."""
        asked, output = self.wanted.asked, self.wanted.output
        where, values = self._of_hosts()
        kinds = job_kinds.chosen(asked.get("kind", ()))
        where += " and t.kind = any(%s)"
        values.append(sorted(kinds))
        if window.since is not None:
            where += " and (t.closed_at_ns is null or t.closed_at_ns >= %s)"
            values.append(window.since)
        if window.until is not None:
            where += " and t.created_at_ns < %s"
            values.append(window.until)
        narrowed = output.sort is not None or any(
            asked.get(name) for name in ("user", "exit", "state", "cgroup")
        )
        if self.wanted.report == "jobs" and output.limit is not None and not narrowed:
            where += " order by t.created_at_ns desc, t.host_id desc, t.id desc"
            where += f" limit {output.limit + 1}"
        rows = self._rows(
            f"select t.host_id * {IDS_OF_HOST} + t.id from elsa.job as t where {where}", values
        )
        return [id_ for (id_,) in rows]

    def _with_counters(self, window: Window) -> list[int]:
        """The newest jobs that closed in a window and have counters of a control group."""
        where, values = self._of_hosts()
        for time, how in ((window.since, ">="), (window.until, "<")):
            if time is not None:
                where += f" and t.closed_at_ns {how} %s"
                values.append(time)
        rows = self._rows(
            f"""select t.host_id * {IDS_OF_HOST} + t.id from elsa.job as t
            where {where} and exists (
                select 1 from elsa.job_cgroup as g where g.host_id = t.host_id and g.job_id = t.id)
            order by t.created_at_ns desc limit {self.wanted.output.limit or 20}""",
            values,
        )
        return [id_ for (id_,) in rows]

    def _ids(self, sql: str) -> list[int]:
        return [id_ for (id_,) in self.execute(sql)]

    def _summed_jobs(self) -> list[int]:
        return self._ids("select distinct job_id from rollup_job")

    def _fill_jobs_of(self, ids: Iterable[int]) -> None:
        known = {*self._ids("select id from job")}
        missing = [id_ for id_ in ids if id_ not in known]
        if missing or self.wanted.explain:
            self._fill_jobs(_AMONG.format("id"), split_ids(missing))

    # --- sums

    def _sum(
        self,
        table: str,
        keys: set[str],
        window: Window,
        needed: set[str] | None = None,
        jobs: Sequence[int] | None = None,
    ) -> None:
        """Copy the sums over a whole window."""
        self._sums(table, keys, self._parts(None, window), needed, jobs)

    def _parts(self, period: str | None, window: Window) -> list[Part]:
        """The hours of a window that count together: in each period, or in all."""
        first, until = _hours(window)
        if period is None:
            return [
                Part(first, until, 0 if not window else until - 1 if first == _FIRST else first)
            ]
        spanned = self._span(window)
        if spanned is None:
            return []
        first, until = spanned
        laid = periods.lay(
            periods.MONTH if period == periods.MONTH else periods.DAY,
            first * HOUR_NS,
            until * HOUR_NS - 1,
        )
        if not periods.are_whole_hours(laid):
            raise UsageError(
                "the hours of this host's clock are not those of UTC, by which a fleet database has"
                " sums; set TZ=UTC"
            )
        if period == periods.HOUR:
            return [Part(first, until)]
        bounds = [
            (max(each.since_ns // HOUR_NS, first), min(each.until_ns // HOUR_NS, until))
            for each in laid
        ]
        return [Part(start, end, start) for start, end in bounds if start < end]

    def _span(self, window: Window) -> tuple[int, int] | None:
        """The hours of a window, within those that have sums; None if there are none."""
        of_hosts, hosts = self._of_hosts()
        ((least, most),) = self._rows(
            f"select min(t.day), max(t.day) from elsa.rollup_day_user as t where {of_hosts}", hosts
        )
        if least is None:
            return None
        first, until = _hours(window)
        first, until = max(first, least * _DAY), min(until, (most + 1) * _DAY)
        return (first, until) if first < until else None

    def _parts_of_prices(self, window: Window) -> list[Part]:
        """The hours of a window that have the same price. Raises UsageError if a price changes
        within an hour.
        """
        spanned = self._span(window)
        if spanned is None:
            return []
        tariff_set = tariffs.load(self, self.wanted.as_of_ns)
        hours = range(*spanned)
        prices = []
        for hour in hours:
            of_hour = bill.prices_in(tariff_set, hour)
            if len(of_hour) > 1:
                raise UsageError(
                    f"a price changes within the hour of {local_time(iso(hour))}, and a fleet"
                    " database has sums by the hour of UTC; bill on the hosts themselves"
                )
            prices.append(next(iter(of_hour)))
        parts: list[Part] = []
        firsts: dict[object, int] = {}
        start = spanned[0]
        for price, group in itertools.groupby(prices):
            end = start + len([*group])
            parts.append(Part(start, end, firsts.setdefault(price, start)))
            start = end
        return parts

    def _sums(
        self,
        table: str,
        keys: set[str],
        parts: Iterable[Part],
        needed: set[str] | None = None,
        jobs: Sequence[int] | None = None,
    ) -> None:
        """Copy sums by some keys: those of whole days of UTC from the sums by day."""
        days, hours = [], []
        for part in parts:
            first, until = -(-part.first // _DAY), part.until // _DAY
            if part.first == _FIRST:
                first = _FIRST
            if part.until == _LAST:
                until = _LAST
            if table == "rollup_audit" or part.hour is None or first >= until:
                hours.append(part)
                continue
            days.append(Part(first, until, part.hour))
            if first != _FIRST:
                hours.append(Part(part.first, first * _DAY, part.hour))
            if until != _LAST:
                hours.append(Part(until * _DAY, part.until, part.hour))
        if table in _WITH_HOST:
            self.hours_taken += hours
        of_days = table.replace("rollup_", "rollup_day_")
        self._sum_ranges(table, of_days, "day", days, keys, needed, jobs)
        self._sum_ranges(table, table, "hour", hours, keys, needed, jobs)

    def _sum_ranges(
        self,
        table: str,
        source: str,
        column: str | None,
        ranges: list[Part],
        keys: set[str],
        needed: set[str] | None,
        jobs: Sequence[int] | None,
    ) -> None:
        """Copy the sums of some ranges of hours or days; without a column, those of no hour."""
        ranges = [each for each in ranges if each.first < each.until or column is None]
        if not ranges or (jobs is not None and not jobs and not self.wanted.explain):
            return
        kept = [key for key in _KEYS[table] if key in keys]
        group = [f"t.{key}" for key in kept]
        if table not in _WITH_HOST:
            group.insert(0, "t.host_id")
        elif "host_id" in keys:
            kept, group = ["host_id", *kept], ["t.host_id", *group]
        where, values = self._of_hosts()
        before: list[Any] = []
        origin = f"elsa.{source} as t"
        if column is None:
            hour = str(ranges[0].hour)
            where += " and t.hour is null"
        elif len(ranges) == 1:
            (only,) = ranges
            hour = f"t.{column}" if only.hour is None else str(only.hour)
            where += f" and t.{column} >= {only.first} and t.{column} < {only.until}"
        else:
            hour = "g.hour"
            before = [[each[place] for each in ranges] for place in range(3)]
            origin = (
                "unnest(%s::bigint[], %s::bigint[], %s::bigint[]) as g (first, until, hour)"
                f" join {origin} on t.{column} >= g.first and t.{column} < g.until"
            )
        if hour[0] in "tg":
            group.insert(0, hour)
        if jobs is not None:
            where += f" and {_AMONG.format('job_id')}"
            values = [*values, *split_ids(jobs)]
        measures = {
            measure.rolled: measure
            for key, measure in _MEASURES[table].items()
            if needed is None or key in needed
        }
        listed = [hour, *(_offset(table, key) for key in kept)]
        grouped = f" group by {', '.join(group)}" if group else " having count(*) > 0"
        text = f"select {{}} from {origin} where {where}{grouped}"

        def read(sums: str) -> list[tuple[Any, ...]]:
            folds = [
                _FOLDS.get(measure.fold, sums).format(name) for name, measure in measures.items()
            ]
            return self._rows(text.format(", ".join((*listed, *folds))), [*before, *values])

        if self.wanted.explain:
            read(_EXACT)
            return
        self._insert(table, kept, measures, read)

    def _insert(
        self,
        table: str,
        kept: list[str],
        measures: Mapping[str, Measure],
        read: Callable[[str], list[tuple[Any, ...]]],
    ) -> None:
        too_large = database.driver().errors.NumericValueOutOfRange
        try:
            with self.server.transaction():
                rows = read(_PLAIN)
        except too_large:
            rows = [*storable(read(_EXACT), 1 + len(kept))]
        stored = ["hour", *kept]
        if "command" in kept:
            place = stored.index("command")
            ids = dict(self._commands(rows, place))
            rows = [(*row[:place], ids.get(row[place]), *row[place + 1 :]) for row in rows]
            stored[place] = "comm_id"
        constant = {} if table == "rollup_audit" else {"pruned": 1}
        if table == "rollup_user" and "in_job" not in kept:
            constant["in_job"] = 0
        names = ", ".join((*constant, *stored, *measures))
        places = ", ".join("?" * (len(stored) + len(measures)))
        values = "".join(f"{value}, " for value in constant.values())
        self.executemany(f"insert into {table} ({names}) values ({values}{places})", rows)

    def _commands(self, rows: Iterable[tuple[Any, ...]], place: int) -> Iterator[tuple[str, int]]:
        """The ids and names of the commands of some rows."""
        names = sorted({row[place] for row in rows if row[place] is not None})
        self.executemany(
            "insert or ignore into comm (name) values (?)", [(name,) for name in names]
        )
        yield from self.execute("select name, id from comm")

    # --- what else reports read

    def _fill_boots_and_gaps(self, window: Window) -> None:
        """Copy the boots of a window, and the known losses that may touch it or a copied job."""
        where, values = ["true"], list[Any]()
        if window.until is not None:
            where.append("coalesce(t.started_at_ns < %s, true)")
            values.append(window.until)
        if window.since is not None:
            where.append("coalesce(t.ended_at_ns >= %s, true)")
            values.append(window.since)
        self._fill("boot", " and ".join(where), values)
        boots = self._ids("select id from boot")
        among = _AMONG.format("boot_id")
        touching, values = "true", list[Any]()
        if window and not self._ids("select id from job limit 1"):
            # Wider than the exact conditions, which follow in SQLite.
            offset = "(select {}(c.offset_ns) from elsa.clock as c where c.host_id = t.host_id"
            offset += " and c.boot_id = t.boot_id)"
            if window.since is not None:
                touching += f" and coalesce(t.to_ns + {offset.format('max')} >= %s, true)"
                values.append(window.since)
            if window.until is not None:
                touching += f" and coalesce(t.from_ns + {offset.format('min')} < %s, true)"
                values.append(window.until)
        self._fill(
            "gap", f"(t.boot_id is null or {among}) and {touching}", [*split_ids(boots), *values]
        )
        of_gaps = self._ids("select distinct boot_id from gap where boot_id is not null")
        self._fill("clock", among, split_ids(of_gaps))

    def _fill_names(self) -> None:
        """Copy the names of the users and groups that the copy has."""
        present = {
            "user": """select host_id, uid from rollup_user where uid is not null
                union select b.host_id, j.owner_uid
                from job as j join boot as b on b.id = j.boot_id""",
            "group": "select host_id, gid from rollup_user where gid is not null",
        }
        for kind, sql in present.items():
            rows = [(host_id, id_) for host_id, id_ in self.execute(sql) if host_id is not None]
            if rows:
                ids = [[host_id for host_id, _ in rows], [id_ for _, id_ in rows]]
                self._fill_accounts(f"t.kind = %s and {_AMONG.format('id')}", [kind, *ids])

    def _incomplete_hosts(self, window: Window) -> Hosts:
        """The hosts that are late, or have known losses in a window."""
        of_hosts = "true" if self.chosen is None else "t.id = any(%s)"
        rows = self._rows(
            "select t.name, t.until_hour, floor(extract(epoch from now()))::bigint"
            f" from elsa.host as t where {of_hosts} order by t.until_hour nulls first, t.id",
            [] if self.chosen is None else [self.chosen],
        )
        late = []
        for name, until_hour, now_s in rows:
            end = now_s // 3600 - LATE_HOURS
            if window.until is not None:
                end = min(end, window.until // HOUR_NS)
            if until_hour is None or until_hour < end:
                late.append(Late(name, None if until_hour is None else iso(until_hour)))
        touching = completeness.touching(window) or " where true"
        incomplete = self.execute(
            f"select host, count(*) from gaps{touching} and host is not null group by host_id, host"
            " order by 2 desc, 1"
        )
        gaps = [Incomplete(*row) for row in incomplete]
        return Hosts(len(rows), late, gaps, [*self._pruned_hosts()])

    def _pruned_hosts(self) -> Iterator[Pruned]:
        """The hosts of which hours that the report took were deleted."""
        some = "select 1 from elsa.host where pruned_hour is not null limit 1"
        if not self.hours_taken or not self._rows(some):
            return
        of_hosts, hosts = self._of_hosts("d")
        # Where a day has no sums, none of its hours had any.
        rows = self._rows(
            f"""select h.name, h.pruned_hour, array_agg(distinct d.day order by d.day)
            from elsa.host as h join elsa.rollup_day_user as d
                on d.host_id = h.id and d.day < h.pruned_hour / {_DAY}
            where {of_hosts} group by h.id order by h.name, h.id""",
            hosts,
        )
        for name, pruned_hour, days in rows:
            missing = [
                (max(first, part.first), min(first + _DAY, part.until, pruned_hour))
                for day in days
                for part in self.hours_taken
                if (first := day * _DAY) < part.until and part.first < first + _DAY
            ]
            if missing:
                since, until = min(missing)[0], max(end for _, end in missing)
                yield Pruned(name, iso(since), iso(until))


# A condition that a row is of one of many boots or jobs, by the halves of their ids in the copy.
_AMONG = "(t.host_id, t.{}) in (select * from unnest(%s::bigint[], %s::bigint[]))"


@contextmanager
def reading(url: FleetUrl, wanted: Wanted) -> Iterator[Copy]:
    """The copy for a report, which fetches what the report reads. Raises UsageError for a report
    that sums cannot answer, and what connecting raises.
    """
    if wanted.report not in REPORTS:
        raise UsageError(
            f"elsa report {wanted.report} needs single processes, and {url} has the sums of a fleet"
            f" only; run it on the host itself, or take one of: {', '.join(REPORTS)}"
        )
    copy = sqlite3.connect(":memory:", isolation_level=None, factory=Copy)
    with warehouse.of_copy(str(url), copy):
        copy.url, copy.wanted, copy.explained, copy.hours_taken = url, wanted, [], []
        copy.server = database.connect(url, lock_s=database.READ_LOCK_S)
        try:
            with database.translated(url):
                # All sums are those of one state of the fleet.
                copy.server.execute("begin transaction isolation level repeatable read, read only")
                copy.begin()
                warehouse.give_names(copy)
                yield copy
        finally:
            copy.server.close()


def _by_whole_hours(selection: Selection) -> tuple[Selection, list[str]]:
    """The selection with a window of whole hours, and a note if it was another."""
    since, until = (
        None if time is None else time // HOUR_NS * HOUR_NS for time in selection.window
    )
    window = Window(since, until)
    if window == selection.window:
        return selection, []
    ends = [
        f"{word} {local_time(iso(time // HOUR_NS))}"
        for word, time in (("from", since), ("until", until))
        if time is not None
    ]
    return replace(selection, window=window), [
        f"a fleet database has sums by the hour: the window is {' '.join(ends)}"
    ]


def _hours(window: Window) -> tuple[int, int]:
    """The first hour of a window, and the hour after its last."""
    first = _FIRST if window.since is None else window.since // HOUR_NS
    return first, max(first, _LAST if window.until is None else window.until // HOUR_NS)


def _offset(table: str, key: str) -> str:
    if key in _OFFSET.get(table, ()):
        return f"t.host_id * {IDS_OF_HOST} + t.{key}"
    return f't."{key}"'


def _endings(name: str) -> Iterator[str]:
    """The names of jobs that a text may mean: nightly#-2, service:nginx, service:anna:nginx."""
    for text in (name, name.rpartition("#")[0]):
        parts = text.split(":")
        yield from (":".join(parts[first:]) for first in range(min(len(parts), 3)))


def _literal(value: object) -> str:
    """A value as PostgreSQL reads it."""
    if isinstance(value, list):
        return f"array[{', '.join(map(_literal, value))}]" if value else "'{}'"
    text = str(value).replace("'", "''")
    return text if isinstance(value, int) else f"'{text}'"
