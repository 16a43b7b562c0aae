"""Sums of plain processes, added up in memory while their records are stored, so that the views
need not sum up their hours.

A process is plain if its accounting record is all that says what it used, its end is certain, and
it is in no job: so are all processes of a host without jobd. The views define the sums, and
rollups.py sums up any hour by them. For plain processes these are the same sums in a tenth of the
time; tests/properties/test_plain_sums.py compares the two. Where all hours of a day were added up
in this way, in one pass, the day is too.
"""

from __future__ import annotations

import sqlite3
import struct
import sys
import time
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, starmap
from operator import gt, sub
from typing import Any, NamedTuple, TypeAlias

from elsa.decode.acct import AFORK, ETIME, FLAG, GID, MAJFLT, MINFLT, STIME, UID, UTIME
from elsa.measures import ROLLED
from elsa.store import daily_rollups, rollups
from elsa.store.daily_rollups import HOURS_OF_DAY
from elsa.store.database import insert_rows
from elsa.store.rollups import CLASS
from elsa.units import HOUR_NS, SECOND_NS

_TICK_NS = SECOND_NS // 100
_MINUTE_NS = 60 * SECOND_NS


BOTH, ONLY_ACCT = "both", "only_acct"


class KnownBy(NamedTuple):
    """By what a process is known, as the audit counts processes."""

    boot_id: int
    class_: str
    """BOTH or ONLY_ACCT."""
    before_first_start: int | None


class Plain(NamedTuple):
    """What plain processes add to the sums beside their records: columns, in the order of the
    records.
    """

    ended_ns: list[int | None]
    """Real time; None: the record's process is not plain."""
    elapsed_ns: list[int]
    known_by: list[KnownBy]

    @classmethod
    def none(cls, number: int) -> Plain:
        """So many records whose processes are not plain."""
        return cls([None] * number, [0] * number, [_UNKNOWN] * number)

    def part(self, some: slice) -> Plain:
        """Of some of the records."""
        return Plain(self.ended_ns[some], self.elapsed_ns[some], self.known_by[some])


_UNKNOWN = KnownBy(0, "", None)
_Key: TypeAlias = tuple[int, int]
Total: TypeAlias = int
"""How many processes, of how many only the record is known, and the sums of the figures of their
records: the first eight of _MEASURES. They are parts of one integer, so that one addition adds all
of them. Each has 128 bits, which no sum of figures of 64 bits exceeds.
"""
_FIGURES = 8
_WORDS = 2  # of 64 bits, for each figure
_SIZE = _FIGURES * _WORDS * 8
_BYTES = struct.Struct(f"{_SIZE}s")
_LOW_WORDS = struct.Struct(f">{'8xQ' * _FIGURES}")


def _measures() -> dict[str, str]:
    """The measures of plain processes, in SQL over rows of a hour, two keys and a total. All other
    measures are NULL.
    """
    processes, only_by_acct, elapsed, etime, utime, stime, minflt, majflt = (
        f"column{number}" for number in range(4, 4 + _FIGURES)
    )
    known = {
        "processes": processes,
        "only_by_acct": only_by_acct,
        "elapsed_us": elapsed,
        "etime_ticks": etime,
        "utime_ticks": utime,
        "stime_ticks": stime,
        "minflt": minflt,
        "majflt": majflt,
        "minor_faults": minflt,
        "major_faults": majflt,
        "user_ns": f"{utime} * {_TICK_NS}",
        "system_ns": f"{stime} * {_TICK_NS}",
        "cpu_ns": f"({utime} + {stime}) * {_TICK_NS}",
        "records": processes,
        "with_ticks": processes,
        "seen_by_both": f"{processes} - {only_by_acct}",
    }
    counts = {key for key, measure in ROLLED.items() if measure.fold == "count"}
    return known | dict.fromkeys(counts - known.keys(), "0")


