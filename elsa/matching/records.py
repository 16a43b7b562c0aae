"""Accounting records that are to be joined, as columns."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from typing import Any, NamedTuple

from elsa.decode.acct_times import WRAP

_COLUMNS = f"""acct.id, cast(etime as integer), btime - iif(ended_s < btime, {WRAP}, 0), late_s,
    ended_s, exitcode, pid, ppid, acct.uid, comm_id"""
"""The columns of Records."""


class Records(NamedTuple):
    """Accounting records that are to be joined, as columns."""

    ids: Sequence[int]
    ticks: Sequence[int]
    """This and the next three are those of acct.Times."""
    begins: Sequence[int]
    late: Sequence[int | None]
    ends: Sequence[int]
    exitcodes: Sequence[int]
    pids: Sequence[int]
    ppids: Sequence[int]
    uids: Sequence[int]
    comm_ids: Sequence[int | None]
    """None for new records, whose names are not stored yet."""

    @classmethod
    def pending_of_pids(cls, connection: sqlite3.Connection, pids: Set[int]) -> Records:
        """The pending records of these pids."""
        rows = connection.execute(
            f"select {_COLUMNS} from acct indexed by acct_pending where join_outcome = 0"
        )
        pid = cls._fields.index("pids")
        return cls._of(row for row in rows if row[pid] in pids)

    @classmethod
    def pending_of_host(cls, connection: sqlite3.Connection, host_id: int) -> Records:
        """All pending records of a host."""
        rows = connection.execute(
            f"""select {_COLUMNS}
                from acct indexed by acct_pending join acct_file on acct_file.id = acct_file_id
                where join_outcome = 0 and host_id = ?""",
            (host_id,),
        )
        return cls._of(rows)

    @classmethod
    def _of(cls, rows: Iterable[tuple[Any, ...]]) -> Records:
        """Records from rows, in the order of their ids."""
        columns = list(zip(*sorted(rows), strict=True))
        return cls._make(columns or [()] * len(cls._fields))

    def followed_by(self, others: Records) -> Records:
        """These records, then others."""
        if not self.ids:
            return others
        return Records._make([*mine, *other] for mine, other in zip(self, others, strict=True))

    def chosen(self, indices: Sequence[int]) -> Records:
        """Some of the records, by their indices, which ascend."""
        return Records._make(chosen(column, indices) for column in self)


def chosen(column: Sequence[Any], indices: Sequence[int]) -> Sequence[Any]:
    """Some values of a column; `indices` ascend."""
    if len(indices) == len(column):
        return column
    return [column[index] for index in indices]


def repeated(values: Sequence[int]) -> set[int]:
    """The values that occur more than once."""
    if len(set(values)) == len(values):
        return set()
    return {value for value, number in Counter(values).items() if number > 1}
