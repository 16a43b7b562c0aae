"""Sums of plain processes, added up in memory while their records are stored, so that the views
need not sum up their hours.

A process is plain if its accounting record is all that says what it used, its end is certain, and
it is in no job: so are all processes of a host without jobd. The views define the sums, and
rollups.py sums up any hour by them. For plain processes these are the same sums in a tenth of the
time; tests/unit/ingest/test_plain_sums.py compares the two.
"""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, NamedTuple, TypeAlias, TypeVar

from elsa.decode.acct import ETIME, FLAG, GID, MAJFLT, MINFLT, STIME, UID, UTIME
from elsa.measures import ROLLED
from elsa.store import rollups
from elsa.store.rollups import CLASS, Sums
from elsa.store.sums import storable_rows
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
    """What a plain process adds to the sums beside its record."""

    ended_ns: int
    """Real time."""
    elapsed_ns: int
    known_by: KnownBy


_Key = TypeVar("_Key", bound=tuple[int, ...])
Total: TypeAlias = list[int]
"""How many processes, of how many only the record is known, and the sums of the figures of their
records: the measures of the first eight names in _KNOWN.
"""
_FIGURES = 8
_KNOWN = (
    *("processes", "only_by_acct", "elapsed_us", "etime_ticks", "utime_ticks", "stime_ticks"),
    *("minflt", "majflt", "minor_faults", "major_faults", "user_ns", "system_ns", "cpu_ns"),
    *("records", "with_ticks", "seen_by_both"),
)
_ZERO = tuple(
    key for key, measure in ROLLED.items() if measure.fold == "count" and key not in _KNOWN
)
_ZEROS = (0,) * len(_ZERO)


def _measures(total: Total) -> tuple[int, ...]:
    """The sums _KNOWN and _ZERO of plain processes. All others are NULL."""
    processes, only_by_acct, _, _, utime, stime, minflt, majflt = total
    user_ns, system_ns = utime * _TICK_NS, stime * _TICK_NS
    times = (user_ns, system_ns, user_ns + system_ns)
    counts = (processes, processes, processes - only_by_acct)
    return (*total, minflt, majflt, *times, *counts, *_ZEROS)


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
            where p.ended_hour = :hour and (p.auto_job_id is not null
                or exists (select 1 from membership as m where m.process_id = p.id)))
        or exists (select 1 from rollup_hour where hour = :hour)"""


def _no_total() -> Total:
    return [0] * _FIGURES


class _Hour:
    """The sums of an hour."""

    def __init__(self) -> None:
        self.by_command: dict[tuple[int, int], Total] = defaultdict(_no_total)
        self.by_user: dict[tuple[int, int], Total] = defaultdict(_no_total)
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


class PlainSums:
    """The sums of the plain processes of a host that one pass of the ingester stores, of the hours
    that are not written yet.
    """

    def __init__(self, connection: sqlite3.Connection, host_id: int, now_ns: int) -> None:
        self._connection = connection
        self._unsettled = rollups.first_unsettled(now_ns)
        self._host_id = host_id
        self._hours: dict[int, _Hour] = defaultdict(_Hour)
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
        return changed

    def add(
        self,
        plain: Sequence[Plain | None],
        comm_ids: Sequence[int],
        columns: Sequence[Sequence[Any]],
    ) -> None:
        """Add those processes that are plain, of records that were stored in this transaction, and
        roll up the hours that have probably been read to their end. `columns` are the fields of the
        records (elsa/decode/acct.py).
        """
        if self._forget_changed():
            return

        def chosen(column: Sequence[Any]) -> list[Any]:
            return list(compress(column, is_plain))

        is_plain = [one is not None for one in plain]
        processes = chosen(plain)
        figures = zip(
            [one.known_by.class_ == ONLY_ACCT for one in processes],
            [(one.elapsed_ns + 500) // 1000 for one in processes],
            map(int, chosen(columns[ETIME])),
            *(chosen(columns[field]) for field in (UTIME, STIME, MINFLT, MAJFLT)),
            strict=True,
        )
        commands = zip(chosen(comm_ids), [flag & 1 for flag in chosen(columns[FLAG])], strict=True)
        users = zip(chosen(columns[UID]), chosen(columns[GID]), strict=True)
        for (ended_ns, _, known_by), figure, command, user in zip(
            processes, figures, commands, users, strict=True
        ):
            only_by_acct, elapsed_us, etime, utime, stime, minflt, majflt = figure
            of_hour = self._hours[ended_ns // HOUR_NS]
            of_hour.new_ends[known_by].append(ended_ns)
            for total in (of_hour.by_command[command], of_hour.by_user[user]):
                total[0] += 1
                total[1] += only_by_acct
                total[2] += elapsed_us
                total[3] += etime
                total[4] += utime
                total[5] += stime
                total[6] += minflt
                total[7] += majflt
        for of_hour in self._hours.values():
            of_hour.sum_up_ends()
        # The newest hour goes on, and records of the one before may still come.
        self._write_before(max(self._hours, default=0) - 1)

    def finish(self) -> None:
        """Roll up the rest. The caller holds a transaction."""
        if not self._forget_changed():
            self._write_before(self._unsettled)

    def _write_before(self, end_hour: int) -> None:
        """Roll up hours before this, if they are settled and only plain processes ended in them."""
        end_hour = min(end_hour, self._unsettled)
        for hour in sorted(hour for hour in self._hours if hour < end_hour):
            self._write(hour, self._hours.pop(hour))

    def _write(self, hour: int, sums: _Hour) -> None:
        processes = sum(many for many, *_ in sums.classes.values())
        values = {"hour": hour, "processes": processes}
        if self._connection.execute(_NOT_PLAIN, values).fetchone()[0]:
            return
        self._connection.execute("insert into rollup_hour values (?, 1, ?)", (hour, time.time_ns()))
        rollups.store(self._connection, hour, self._rows(sums))

    def _rows(self, sums: _Hour) -> dict[str, Sums]:
        names = (*_KNOWN, *_ZERO)
        by_command = {(*key, self._host_id): total for key, total in sums.by_command.items()}
        by_user = {(*key, 0, self._host_id): total for key, total in sums.by_user.items()}
        by_class = [
            (*known_by, processes, processes, first_ns, last_ns, minutes, 0)
            for known_by, (processes, first_ns, last_ns, minutes) in sums.classes.items()
        ]
        return {
            "rollup_command": Sums(names, _stored(by_command)),
            "rollup_user": Sums(names, _stored(by_user)),
            CLASS: Sums(_OF_CLASS, by_class),
        }


def _stored(by_key: Mapping[_Key, Total]) -> list[tuple[int | None, ...]]:
    rows = [(*key, *_measures(total)) for key, total in by_key.items()]
    if max(map(max, rows)) < 1 << 63:
        return rows
    return [
        (*key, *row) for key, total in by_key.items() for row in storable_rows(_measures(total))
    ]
