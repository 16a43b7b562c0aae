"""Joining accounting records to incarnations: loads both sides, has elsa.matching.pairing decide,
and gives lonely records an incarnation.

Deciding needs no transaction, so that it holds up no other writer; only what was decided is written
in one. A record waits (PENDING) as long as its events may still come.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product, starmap
from typing import NamedTuple

from elsa.decode.acct import WRAP
from elsa.matching import pairing, parentage, record_order
from elsa.matching.pairing import SECOND_NS, TICK_NS, Candidate, Record
from elsa.matching.record_order import WrittenBetween
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import End, Join, Origin
from elsa.store import boot_ends, boots, process_lookup
from elsa.store.database import insert_rows, transaction

# While a file is being read, pairs that need a large table wait until all of it is there.
QUICK_CELLS = 10_000
# All tables of one pass together: some ten seconds. What would need more stays ambiguous.
MOST_CELLS = 30_000_000
# A record that fits several incarnations equally well is given up on when nothing new can be
# expected to decide it.
GIVE_UP_NS = 60 * SECOND_NS
# An exit may be heard this long after its record was written.
LAG_NS = 200_000_000
# Around the beginning of a boot and a step of the clock, times in records may lie a little outside.
EDGE_NS = 2 * SECOND_NS
NEVER_NS = 2**62
# Of so many seconds it is remembered which boot they are of.
MOST_SECONDS = 100_000


_INSERT_OWN = """insert into process
    (id, boot_id, pid, parent_pid, uid, start_ns, clock_id, elapsed_ns, end_clock_id, exit_status,
     ended_hour, origin, end_source, comm_id)"""

_RECORD = f"""acct.id, btime - iif(ended < btime, {WRAP}, 0), etime, exitcode, pid, ppid, acct.uid, comm_id,
    coalesce(late_s, 0)"""
"""The columns of a Record."""

# The columns of a Candidate, but for the offsets. An end counts if it was heard; a parent, if it surely
# outlived its child.
_LIVES = f"""
    select process.pid, process.id, process.start_ns, iif(process.end_source = {End.EXIT:d}, process.start_ns + process.elapsed_ns, null),
           iif(process.end_source is null, :alive_ns, process.start_ns), process.origin = {Origin.FORK:d},
           iif(process.end_source = {End.EXIT:d}, coalesce(process.leader_status, process.exit_status), null),
           iif(process.end_source = {End.EXIT:d} and iif(parent.elapsed_ns is null, :heard_ns, parent.start_ns + parent.elapsed_ns)
                   >= process.start_ns + process.elapsed_ns + {LAG_NS}, parent.pid, null),
           process.end_source is null
    from {process_lookup.WANTED_BEGUN}
    left join acct on acct.process_id = process.id
    left join process as parent
        on parent.id = process.parent_id and process.parent_inferred is null and coalesce(parent.end_source, {End.EXIT:d}) = {End.EXIT:d}
    where process.origin <> {Origin.ACCT:d} and acct.id is null
    order by process.id"""


class JoinResult(NamedTuple):
    """What a record was joined to, and how."""

    process_id: int | None
    how: Join


PENDING = JoinResult(None, Join.PENDING)


class Boot(NamedTuple):
    """A boot as joining needs it."""

    id: int
    clocks: Clocks
    heard_ns: int | None
    """Monotonic: up to here every process is in the warehouse; what comes later may still come, unless `complete`.
    None: no collector heard anything of this boot."""
    complete: bool
    """No collector is at work on it, or it has just told everything: nothing that happened before
    now can still come.
    """
    gaps: list[tuple[int, int]]
    """Monotonic times between which processes may have gone unnoticed."""
    at_work: bool = False
    """A collector is at work on it: it hears of every end itself."""
    now_at_ns: int = 0
    """Real time of this pass."""
    ended_at_ns: int | None = None
    """Real time of the last moment known of a boot that is over."""

    @property
    def heard_at_ns(self) -> int:
        """`heard_ns` in real time."""
        return (self.heard_ns or 0) + self.clocks.current.offset_ns

    def is_over_for(self, record: Record) -> bool:
        """Whether so much time has passed that nothing new can be expected to tell of a record."""
        reached_at_ns = self.heard_at_ns if self.at_work else max(self.heard_at_ns, self.now_at_ns)
        return record.end_by_ns + GIVE_UP_NS < reached_at_ns


class Joiner:
    """Joins the records of one host, in one pass of the ingester."""

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
        self._boot_at: dict[int, tuple[Boot, Clock]] = {}
        self._lived_on: dict[int, int] = {}
        connection.execute("pragma temp_store = memory")

    # --- which boot
    # -------------------------------------------------------------------------------------------------------------

    def boot_of(self, record: Record) -> tuple[Boot, Clock]:
        """The boot in which a record was written, and the clock by which its times are to be read."""
        second = record.exit_second
        found = self._boot_at.get(second)
        if found is None:
            if len(self._boot_at) >= MOST_SECONDS:
                self._boot_at.clear()
            found = self._boot_at[second] = self._boot_in(second * SECOND_NS)
        return found

    def _boot_in(self, at_ns: int) -> tuple[Boot, Clock]:
        """The boot and the clock of a real time."""
        for boot in self._boots:
            known = boot.clocks.known
            for index in range(len(known) - 1, -1, -1):
                since_ns = known[index].since_ns if index else 0
                until_ns = known[index + 1].since_ns if index + 1 < len(known) else None
                time_ns = at_ns - known[index].offset_ns
                if time_ns > since_ns - EDGE_NS and (until_ns is None or time_ns < until_ns):
                    return boot, known[index]
        unknown = self._unknown_boot()
        return unknown, unknown.clocks.current

    def _unknown_boot(self) -> Boot:
        """The row that stands for boots of which only records tell: its monotonic time is real
        time.
        """
        if self._unknown is None:
            with transaction(self._connection):
                boot_id = boots.unknown_boot_row(self._connection, self._host_id)
                clocks = boots.clocks_of(self._connection, boot_id)
                if not clocks.known:
                    clock = Clock(
                        boots.next_own_id(self._connection, "clock", boots.INGESTER_IDS), 0, 0, 0
                    )
                    boots.add_clock(self._connection, boot_id, clock)
                    clocks.known.append(clock)
            self._unknown = Boot(boot_id, clocks, None, complete=True, gaps=[])
        return self._unknown

    # --- pairing
    # ----------------------------------------------------------------------------------------------------------------

    def join(self, new: Sequence[Record]) -> dict[int, JoinResult]:
        """Verdicts for new records and for those of the same pids that wait already; more records
        may be at hand.
        """
        return self._join([*sorted(self._waiting(record.pid for record in new)), *new], final=False)

    def join_pending(self) -> dict[int, JoinResult]:
        """Verdicts for every record that waits, now that all are at hand."""
        rows = self._connection.execute(
            f"""select {_RECORD} from acct indexed by acct_pending join acct_file on acct_file.id = acct_file_id
                where join_outcome = 0 and host_id = ?""",
            (self._host_id,),
        )
        return self._join(sorted(starmap(Record, rows)), final=True)

    def _join(self, records: Sequence[Record], *, final: bool) -> dict[int, JoinResult]:
        heard: dict[int, tuple[Boot, dict[int, list[Record]]]] = {}
        results: dict[int, JoinResult] = {}
        for record in records:
            boot, _ = self.boot_of(record)
            self._note_last(boot, record)
            if boot.heard_ns is None:
                results[record.id] = self._alone(boot, record)  # there is nothing to pair it with
                continue
            if boot.id not in heard:
                heard[boot.id] = boot, defaultdict(list)
            heard[boot.id][1][record.pid].append(record)
        for boot, groups in heard.values():
            lives = self._lives(boot, groups)
            brackets: dict[int, WrittenBetween] = {}
            if final and lives:
                waiting = [record.id for pid in lives for record in groups[pid]]
                brackets = record_order.brackets(self._connection, boot.id, waiting)
            for pid, group in groups.items():
                if pid in lives:
                    self._join_pid(
                        boot,
                        self._for_pairing(boot, group, brackets),
                        lives[pid],
                        results,
                        final=final,
                    )
                else:
                    results.update((record.id, self._alone(boot, record)) for record in group)
        return results

    def _note_last(self, boot: Boot, record: Record) -> None:
        """Remember the last moment that records tell of a boot that seemed to be over by then."""
        at_ns = record.exit_second * SECOND_NS
        if boot.ended_at_ns is not None and at_ns > max(
            boot.ended_at_ns, self._lived_on.get(boot.id, 0)
        ):
            self._lived_on[boot.id] = at_ns

    def end_boots(self) -> None:
        """Have boots that are over, and what was open then, end no earlier than the last record of
        them. The caller holds a transaction.
        """
        for boot_id, at_ns in self._lived_on.items():
            boot_ends.lived_on(self._connection, boot_id, at_ns)

    def write_made(self, comm_ids: Mapping[int, int]) -> None:
        """Store the incarnations that records were given since the last call; `comm_ids` are those
        of new records.
        """
        insert_rows(
            self._connection,
            _INSERT_OWN,
            [
                (*own, record.comm_id if record.comm_id is not None else comm_ids[record.id])
                for own, record in self._made
            ],
        )
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
        by_id = {record.id: record for record in records}
        most = QUICK_CELLS
        if final:
            most = max(QUICK_CELLS, min(pairing.MAX_CELLS, self._cells))
            self._cells -= min(len(lives) * len(records), most)
        outcome = pairing.pair(lives, records, most)
        life_of = {life.id: life for life in lives}
        for pair in outcome.pairs:
            # With all of the file at hand the neighbours tell more.
            wait = not final and not pair.certain
            joined = self._joined(
                boot, by_id[pair.record_id], life_of[pair.life_id], certain=pair.certain
            )
            results[pair.record_id] = PENDING if wait else joined
        for record_id in outcome.ambiguous:
            old = final and boot.is_over_for(by_id[record_id])
            results[record_id] = JoinResult(None, Join.AMBIGUOUS) if old else PENDING
        for record_id in outcome.alone:
            results[record_id] = self._alone(boot, by_id[record_id])

    def _alone(self, boot: Boot, record: Record) -> JoinResult:
        """No incarnation fits: it was never seen, unless its events are still to come."""
        if not boot.complete and record.end_by_ns > boot.heard_at_ns:
            return PENDING
        return JoinResult(self._make_process(boot, record), Join.OWN)

    def _joined(self, boot: Boot, record: Record, life: Candidate, *, certain: bool) -> JoinResult:
        """An end that is not heard is no proof: while a collector is at work it will be; else
        another may have had the pid by then.
        """
        if life.running and boot.at_work:
            return PENDING
        if life.end_ns is None and boot.heard_ns is not None:
            certain = certain and not self._may_be_unseen(record, [(boot.heard_ns, NEVER_NS)])
        return JoinResult(life.id, Join.EXACT if certain else Join.UNCERTAIN)

    def _for_pairing(
        self, boot: Boot, records: list[Record], brackets: Mapping[int, WrittenBetween]
    ) -> list[Record]:
        """Records with what is known of their surroundings."""
        if boot.gaps:
            records = [
                record._replace(unseen=self._may_be_unseen(record, boot.gaps)) for record in records
            ]
        if brackets:
            records = [
                record._replace(**brackets.get(record.id, record_order.NOWHERE)._asdict())
                for record in records
            ]
        return records

    def _may_be_unseen(self, record: Record, gaps: Sequence[tuple[int, int]]) -> bool:
        """Whether its process may have both begun and ended within a gap: what lived on was found
        afterwards.
        """
        boot, clock = self.boot_of(record)
        slack_ns = LAG_NS if len(boot.clocks.known) == 1 else EDGE_NS
        first, last = pairing.start_window(record)
        first_ns, last_ns = first - clock.offset_ns - slack_ns, last - clock.offset_ns + slack_ns
        begun_ns = max(first_ns, record.exit_second * SECOND_NS - clock.offset_ns - slack_ns)
        return any(from_ns <= last_ns and begun_ns <= to_ns for from_ns, to_ns in gaps)

    def _waiting(self, pids: Iterable[int]) -> list[Record]:
        rows = self._connection.execute(
            f"select {_RECORD} from acct indexed by acct_pending where join_outcome = 0"
        )
        wanted = set(pids)
        return [record for record in starmap(Record, rows) if record.pid in wanted]

    def _lives(self, boot: Boot, groups: dict[int, list[Record]]) -> dict[int, list[Candidate]]:
        """The incarnations of these pids that may have a record among these and have none yet, in
        queue order.
        """
        offsets = tuple(clock.offset_ns for clock in boot.clocks.known)
        process_lookup.want(
            self._connection, {pid: _spans(group, offsets) for pid, group in groups.items()}
        )
        heard_ns = boot.heard_ns or 0
        told = {"boot_id": boot.id, "heard_ns": heard_ns, "alive_ns": heard_ns - LAG_NS}
        lives: dict[int, list[Candidate]] = defaultdict(list)
        for (
            pid,
            id_,
            start_ns,
            end_ns,
            alive_ns,
            exact_start,
            code,
            ppid,
            running,
        ) in self._connection.execute(_LIVES, told):
            life = Candidate(
                id_, start_ns, end_ns, alive_ns, exact_start, code, offsets, ppid, running
            )
            lives[pid].append(life if end_ns is None else _with_surroundings(boot, life, end_ns))
        return lives

    # --- ends that records tell
    # ------------------------------------------------------------------------------------------------

    def close_from_records(self, *, collector_at_work: bool) -> int:
        """Give incarnations whose exit was not heard the end that their record tells; returns how
        many.

        Those that seem to run are left to the collector while one is at work: it hears of their end
        itself.
        """
        # By these indexes, or SQLite would go through every process of the boot.
        unheard = {"process_inexact": "end_source = 2 or end_source >= 4"}
        if not collector_at_work:
            unheard["process_running"] = "elapsed_ns is null"
        closed = 0
        for boot, (index, which) in product(self._boots, unheard.items()):
            rows = self._connection.execute(
                f"""select process.id, start_ns, etime, exitcode, ended, late_s
                    from process indexed by {index} join acct on acct.process_id = process.id where ({which}) and boot_id = ?""",
                (boot.id,),
            ).fetchall()
            for id_, start_ns, etime, exitcode, ended, late_s in rows:
                elapsed_ns = int(etime) * TICK_NS
                if late_s is not None:  # etime was cut, and the second may tell more
                    elapsed_ns = max(
                        elapsed_ns, boot.clocks.monotonic_ns(ended * SECOND_NS) - start_ns
                    )
                self._connection.execute(
                    """update process set elapsed_ns = ?, end_source = ?, end_clock_id = ?, exit_status =
                       coalesce(exit_status, iif((select threads from usage where process_id = process.id) > 1, null, ?)) where id = ?""",
                    (elapsed_ns, End.ACCT, boot.clocks.at(start_ns + elapsed_ns).id, exitcode, id_),
                )
            closed += len(rows)
        return closed

    # --- records that only tell of themselves
    # -----------------------------------------------------------------------------------

    def _make_process(self, boot: Boot, record: Record) -> int:
        """An incarnation from a record alone: known to the second, or better where that is when no
        fork could be heard any more.
        """
        _, clock = self.boot_of(record)
        elapsed_ns = int(record.etime) * TICK_NS + record.late_s * SECOND_NS
        start_ns = record.exit_second * SECOND_NS - elapsed_ns - clock.offset_ns
        spans = boot.gaps if boot.heard_ns is None else [*boot.gaps, (boot.heard_ns, NEVER_NS)]
        unheard = [
            max(from_ns, start_ns)
            for from_ns, to_ns in spans
            if from_ns < start_ns + SECOND_NS and to_ns > start_ns
        ]
        start_ns = min(unheard, default=start_ns)
        process_id = self._next_id
        self._next_id += 2
        # init takes in every orphan, so it need not be the parent; and of an unknown boot nothing
        # more can be learnt.
        parent_pid = (
            record.ppid if record.ppid is not None and record.ppid > 1 and clock.offset_ns else None
        )
        who = (process_id, boot.id, record.pid, parent_pid, record.uid)
        times = (
            start_ns,
            clock.id,
            elapsed_ns,
            clock.id,
            record.exitcode,
            clock.hour(start_ns + elapsed_ns),
        )
        self._made.append(((*who, *times, Origin.ACCT, End.ACCT), record))
        return process_id

    def trace_lines(self) -> None:
        """Find parents for what has none yet, on every boot that was heard."""
        for boot in self._boots:
            parentage.trace(self._connection, boot.id)


def _spans(records: list[Record], offsets: Sequence[int]) -> list[tuple[int, int]]:
    """Monotonic times between which the processes of some records of a pid began."""
    least, most = min(offsets), max(offsets)
    spans = []
    for record in records:
        first, last = pairing.start_window(record)
        slack = pairing.float_slack_ns(record.etime) + EDGE_NS
        spans.append((first - most - slack, last - least + slack))
    return spans


def _with_surroundings(boot: Boot, life: Candidate, end_ns: int) -> Candidate:
    """An end as far as it is sure: near a gap threads may have come or gone unheard, near a step of
    the clock its real time is doubtful.
    """
    if boot.gaps and any(
        from_ns <= end_ns and life.start_ns <= to_ns for from_ns, to_ns in boot.gaps
    ):
        return life._replace(end_ns=None, code=None, ppid=None)
    if len(life.offsets) > 1:
        return life._replace(
            offsets=tuple(clock.offset_ns for clock in boot.clocks.around(end_ns, LAG_NS))
        )
    return life
