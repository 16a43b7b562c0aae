"""The boots of a host: in which of them a record was written, and by which clock."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from elsa.matching.gaps import NEVER_NS, Gaps
from elsa.matching.pairing import Record
from elsa.matching.records import chosen
from elsa.state.clock import Clock, Clocks
from elsa.store import boot_ends, boots
from elsa.store.database import transaction
from elsa.units import SECOND_NS

# A record that fits several incarnations equally well is called ambiguous this long after its
# process's end.
UNDECIDED_NS = 60 * SECOND_NS
# Near the start of a boot and near a change of the clock, times in records may be this much off.
MARGIN_NS = 2 * SECOND_NS


class Boot(NamedTuple):
    """A boot as joining needs it."""

    id: int
    clocks: Clocks
    heard_ns: int | None
    """Monotonic: all processes that ended before this are in the warehouse; later ones may still
    come, unless `complete`. None: no collector received events of this boot.
    """
    complete: bool
    """No collector runs on it, or a collector has just stored everything: nothing that happened
    before now can still come.
    """
    gaps: Gaps
    first_ns: int | None = None
    """When a collector first listened. What ended before is no loss, but its records are read."""
    read_ns: int = NEVER_NS
    """Monotonic: all records that are read were written before this."""
    collector_running: bool = False
    """A collector runs on it and receives every end itself."""
    now_at_ns: int = 0
    """Real time of this pass."""
    ended_at_ns: int | None = None
    """Real time of the last moment known of a boot that has ended."""

    @property
    def heard_at_ns(self) -> int:
        """`heard_ns` in real time."""
        return (self.heard_ns or 0) + self.clocks.current.offset_ns

    def offsets(self) -> tuple[int, ...]:
        """Real minus monotonic time, ascending, by each clock of the boot."""
        return tuple(sorted(clock.offset_ns for clock in self.clocks.known))

    def is_final_for(self, record: Record) -> bool:
        """Whether so much time has passed that no more events about a record's process are
        expected.
        """
        known_at_ns = self.heard_at_ns
        if not self.collector_running:
            known_at_ns = max(known_at_ns, self.now_at_ns)
        return record.end_by_ns + UNDECIDED_NS < known_at_ns


class HostBoots:
    """The boots of a host, in one pass of the ingester."""

    def __init__(self, connection: sqlite3.Connection, host_id: int, known: Sequence[Boot]) -> None:
        self._connection = connection
        self._host_id = host_id
        self.known = sorted(known, key=lambda boot: boot.id, reverse=True)
        self.unknown: Boot | None = None
        """Stands for all other boots, once a record was written in one."""
        # Between two of these seconds, boot and clock are the same.
        self._changes = sorted(
            -(-change // SECOND_NS)
            for boot in known
            for _, since_ns, until_ns in _spans_of_clocks(boot)
            for change in (since_ns, until_ns)
        )
        self._found: dict[int, tuple[Boot, Clock]] = {}
        self._last_records: dict[int, int] = {}
        """By boot id: real time of the last record after the boot had seemed to end."""

    def at(self, second: int) -> tuple[Boot, Clock]:
        """The boot in which a record was written, and the clock that was valid then."""
        span = bisect_right(self._changes, second)
        found = self._found.get(span)
        if found is None:
            found = self._found[span] = self._at_time(second * SECOND_NS)
        return found

    def by_clock(
        self, indices: Sequence[int], seconds: Sequence[int]
    ) -> Iterator[tuple[Boot, Clock, Sequence[int]]]:
        """Each boot in which some records were written, each clock that was valid then, and the
        indices of its records. `seconds` are when all records were written.
        """
        if not indices:
            return
        some = chosen(seconds, indices)
        spans = {bisect_right(self._changes, second) for second in (min(some), max(some))}
        if len(spans) == 1:  # nearly always
            yield *self.at(some[0]), indices
            return
        by_span: dict[int, list[int]] = defaultdict(list)
        for index, second in zip(indices, some, strict=True):
            by_span[bisect_right(self._changes, second)].append(index)
        for of_span in by_span.values():
            yield *self.at(seconds[of_span[0]]), of_span

    def _at_time(self, at_ns: int) -> tuple[Boot, Clock]:
        """The boot and the clock of a real time."""
        for boot in self.known:
            for clock, since_ns, until_ns in reversed(list(_spans_of_clocks(boot))):
                if since_ns <= at_ns < until_ns:
                    return boot, clock
        unknown = self._unknown_boot()
        return unknown, unknown.clocks.current

    def _unknown_boot(self) -> Boot:
        """The row for boots that are known from records only: monotonic time is real time."""
        if self.unknown is None:
            with transaction(self._connection):
                boot_id = boots.unknown_boot_row(self._connection, self._host_id)
                clocks = boots.clocks_of(self._connection, boot_id)
                if not clocks.known:
                    clock_id = boots.next_own_id(self._connection, "clock", boots.INGESTER_IDS)
                    clock = Clock(clock_id, 0, 0, 0)
                    boots.add_clock(self._connection, boot_id, clock)
                    clocks.known.append(clock)
            self.unknown = Boot(boot_id, clocks, None, complete=True, gaps=Gaps())
        return self.unknown

    def note_last(self, boot: Boot, second: int) -> None:
        """Remember the latest record of a boot that seemed to have ended before."""
        at_ns = second * SECOND_NS
        if boot.ended_at_ns is None or at_ns <= boot.ended_at_ns:
            return
        if at_ns > self._last_records.get(boot.id, 0):
            self._last_records[boot.id] = at_ns

    def end(self) -> None:
        """Let boots that have ended, and what was running then, end no earlier than their last
        record. The caller holds a transaction.
        """
        for boot_id, at_ns in self._last_records.items():
            boot_ends.extend_boot(self._connection, boot_id, at_ns)


def _spans_of_clocks(boot: Boot) -> Iterator[tuple[Clock, int, int]]:
    """Each clock of a boot, and the real times from and before which it was valid."""
    known = boot.clocks.known
    for index, clock in enumerate(known):
        since_ns = clock.since_ns if index else 0
        until_ns = known[index + 1].since_ns if index + 1 < len(known) else NEVER_NS
        yield clock, since_ns + clock.offset_ns - MARGIN_NS + 1, until_ns + clock.offset_ns
