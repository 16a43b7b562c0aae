"""Joins accounting records to incarnations: loads both, lets elsa.matching.pairing decide, and
makes incarnations for records that belong to none.

Deciding needs no transaction, so it does not hold up other writers; only the results are written in
one. A record is pending as long as its process's events may still come.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product, starmap
from typing import NamedTuple

from elsa.decode.acct import WRAP
from elsa.matching import pairing, parentage, record_order
from elsa.matching.pairing import ACCT_TICK_NS, Candidate, Record
from elsa.matching.parentage import EXIT_LAG_NS
from elsa.matching.record_order import WrittenBetween
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import End, Join, Origin
from elsa.store import boot_ends, boots, process_lookup
from elsa.store.database import insert_rows, transaction
from elsa.store.plain_sums import BOTH, ONLY_ACCT, KnownBy, Plain
from elsa.units import HOUR_NS, SECOND_NS

# While a file is being read, pairs that need a larger table wait until all of it is there.
QUICK_CELLS = 10_000
# All tables of a pass together: some ten seconds. Records that would need more stay ambiguous.
MOST_CELLS = 30_000_000
# A record that fits several incarnations equally well is called ambiguous this long after its
# process's end.
UNDECIDED_NS = 60 * SECOND_NS
# Near the start of a boot and near a change of the clock, times in records may be this much off.
MARGIN_NS = 2 * SECOND_NS
NEVER_NS = 2**62


_INSERT_OWN = """insert into process
    (id, boot_id, pid, parent_pid, uid, start_ns, clock_id, elapsed_ns, end_clock_id, exit_status,
     ended_hour, origin, end_source, comm_id)"""

_known_by = cache(KnownBy)  # one for all records of a boot
_FROM_RECORD = (int(Origin.ACCT), int(End.ACCT))

_RECORD = f"""acct.id, btime - iif(ended < btime, {WRAP}, 0), etime, exitcode, pid, ppid,
    acct.uid, comm_id, coalesce(late_s, 0)"""
"""The columns of a Record."""

# pid, and the fields of a Candidate, except the offsets. An end counts if it was received; a
# parent, if it certainly outlived its child.
_CANDIDATES = f"""
    select process.pid, process.id, process.start_ns,
           iif(process.end_source = {End.EXIT:d}, process.start_ns + process.elapsed_ns, null),
           iif(process.end_source is null, :alive_ns, process.start_ns),
           process.origin = {Origin.FORK:d},
           iif(process.end_source = {End.EXIT:d},
               coalesce(process.leader_status, process.exit_status), null),
           iif(process.end_source = {End.EXIT:d}
                   and iif(parent.elapsed_ns is null, :heard_ns,
                           parent.start_ns + parent.elapsed_ns)
                       >= process.start_ns + process.elapsed_ns + {EXIT_LAG_NS}, parent.pid, null),
           process.end_source is null, coalesce(process.end_clock_id, process.clock_id)
    from {process_lookup.WANTED_STARTED}
    left join acct on acct.process_id = process.id
    left join process as parent
        on parent.id = process.parent_id and process.parent_inferred is null
            and coalesce(parent.end_source, {End.EXIT:d}) = {End.EXIT:d}
    where process.origin <> {Origin.ACCT:d} and acct.id is null"""

# Processes whose end was not received but is in their record. SQLite is told the index: without it,
# it would read every process of the boot.
_ENDS_IN_RECORDS = """
    select process.id, start_ns, etime, exitcode, ended, late_s
    from process indexed by {index} join acct on acct.process_id = process.id
    where ({which}) and boot_id = ?"""
# The record has the status of the leader, which may not be that of a process with several threads.
_SET_END = """
    update process
    set elapsed_ns = ?, end_source = ?, end_clock_id = ?,
        exit_status = coalesce(exit_status,
            iif((select threads from usage where process_id = process.id) > 1, null, ?))
    where id = ?"""


class JoinResult(NamedTuple):
    """What a record was joined to, and how."""

    process_id: int | None
    how: Join
    plain: Plain | None = None
    """Of a plain process (elsa/store/plain_sums.py)."""


PENDING = JoinResult(None, Join.PENDING)


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
    gaps: list[tuple[int, int]]
    """Monotonic times between which processes may have gone unnoticed."""
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

    def is_final_for(self, record: Record) -> bool:
        """Whether so much time has passed that no more events about a record's process are
        expected.
        """
        known_at_ns = self.heard_at_ns
        if not self.collector_running:
            known_at_ns = max(known_at_ns, self.now_at_ns)
        return record.end_by_ns + UNDECIDED_NS < known_at_ns


class Joiner:
    """Joins the records of a host, in one pass of the ingester."""

    def __init__(
        self, connection: sqlite3.Connection, host_id: int, host_boots: Sequence[Boot]
    ) -> None:
        self._connection = connection
        self._host_id = host_id
        self._boots = sorted(host_boots, key=lambda boot: boot.id, reverse=True)
        self._unknown: Boot | None = None
        self._next_id = boots.next_own_id(connection, "process", boots.INGESTER_IDS)
        self._made: list[tuple[tuple[int | None, ...], Record]] = []
        self._cells = MOST_CELLS
        # Where taskstats reports processes, it reports nearly all: these are not plain.
        (usage,) = connection.execute(
            "select exists (select 1 from usage) or exists (select 1 from usage_so_far)"
        ).fetchone()
        self._joined_may_be_plain = not usage
        # Between two of these real times, boot and clock are the same.
        self._changes = sorted(
            change
            for boot in host_boots
            for _, since_ns, until_ns in _spans_of_clocks(boot)
            for change in (since_ns, until_ns)
        )
        self._found: dict[int, tuple[Boot, Clock]] = {}
        self._last_records: dict[int, int] = {}
        """By boot id: real time of the last record after the boot had seemed to end."""
        connection.execute("pragma temp_store = memory")

    # --- which boot

    def boot_of(self, record: Record) -> tuple[Boot, Clock]:
        """The boot in which a record was written, and the clock that was valid then."""
        return self._boot_at(record.exit_second)

    def _boot_at(self, second: int) -> tuple[Boot, Clock]:
        at_ns = second * SECOND_NS
        span = bisect_right(self._changes, at_ns)
        found = self._found.get(span)
        if found is None:
            found = self._found[span] = self._boot_in(at_ns)
        return found

    def _boot_in(self, at_ns: int) -> tuple[Boot, Clock]:
        """The boot and the clock of a real time."""
        for boot in self._boots:
            for clock, since_ns, until_ns in reversed(list(_spans_of_clocks(boot))):
                if since_ns <= at_ns < until_ns:
                    return boot, clock
        unknown = self._unknown_boot()
        return unknown, unknown.clocks.current

    def _unknown_boot(self) -> Boot:
        """The row for boots that are known from records only: monotonic time is real time."""
        if self._unknown is None:
            with transaction(self._connection):
                boot_id = boots.unknown_boot_row(self._connection, self._host_id)
                clocks = boots.clocks_of(self._connection, boot_id)
                if not clocks.known:
                    clock_id = boots.next_own_id(self._connection, "clock", boots.INGESTER_IDS)
                    clock = Clock(clock_id, 0, 0, 0)
                    boots.add_clock(self._connection, boot_id, clock)
                    clocks.known.append(clock)
            self._unknown = Boot(boot_id, clocks, None, complete=True, gaps=[])
        return self._unknown

    # --- pairing

    def join(self, new: Sequence[Record]) -> dict[int, JoinResult]:
        """Join new records and the pending records of the same pids; more records may follow."""
        return self._join([*sorted(self._pending(record.pid for record in new)), *new], final=False)

    def join_pending(self) -> dict[int, JoinResult]:
        """Join all pending records, when all records have been read."""
        rows = self._connection.execute(
            f"""select {_RECORD}
                from acct indexed by acct_pending join acct_file on acct_file.id = acct_file_id
                where join_outcome = 0 and host_id = ?""",
            (self._host_id,),
        )
        return self._join(sorted(starmap(Record, rows)), final=True)

    def _join(self, records: Sequence[Record], *, final: bool) -> dict[int, JoinResult]:
        by_boot: dict[int, tuple[Boot, dict[int, list[Record]]]] = {}
        groups: dict[int, list[Record]] = {}
        last_boot = None  # that of `groups`
        results: dict[int, JoinResult] = {}
        for record in records:
            second = record.exit_second
            boot, clock = self._boot_at(second)
            if boot.ended_at_ns is not None:
                self._note_last(boot, second)
            if boot.heard_ns is None:
                # there are no candidates
                results[record.id] = self._unpaired(boot, clock, record)
                continue
            if boot is not last_boot:
                last_boot = boot
                _, groups = by_boot.setdefault(boot.id, (boot, defaultdict(list)))
            groups[record.pid].append(record)
        for boot, groups in by_boot.values():
            lives = self._candidates(boot, groups)
            written: dict[int, WrittenBetween] = {}
            if final and lives:
                pending = [record.id for pid in lives for record in groups[pid]]
                written = record_order.written_between(self._connection, boot.id, pending)
            for pid, group in groups.items():
                if pid in lives:
                    known = self._for_pairing(boot, group, written)
                    self._join_pid(boot, known, lives[pid], results, final=final)
                else:
                    for record in group:
                        _, clock = self.boot_of(record)
                        results[record.id] = self._unpaired(boot, clock, record)
        return results

    def _note_last(self, boot: Boot, second: int) -> None:
        """Remember the latest record of a boot that seemed to have ended before."""
        at_ns = second * SECOND_NS
        if boot.ended_at_ns is None or at_ns <= boot.ended_at_ns:
            return
        if at_ns > self._last_records.get(boot.id, 0):
            self._last_records[boot.id] = at_ns

    def end_boots(self) -> None:
        """Let boots that have ended, and what was running then, end no earlier than their last
        record. The caller holds a transaction.
        """
        for boot_id, at_ns in self._last_records.items():
            boot_ends.extend_boot(self._connection, boot_id, at_ns)

    def write_made(self, comm_ids: Mapping[int, int]) -> None:
        """Store the incarnations that were made for records since the last call; `comm_ids` has the
        comm of each new record.
        """
        rows = [
            (*own, record.comm_id if record.comm_id is not None else comm_ids[record.id])
            for own, record in self._made
        ]
        insert_rows(self._connection, _INSERT_OWN, rows)
        self._made.clear()

    def _join_pid(
        self,
        boot: Boot,
        records: list[Record],
        lives: list[Candidate],
        results: dict[int, JoinResult],
        *,
        final: bool,
    ) -> None:
        if pairing.in_order(lives, records):
            for life, record in zip(lives, records, strict=True):
                results[record.id] = self._joined(boot, record, life, certain=True)
            return
        by_id = {record.id: record for record in records}
        most = QUICK_CELLS
        if final:
            most = max(QUICK_CELLS, min(pairing.MAX_CELLS, self._cells))
            self._cells -= min(len(lives) * len(records), most)
        outcome = pairing.pair(lives, records, most)
        candidates = {life.id: life for life in lives}
        for record_id, process_id, certain in outcome.pairs:
            if final or certain:
                results[record_id] = self._joined(
                    boot, by_id[record_id], candidates[process_id], certain=certain
                )
            else:
                results[record_id] = PENDING  # later records of the file say more
        for record_id in outcome.ambiguous:
            decided = final and boot.is_final_for(by_id[record_id])
            results[record_id] = JoinResult(None, Join.AMBIGUOUS) if decided else PENDING
        for record_id in outcome.unpaired:
            record = by_id[record_id]
            _, clock = self.boot_of(record)
            results[record_id] = self._unpaired(boot, clock, record)

    def _unpaired(self, boot: Boot, clock: Clock, record: Record) -> JoinResult:
        """No incarnation fits: its process was never seen, unless events are still to come."""
        if not boot.complete and record.end_by_ns > boot.heard_at_ns:
            return PENDING
        return self._make_process(boot, clock, record)

    def _joined(self, boot: Boot, record: Record, life: Candidate, *, certain: bool) -> JoinResult:
        """A pair whose process's exit was not received is not certain. While a collector runs, the
        exit will come; else another process may have had the pid when the record was written.
        """
        if life.running and boot.collector_running:
            return PENDING
        if life.end_ns is None and boot.heard_ns is not None:
            certain = certain and not self._may_be_unseen(record, [(boot.heard_ns, NEVER_NS)])
        if not certain:
            return JoinResult(life.id, Join.UNCERTAIN)
        plain = None
        if life.ended_at_ns is not None and life.end_ns is not None and self._joined_may_be_plain:
            known_by = _known_by(boot.id, BOTH, None)
            plain = Plain(life.ended_at_ns, life.end_ns - life.start_ns, known_by)
        return JoinResult(life.id, Join.EXACT, plain)

    def _for_pairing(
        self, boot: Boot, records: list[Record], written: Mapping[int, WrittenBetween]
    ) -> list[Record]:
        """Records with what is known from gaps and adjacent records."""
        if boot.gaps:
            records = [
                record._replace(unseen=True) if self._may_be_unseen(record, boot.gaps) else record
                for record in records
            ]
        if written:
            records = [
                record._replace(**written.get(record.id, record_order.UNKNOWN)._asdict())
                for record in records
            ]
        return records

    def _may_be_unseen(self, record: Record, gaps: Sequence[tuple[int, int]]) -> bool:
        """Whether its process may have both started and ended within a gap: a process that was
        still alive after the gap was seen then.
        """
        boot, clock = self.boot_of(record)
        slack_ns = EXIT_LAG_NS if len(boot.clocks.known) == 1 else MARGIN_NS
        first, last = pairing.start_window(record)
        first_ns, last_ns = first - clock.offset_ns - slack_ns, last - clock.offset_ns + slack_ns
        ended_ns = max(first_ns, record.exit_second * SECOND_NS - clock.offset_ns - slack_ns)
        return any(from_ns <= last_ns and ended_ns <= to_ns for from_ns, to_ns in gaps)

    def _pending(self, pids: Iterable[int]) -> list[Record]:
        rows = self._connection.execute(
            f"select {_RECORD} from acct indexed by acct_pending where join_outcome = 0"
        )
        wanted = set(pids)
        return [record for record in starmap(Record, rows) if record.pid in wanted]

    def _candidates(
        self, boot: Boot, groups: dict[int, list[Record]]
    ) -> dict[int, list[Candidate]]:
        """By pid, in queue order: the incarnations to which these records may belong, if they have
        no record yet.
        """
        offsets = tuple(clock.offset_ns for clock in boot.clocks.known)
        least, most = min(offsets), max(offsets)
        spans = {pid: _spans(group, least, most) for pid, group in groups.items()}
        process_lookup.set_wanted(self._connection, spans)
        heard_ns = boot.heard_ns or 0
        times = {"boot_id": boot.id, "heard_ns": heard_ns, "alive_ns": heard_ns - EXIT_LAG_NS}
        offset_of = {clock.id: clock.offset_ns for clock in boot.clocks.known}
        certain = not boot.gaps and len(offsets) == 1
        candidates: dict[int, list[Candidate]] = defaultdict(list)
        for row in self._connection.execute(_CANDIDATES, times):
            pid, id_, start_ns, end_ns, alive_ns, exact_start, code, ppid, running, clock_id = row
            ended_at_ns = None if end_ns is None else end_ns + offset_of[clock_id]
            life = Candidate(
                *(id_, start_ns, end_ns, alive_ns, exact_start, code, offsets, ppid, running),
                ended_at_ns,
            )
            if end_ns is not None and not certain:
                life = _checked(boot, life, end_ns)
            candidates[pid].append(life)
        for lives in candidates.values():
            lives.sort()
        return candidates

    # --- ends known from records

    def close_from_records(self, *, collector_running: bool) -> int:
        """Give incarnations whose exit was not received the end that is in their record; returns
        how many.

        Processes that seem to run are left to the collector while it runs: it receives their end
        itself.
        """
        inexact = {"process_inexact": "end_source = 2 or end_source >= 4"}
        if not collector_running:
            inexact["process_running"] = "elapsed_ns is null"
        closed = 0
        for boot, (index, which) in product(self._boots, inexact.items()):
            query = _ENDS_IN_RECORDS.format(index=index, which=which)
            rows = self._connection.execute(query, (boot.id,)).fetchall()
            for id_, start_ns, etime, exitcode, ended, late_s in rows:
                elapsed_ns = int(etime) * ACCT_TICK_NS
                if late_s is not None:  # etime was cut, and the second of the end may say more
                    end_ns = boot.clocks.monotonic_ns(ended * SECOND_NS)
                    elapsed_ns = max(elapsed_ns, end_ns - start_ns)
                end_clock = boot.clocks.at(start_ns + elapsed_ns)
                self._connection.execute(
                    _SET_END, (elapsed_ns, End.ACCT, end_clock.id, exitcode, id_)
                )
            closed += len(rows)
        return closed

    # --- processes that are known from their record only

    def _make_process(self, boot: Boot, clock: Clock, record: Record) -> JoinResult:
        """Make an incarnation from a record. Its start is known to the second, or better if events
        were lost only in a part of that second.
        """
        etime, late_s, offset_ns = int(record.etime), record.late_s, clock.offset_ns
        elapsed_ns = etime * ACCT_TICK_NS + late_s * SECOND_NS
        # the second of the end, less the time that elapsed
        start_ns = (record.btime + etime // 100 + late_s) * SECOND_NS - elapsed_ns - offset_ns
        if boot.gaps or boot.heard_ns is not None:
            start_ns = _possible_start(boot, start_ns)
        process_id = self._next_id
        self._next_id += 2
        # init adopts every orphan, so it need not be the parent; and for an unknown boot no parent
        # can be inferred.
        parent_pid = record.ppid
        if parent_pid is None or parent_pid <= 1 or not offset_ns:
            parent_pid = None
        ended_at_ns = start_ns + elapsed_ns + offset_ns
        who = (process_id, boot.id, record.pid, parent_pid, record.uid)
        times = (start_ns, clock.id, elapsed_ns, clock.id, record.exitcode, ended_at_ns // HOUR_NS)
        self._made.append(((*who, *times, *_FROM_RECORD), record))
        plain = None
        if boot is self._unknown and ended_at_ns >= 0:
            # nothing was received of its boot
            plain = Plain(ended_at_ns, elapsed_ns, _known_by(boot.id, ONLY_ACCT, 1))
        return JoinResult(process_id, Join.OWN, plain)

    def infer_parents(self) -> None:
        """Infer the parents of processes that have none yet, on every known boot."""
        for boot in self._boots:
            parentage.infer_parents(self._connection, boot.id)


def _spans_of_clocks(boot: Boot) -> Iterator[tuple[Clock, int, int]]:
    """Each clock of a boot, and the real times from and before which it was valid."""
    known = boot.clocks.known
    for index, clock in enumerate(known):
        since_ns = clock.since_ns if index else 0
        until_ns = known[index + 1].since_ns if index + 1 < len(known) else NEVER_NS
        yield clock, since_ns + clock.offset_ns - MARGIN_NS + 1, until_ns + clock.offset_ns


def _possible_start(boot: Boot, start_ns: int) -> int:
    """When a process started whose record says the second that begins at `start_ns`: in a gap, or
    after the last event.
    """
    gaps = boot.gaps if boot.heard_ns is None else [*boot.gaps, (boot.heard_ns, NEVER_NS)]
    possible_starts = [
        max(from_ns, start_ns)
        for from_ns, to_ns in gaps
        if from_ns < start_ns + SECOND_NS and to_ns > start_ns
    ]
    return min(possible_starts, default=start_ns)


def _spans(records: list[Record], least: int, most: int) -> list[tuple[int, int]]:
    """Monotonic times between which the processes of some records of a pid started, where real time
    is ahead of it by `least` to `most`.
    """
    spans = []
    for record in records:
        first, last = pairing.start_window(record)
        slack = pairing.float_slack_ns(record.etime) + MARGIN_NS
        spans.append((first - most - slack, last - least + slack))
    return spans


def _checked(boot: Boot, life: Candidate, end_ns: int) -> Candidate:
    """A candidate with only what is certain of its end: if a gap overlaps its lifetime, forks and
    exits of its threads may be missing; near a change of the clock the end's real time is not
    certain.
    """
    if any(from_ns <= end_ns and life.start_ns <= to_ns for from_ns, to_ns in boot.gaps):
        return life._replace(end_ns=None, code=None, ppid=None)
    if len(life.offsets) > 1:
        offsets = tuple(clock.offset_ns for clock in boot.clocks.around(end_ns, EXIT_LAG_NS))
        return life._replace(offsets=offsets)
    return life