_MEASURES = _measures()
# The largest total with which each of these is an integer of 64 bits.
_MOST = [(1 << 63) - 1] * _FIGURES
_MOST[4:6] = [_MOST[0] // (2 * _TICK_NS)] * 2
# The keys of each table, from a row of an hour or a day and two keys.
_OF_COMMAND = {"comm_id": "column2", "forked_only": "column3"}
_OF_USER = {"uid": "column2", "gid": "column3", "in_job": "0"}
_OF_HOUR = {"hour": "column1", "pruned": "0"}
_TABLES = {
    "rollup_command": _OF_HOUR | _OF_COMMAND | {"host_id": "{host_id}"},
    "rollup_user": _OF_HOUR | _OF_USER | {"host_id": "{host_id}"},
    "rollup_day_command": {"day": "column1"} | _OF_COMMAND | {"host_id": "{host_id}"},
    "rollup_day_user": {"day": "column1"} | _OF_USER | {"host_id": "{host_id}"},
    "rollup_day_total": {"hour": "column1"},
}
_OF_CLASS = ("processes", "records", "first_ns", "last_ns", "minutes", "compared")

# Whether something else than so many plain processes ended in an hour, or it is rolled up already.
_NOT_PLAIN = """
    select (select count(*) from process where ended_hour = :hour) <> :processes
        or exists (select 1 from acct
            where ended_hour = :hour and process_id is null and join_outcome <> 3)
        or exists (select 1 from membership where left_hour = :hour)
        or exists (select 1 from usage_reading where hour = :hour)
        or (exists (select 1 from job) or exists (select 1 from membership)) and exists (
            select 1 from process as p indexed by process_ended
            where p.ended_hour = :hour and (p.inherited_job_id is not null
                or exists (select 1 from membership as m where m.process_id = p.id)))
        or exists (select 1 from rollup_hour where hour = :hour)"""

# Whether a day has sums of processes that were deleted.
_PRUNED = " union all ".join(
    f"select 1 from {table} where pruned = 1 and hour between :first and :last"
    for table in rollups.ROLLUPS
)
# A hostile user can make up any number of names: a day whose hours have more totals than this, some
# 20 MB, is left to daily_rollups.py.
_MOST_TOTALS = 50_000


class _Hour:
    """The sums of an hour."""

    def __init__(self) -> None:
        self.by_command: dict[_Key, Total] = defaultdict(int)
        self.by_user: dict[_Key, Total] = defaultdict(int)
        self.new_ends: dict[KnownBy, list[int]] = defaultdict(list)
        """Ends that are not in `classes` yet."""
        self.classes: dict[KnownBy, tuple[int, int, int, int]] = {}
        """How many processes, the first and the last end, and the minutes of the ends as bits."""

    def sum_up_ends(self) -> None:
        for known_by, ends in self.new_ends.items():
            processes, first, last, minutes = self.classes.get(known_by, (0, ends[0], ends[0], 0))
            for minute in {end // _MINUTE_NS % 60 for end in ends}:
                minutes |= 1 << minute
            sums = (processes + len(ends), min(first, *ends), max(last, *ends), minutes)
            self.classes[known_by] = sums
        self.new_ends.clear()


class _Day:
    """The sums of those hours of a day that were written by one pass."""

    def __init__(self) -> None:
        self.by_command: dict[_Key, Total] = defaultdict(int)
        self.by_user: dict[_Key, Total] = defaultdict(int)
        self.by_hour: dict[int, Total] = {}

    def add(self, hour: int, sums: _Hour) -> None:
        for key, total in sums.by_command.items():
            self.by_command[key] += total
        for key, total in sums.by_user.items():
            self.by_user[key] += total
        self.by_hour[hour] = sum(sums.by_user.values())

    @property
    def size(self) -> int:
        """How many totals there are."""
        return len(self.by_command) + len(self.by_user)


def _totals(figures: Sequence[Sequence[int]]) -> Iterator[Total]:
    """The total of each process, from its figures, which are given as columns."""
    words = array("Q", bytes(len(figures[0]) * _SIZE))
    for place, column in enumerate(figures, start=1):
        words[place * _WORDS - 1 :: _FIGURES * _WORDS] = array("Q", column)
    if sys.byteorder == "little":
        words.byteswap()
    return starmap(int.from_bytes, _BYTES.iter_unpack(words))


class PlainSums:
    """The sums of the plain processes of a host that one pass of the ingester stores, of the hours
    that are not written yet.
    """

    def __init__(self, connection: sqlite3.Connection, host_id: int, now_ns: int) -> None:
        self._connection = connection
        self._unsettled = rollups.first_unsettled(now_ns)
        self._host_id = host_id
        self._hours: dict[int, _Hour] = defaultdict(_Hour)
        self._days: dict[int, _Day] = defaultdict(_Day)
        self._version = self._others_wrote()

    def _others_wrote(self) -> int:
        """A number that changes when another program has written to the warehouse."""
        number: int = self._connection.execute("pragma data_version").fetchone()[0]
        return number

    def _forget_changed(self) -> bool:
        """What another program has written since the last call may concern the processes of these
        sums: forget them, and return True. Then the views sum up their hours.
        """
        version = self._others_wrote()
        changed = version != self._version
        if changed:
            self._version = version
            self._hours.clear()
            self._days.clear()
        return changed

    def add(self, plain: Plain, comm_ids: Sequence[int], columns: Sequence[Sequence[Any]]) -> None:
        """Add those processes that are plain, of records that were stored in this transaction, and
        roll up the hours that have probably been read to their end. `columns` are the fields of the
        records (elsa/decode/acct.py).
        """
        if self._forget_changed():
            return
        is_plain = [ended_ns is not None for ended_ns in plain.ended_ns]
        all_plain = all(is_plain)

        def chosen(column: Sequence[Any]) -> Sequence[Any]:
            return column if all_plain else list(compress(column, is_plain))

        ends, known = chosen(plain.ended_ns), chosen(plain.known_by)
        figures = (
            [1] * len(ends),
            [by.class_ == ONLY_ACCT for by in known],
            [(elapsed_ns + 500) // 1000 for elapsed_ns in chosen(plain.elapsed_ns)],
            list(map(int, chosen(columns[ETIME]))),
            *(chosen(columns[field]) for field in (UTIME, STIME, MINFLT, MAJFLT)),
        )
        rows = zip(
            [ended_ns // HOUR_NS for ended_ns in ends],
            known,
            ends,
            zip(chosen(comm_ids), [flag & AFORK for flag in chosen(columns[FLAG])], strict=True),
            zip(chosen(columns[UID]), chosen(columns[GID]), strict=True),
            _totals(figures),
            strict=True,
        )
        hour = known_by = None
        for at, by, ended_ns, command, user, total in rows:
            if at != hour or by is not known_by:
                hour, known_by = at, by
                of_hour = self._hours[at]
                new_ends = of_hour.new_ends[by]
                by_command, by_user = of_hour.by_command, of_hour.by_user
            new_ends.append(ended_ns)
            by_command[command] += total
            by_user[user] += total
        for of_hour in self._hours.values():
            of_hour.sum_up_ends()
        # The newest hour goes on, and records of the one before may still come.
        self._write_before(max(self._hours, default=0) - 1)

    def finish(self) -> None:
        """Roll up the rest. The caller holds a transaction."""
        if not self._forget_changed():
            self._write_before(self._unsettled)

    def _write_before(self, end_hour: int) -> None:
        """Roll up hours before this, if they are settled and only plain processes ended in them,
        and the days of which all hours are such hours.
        """
        end_hour = min(end_hour, self._unsettled)
        for hour in sorted(hour for hour in self._hours if hour < end_hour):
            self._write(hour, self._hours.pop(hour))
        for day in [day for day in self._days if day < end_hour // HOURS_OF_DAY]:
            self._write_day(day, self._days.pop(day))

    def _write(self, hour: int, sums: _Hour) -> None:
        processes = sum(many for many, *_ in sums.classes.values())
        values = {"hour": hour, "processes": processes}
        if self._connection.execute(_NOT_PLAIN, values).fetchone()[0]:
            return
        self._connection.execute("insert into rollup_hour values (?, 1, ?)", (hour, time.time_ns()))
        rollups.delete_sums(self._connection, hour)
        self._insert("rollup_command", hour, sums.by_command)
        self._insert("rollup_user", hour, sums.by_user)
        classes = [
            (hour, *known_by, processes, processes, first_ns, last_ns, minutes, 0)
            for known_by, (processes, first_ns, last_ns, minutes) in sums.classes.items()
        ]
        insert_rows(self._connection, rollups.insert_into(CLASS, _OF_CLASS), classes)
        day = hour // HOURS_OF_DAY
        self._days[day].add(hour, sums)
        if self._days[day].size > _MOST_TOTALS:
            self._days[day] = _Day()

    def _write_day(self, day: int, sums: _Day) -> None:
        hours = {"first": day * HOURS_OF_DAY, "last": (day + 1) * HOURS_OF_DAY - 1}
        if (
            daily_rollups.hours_with_sums(self._connection, day) != sums.by_hour.keys()
            or self._connection.execute(_PRUNED, hours).fetchone()
        ):
            return
        self._insert("rollup_day_command", day, sums.by_command)
        self._insert("rollup_day_user", day, sums.by_user)
        for hour, total in sums.by_hour.items():
            self._insert("rollup_day_total", hour, {(0, 0): total})
        self._connection.execute("insert into rollup_day values (?)", (day,))

    def _insert(self, table: str, time: int, sums: Mapping[_Key, Total]) -> None:
        """Insert the sums of an hour or a day, for which SQLite works out the measures."""
        columns = _TABLES[table] | _MEASURES
        values = ", ".join(columns.values()).format(host_id=self._host_id)
        parts = _storable if any(map(gt, _figures(sum(sums.values())), _MOST)) else _whole
        rows = [(time, *key, *part) for key, total in sums.items() for part in parts(total)]
        into = f"insert into {table} ({', '.join(columns)}) select {values} from ("
        insert_rows(self._connection, into, rows, then=")")


def _figures(total: Total) -> list[int]:
    bits = _WORDS * 64
    return [total >> place * bits & (1 << bits) - 1 for place in reversed(range(_FIGURES))]


def _whole(total: Total) -> Iterable[Sequence[int]]:
    """The figures of a total, of which each fits into 64 bits."""
    return (_LOW_WORDS.unpack(total.to_bytes(_SIZE)),)


def _storable(total: Total) -> Iterator[Sequence[int]]:
    """The figures of a total in parts whose measures fit into 64 bits."""
    figures = _figures(total)
    while any(map(gt, figures, _MOST)):
        part = list(map(min, figures, _MOST))
        yield part
        figures = list(map(sub, figures, part))
    yield figures
