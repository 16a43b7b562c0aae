"""Makes incarnations from records whose processes no other source knows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from elsa.matching import pairing
from elsa.matching.host_boots import Boot, HostBoots
from elsa.matching.joins import OWN, Joins
from elsa.matching.pairing import ACCT_TICK_NS
from elsa.matching.records import Records, chosen
from elsa.state.clock import Clock
from elsa.state.codes import End, Origin
from elsa.store import boots
from elsa.store.database import insert_columns
from elsa.store.plain_sums import ONLY_ACCT, KnownBy
from elsa.units import SECOND_NS


class _Made(NamedTuple):
    """Incarnations that were made from records."""

    columns: dict[str, Sequence[int | None]]
    """Of table process, except comm_id."""
    record_ids: Sequence[int]
    comm_ids: Sequence[int | None]
    """As in Records."""


class OwnProcesses:
    """Incarnations that are made from records, until they are stored."""

    def __init__(self, connection: sqlite3.Connection, host_boots: HostBoots) -> None:
        self._connection = connection
        self._boots = host_boots
        self._next_id = boots.next_own_id(connection, "process", boots.INGESTER_IDS)
        self._made: list[_Made] = []

    def make(self, records: Records, indices: Sequence[int], joins: Joins) -> None:
        """Make incarnations from records that fit none: their processes were never seen, unless
        events are still to come.
        """
        of_clocks = []
        for boot, clock, some in self._boots.by_clock(indices, records.ends):
            over = [
                index
                for index in some
                if boot.complete
                or pairing.end_by_ns(records.ends[index], records.ticks[index]) <= boot.heard_at_ns
            ]
            of_clocks.append((boot, clock, over))
        for index in sorted(chain.from_iterable(some for _, _, some in of_clocks)):
            joins.process_ids[index] = self._next_id
            joins.outcomes[index] = OWN
            self._next_id += 2
        for boot, clock, some in of_clocks:
            self._make_of_clock(boot, clock, records.chosen(some), some, joins)

    def _make_of_clock(
        self,
        boot: Boot,
        clock: Clock,
        records: Records,
        indices: Sequence[int],
        joins: Joins,
    ) -> None:
        """Make incarnations with the ids that `joins` has. Their starts are known to the second, or
        better if events were lost only in a part of that second.
        """
        offset_ns = clock.offset_ns
        elapsed = [
            tick * ACCT_TICK_NS + (late_s or 0) * SECOND_NS
            for tick, late_s in zip(records.ticks, records.late, strict=True)
        ]
        starts = [
            second * SECOND_NS - elapsed_ns - offset_ns
            for second, elapsed_ns in zip(records.ends, elapsed, strict=True)
        ]
        if boot.gaps or boot.heard_ns is not None:
            starts = [_possible_start(boot, start_ns) for start_ns in starts]
        ends = [
            start + elapsed_ns + offset_ns
            for start, elapsed_ns in zip(starts, elapsed, strict=True)
        ]
        ppids = records.ppids
        # init adopts every orphan, so it need not be the parent; and for an unknown boot no parent
        # can be inferred.
        parents = (
            [ppid if ppid > 1 else None for ppid in ppids] if offset_ns else [None] * len(ppids)
        )
        number = len(indices)
        columns: dict[str, Sequence[int | None]] = {
            "id": chosen(joins.process_ids, indices),
            "boot_id": [boot.id] * number,
            "pid": records.pids,
            "parent_pid": parents,
            "uid": records.uids,
            "start_ns": starts,
            "clock_id": [clock.id] * number,
            "elapsed_ns": elapsed,
            "end_clock_id": [clock.id] * number,
            "exit_status": records.exitcodes,
            "ended_s": [end // SECOND_NS for end in ends],
            "origin": [int(Origin.ACCT)] * number,
            "end_source": [int(End.ACCT)] * number,
        }
        self._made.append(_Made(columns, records.ids, records.comm_ids))
        if boot is self._boots.unknown:  # nothing was received of it
            known = KnownBy(boot.id, ONLY_ACCT, 1)
            ended, of_plain, known_by = joins.plain
            for index, end, elapsed_ns in zip(indices, ends, elapsed, strict=True):
                if end >= 0:
                    ended[index], of_plain[index], known_by[index] = end, elapsed_ns, known

    def write(self, comm_ids: Mapping[int, int]) -> None:
        """Store the incarnations that were made for records since the last call; `comm_ids` has the
        comm of each new record.
        """
        for columns, record_ids, known in self._made:
            comms = [
                comm_ids[record_id] if comm_id is None else comm_id
                for record_id, comm_id in zip(record_ids, known, strict=True)
            ]
            insert_columns(self._connection, "process", {**columns, "comm_id": comms})
        self._made.clear()


def _possible_start(boot: Boot, start_ns: int) -> int:
    """When a process started whose record says the second that begins at `start_ns`: in a gap, or
    after the last event.
    """
    until_ns = start_ns + SECOND_NS
    possible = [boot.gaps.earliest(start_ns, until_ns)]
    if boot.heard_ns is not None and boot.heard_ns < until_ns:
        possible.append(max(boot.heard_ns, start_ns))
    return min((time_ns for time_ns in possible if time_ns is not None), default=start_ns)
