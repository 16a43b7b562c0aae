"""Joining accounting records to incarnations: loads both sides, has elsa.state.pairing decide, and gives lonely records an incarnation.

Deciding needs no transaction, so that it holds up no other writer; only what was decided is written in one. A record waits (PENDING) as
long as its events may still come.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from elsa.state import pairing
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import End, Join, Origin
from elsa.state.pairing import SECOND_NS, TICK_NS, Life, Record
from elsa.store import boots, lines, neighbours
from elsa.store.database import transaction
from elsa.store.neighbours import Bracket
from elsa.store.staleness import ended_hour

# While a file is being read, pairs that need a large table wait until all of it is there.
QUICK_CELLS = 10_000
# All tables of one pass together: some ten seconds. What would need more stays ambiguous.
MOST_CELLS = 30_000_000
# A record that fits several incarnations equally well is given up on when nothing new can be expected to decide it.
GIVE_UP_NS = 60 * SECOND_NS
# An exit may be heard this long after its record was written.
LAG_NS = 200_000_000
# Around the beginning of a boot and a step of the clock, times in records may lie a little outside.
EDGE_NS = 2 * SECOND_NS
NEVER_NS = 2**62


_INSERT_OWN = f"""insert into process
    (id, boot_id, pid, parent_pid, origin, start_ns, clock_id, elapsed_ns, end_clock_id, end_how, exit_status, uid, comm_id, ended_hour)
    values ({", ".join(f"?{number}" for number in range(1, 14))}, {ended_hour("?6", "?8", "?9", "?7")})"""


class Waiting(NamedTuple):
    """A record that wants an incarnation."""

    id: int
    pid: int
    ppid: int
    uid: int
    comm_id: int | None
    """None of a new record, whose name has no number yet."""
    btime: int
    etime: float
    exitcode: int

    @property
    def exit_ns(self) -> int:
        """Real time: the beginning of the second in which it ended."""
        return (self.btime + int(self.etime) // 100) * SECOND_NS


class Verdict(NamedTuple):
    """What a record was joined to, and how."""

    process_id: int | None
    how: Join


PENDING = Verdict(None, Join.PENDING)


class Boot(NamedTuple):
    """A boot as joining needs it."""

    id: int
    clocks: Clocks
    heard_ns: int | None
    """Monotonic: up to here every process is in the warehouse; what comes later may still come, unless `complete`.
    None: no collector heard anything of this boot."""
    complete: bool
    """No collector is at work on it, or it has just told everything: nothing that happened before now can still come."""
    gaps: list[tuple[int, int]]
    """Monotonic times between which processes may have gone unnoticed."""
    at_work: bool = False
    """A collector is at work on it: it hears of every end itself."""
    now_at_ns: int = 0
    """Real time of this pass."""

    @property
    def heard_at_ns(self) -> int:
        """`heard_ns` in real time."""
        return (self.heard_ns or 0) + self.clocks.current.offset_ns

    def is_over_for(self, record: Waiting) -> bool:
        """Whether so much time has passed that nothing new can be expected to tell of a record."""
        reached_at_ns = self.heard_at_ns if self.at_work else max(self.heard_at_ns, self.now_at_ns)
        return record.exit_ns + GIVE_UP_NS < reached_at_ns


class Joiner:
    """Joins the records of one host, in one pass of the ingester."""

    def __init__(self, connection: sqlite3.Connection, host_id: int, host_boots: Sequence[Boot]) -> None:
        self._connection = connection
        self._host_id = host_id
        self._boots = sorted(host_boots, key=lambda boot: boot.id, reverse=True)
        self._unknown: Boot | None = None
        self._next_id = boots.next_own_id(connection, "process", boots.INGESTER_IDS)
        self._made: list[tuple[int, int, int, Clock, Waiting, int]] = []
        self._cells = MOST_CELLS
        self._brackets: dict[int, Bracket] = {}
        connection.execute("pragma temp_store = memory")
        connection.execute("create temp table if not exists wanted (pid integer, first_ns integer, last_ns integer)")

    # --- which boot -------------------------------------------------------------------------------------------------------------

    def boot_of(self, record: Waiting) -> tuple[Boot, Clock]:
        """The boot in which a record was written, and the clock by which its times are to be read."""
        exit_ns = record.exit_ns
        for boot in self._boots:
            known = boot.clocks.known
            for index in range(len(known) - 1, -1, -1):
                since_ns = known[index].since_ns if index else 0
                until_ns = known[index + 1].since_ns if index + 1 < len(known) else None
                time_ns = exit_ns - known[index].offset_ns
                if time_ns > since_ns - EDGE_NS and (until_ns is None or time_ns < until_ns):
                    return boot, known[index]
        unknown = self._unknown_boot()
        return unknown, unknown.clocks.current

    def _unknown_boot(self) -> Boot:
        """The row that stands for boots of which only records tell: its monotonic time is real time."""
        if self._unknown is None:
            with transaction(self._connection):
                boot_id = boots.unknown_boot_row(self._connection, self._host_id)
                clocks = boots.clocks_of(self._connection, boot_id)
                if not clocks.known:
                    clock = Clock(boots.next_own_id(self._connection, "clock", boots.INGESTER_IDS), 0, 0, 0)
                    boots.add_clock(self._connection, boot_id, clock)
                    clocks.known.append(clock)
            self._unknown = Boot(boot_id, clocks, None, complete=True, gaps=[])
        return self._unknown

    # --- pairing ----------------------------------------------------------------------------------------------------------------

    def join(self, new: Sequence[Waiting]) -> dict[int, Verdict]:
        """Verdicts for new records and for those of the same pids that wait already; more records may be at hand."""
        return self._join(sorted([*self._waiting({record.pid for record in new}), *new]), final=False)

    def join_pending(self) -> dict[int, Verdict]:
        """Verdicts for every record that waits, now that all are at hand."""
        rows = self._connection.execute(
            """select acct.id, pid, ppid, acct.uid, comm_id, btime, etime, exitcode
               from acct join acct_file on acct_file.id = acct_file_id
               where join_how = 0 and host_id = ? order by acct.id""",
            (self._host_id,),
        )
        return self._join([Waiting(*row) for row in rows.fetchall()], final=True)

    def _join(self, records: Sequence[Waiting], *, final: bool) -> dict[int, Verdict]:
        boots_of: dict[int, tuple[Boot, dict[int, list[Waiting]]]] = {}
        for record in records:
            boot, _ = self.boot_of(record)
            boots_of.setdefault(boot.id, (boot, defaultdict(list)))[1][record.pid].append(record)
        verdicts: dict[int, Verdict] = {}
        for boot, groups in boots_of.values():
            # Of a boot that no collector heard there is nothing to pair with.
            lives = self._lives(boot, groups) if boot.heard_ns is not None else {}
            self._brackets = {}
            if final and lives:
                waiting = [record.id for pid in lives for record in groups[pid]]
                self._brackets = neighbours.brackets(self._connection, boot.id, waiting)
            for pid, group in groups.items():
                if pid in lives:
                    self._join_pid(boot, group, lives[pid], verdicts, final=final)
                else:
                    verdicts.update((record.id, self._alone(boot, record)) for record in group)
        return verdicts

    def write_made(self, comm_ids: Mapping[int, int]) -> None:
        """Store the incarnations that records were given since the last call; `comm_ids` are those of new records."""
        rows = []
        for process_id, boot_id, start_ns, clock, record, elapsed_ns in self._made:
            comm_id = record.comm_id if record.comm_id is not None else comm_ids[record.id]
            times = (start_ns, clock.id, elapsed_ns, clock.id)
            # init takes in every orphan, so it need not be the parent; and of an unknown boot nothing more can be learnt.
            parent_pid = record.ppid if record.ppid > 1 and clock.offset_ns else None
            known = (process_id, boot_id, record.pid, parent_pid, Origin.ACCT)
            rows.append((*known, *times, End.ACCT, record.exitcode, record.uid, comm_id))
        self._connection.executemany(_INSERT_OWN, rows)
        self._made.clear()

    def _join_pid(self, boot: Boot, records: list[Waiting], lives: list[Life], verdicts: dict[int, Verdict], *, final: bool) -> None:
        by_id = {record.id: record for record in records}
        most = QUICK_CELLS
        if final:
            most = max(QUICK_CELLS, min(pairing.MAX_CELLS, self._cells))
            self._cells -= min(len(lives) * len(records), most)
        outcome = pairing.pair(lives, [self._for_pairing(boot, record) for record in records], most)
        life_of = {life.id: life for life in lives}
        for pair in outcome.pairs:
            # With all of the file at hand the neighbours tell more.
            wait = not final and not pair.certain
            joined = self._joined(boot, by_id[pair.record_id], life_of[pair.life_id], certain=pair.certain)
            verdicts[pair.record_id] = PENDING if wait else joined
        for record_id in outcome.ambiguous:
            old = final and boot.is_over_for(by_id[record_id])
            verdicts[record_id] = Verdict(None, Join.AMBIGUOUS) if old else PENDING
        for record_id in outcome.alone:
            verdicts[record_id] = self._alone(boot, by_id[record_id])

    def _alone(self, boot: Boot, record: Waiting) -> Verdict:
        """No incarnation fits: it was never seen, unless its events are still to come."""
        if not boot.complete and record.exit_ns + SECOND_NS > boot.heard_at_ns:
            return PENDING
        return Verdict(self._make_process(boot, record), Join.OWN)

    def _joined(self, boot: Boot, record: Waiting, life: Life, *, certain: bool) -> Verdict:
        """An end that is not heard is no proof: while a collector is at work it will be; else another may have had the pid by then."""
        if life.running and boot.at_work:
            return PENDING
        if life.end_ns is None and boot.heard_ns is not None:
            certain = certain and not self._may_be_unseen(record, [(boot.heard_ns, NEVER_NS)])
        return Verdict(life.id, Join.EXACT if certain else Join.UNCERTAIN)

    def _for_pairing(self, boot: Boot, record: Waiting) -> Record:
        bracket = self._brackets.get(record.id, neighbours.NOWHERE)
        unseen = bool(boot.gaps) and self._may_be_unseen(record, boot.gaps)
        return Record(record.id, record.btime, record.etime, record.exitcode, record.ppid, unseen, *bracket)

    def _may_be_unseen(self, record: Waiting, gaps: Sequence[tuple[int, int]]) -> bool:
        """Whether its process may have both begun and ended within a gap: what lived on was found afterwards."""
        boot, clock = self.boot_of(record)
        slack_ns = LAG_NS if len(boot.clocks.known) == 1 else EDGE_NS
        first, last = pairing.start_window(Record(0, record.btime, record.etime, 0))
        first_ns, last_ns, exit_ns = first - clock.offset_ns, last - clock.offset_ns, record.exit_ns - clock.offset_ns
        return any(from_ns <= last_ns + slack_ns and max(first_ns, exit_ns) - slack_ns <= to_ns for from_ns, to_ns in gaps)

    def _waiting(self, pids: Iterable[int]) -> list[Waiting]:
        rows = self._connection.execute(
            "select id, pid, ppid, uid, comm_id, btime, etime, exitcode from acct where join_how = 0 order by id"
        )
        wanted = set(pids)
        return [Waiting(*row) for row in rows if row[1] in wanted]

    def _lives(self, boot: Boot, groups: dict[int, list[Waiting]]) -> dict[int, list[Life]]:
        """The incarnations of these pids that may have a record among these and have none yet, in queue order."""
        offsets = [clock.offset_ns for clock in boot.clocks.known]
        wanted: list[tuple[int, int, int]] = []
        for pid, group in groups.items():
            spans = []
            for record in group:
                first, last = pairing.start_window(Record(0, record.btime, record.etime, 0))
                slack = pairing.float_slack_ns(record.etime) + EDGE_NS
                spans.append((first - max(offsets) - slack, last - min(offsets) + slack))
            wanted.extend((pid, *span) for span in _merged(spans))
        connection = self._connection
        connection.execute("delete from wanted")
        connection.executemany("insert into wanted values (?, ?, ?)", wanted)
        lives: dict[int, list[Life]] = defaultdict(list)
        rows = connection.execute(
            """select process.pid, process.id, process.start_ns, process.elapsed_ns, process.end_how, process.origin,
                      coalesce(process.leader_status, process.exit_status),
                      parent.pid, parent.start_ns + coalesce(parent.elapsed_ns, ? - parent.start_ns)
               from wanted
               cross join process on process.boot_id = ? and process.pid = wanted.pid and process.start_ns between first_ns and last_ns
               left join process as parent
                   on parent.id = process.parent_id and process.parent_inferred is null and coalesce(parent.end_how, ?) = ?
               where process.origin <> ? and not exists (select 1 from acct where acct.process_id = process.id)
               order by process.id""",
            (boot.heard_ns, boot.id, End.EXIT, End.EXIT, Origin.ACCT),
        )
        every = tuple(offsets)
        for pid, *row in rows:
            lives[pid].append(_life(boot, every, *row))
        return lives

    # --- ends that records tell ------------------------------------------------------------------------------------------------

    def close_from_records(self, *, collector_at_work: bool) -> int:
        """Give incarnations whose exit was not heard the end that their record tells; returns how many.

        Those that seem to run are left to the collector while one is at work: it hears of their end itself.
        """
        ended = "end_how in (2, 4, 5)" if collector_at_work else "(end_how in (2, 4, 5) or end_how is null)"
        closed = 0
        for boot in self._boots:
            rows = self._connection.execute(
                f"""select process.id, start_ns, etime, exitcode from process join acct on acct.process_id = process.id
                    where {ended} and boot_id = ?""",
                (boot.id,),
            ).fetchall()
            for id_, start_ns, etime, exitcode in rows:
                elapsed_ns = int(etime * TICK_NS)
                self._connection.execute(
                    """update process set elapsed_ns = ?, end_how = ?, end_clock_id = ?, exit_status = coalesce(exit_status, ?)
                       where id = ?""",
                    (elapsed_ns, End.ACCT, boot.clocks.at(start_ns + elapsed_ns).id, exitcode, id_),
                )
            closed += len(rows)
        return closed

    # --- records that only tell of themselves -----------------------------------------------------------------------------------

    def _make_process(self, boot: Boot, record: Waiting) -> int:
        """An incarnation from a record alone: known to the second, or better where that is when no fork could be heard any more."""
        _, clock = self.boot_of(record)
        elapsed_ns = int(record.etime * TICK_NS)
        start_ns = record.exit_ns - elapsed_ns - clock.offset_ns
        times = boot.gaps if boot.heard_ns is None else [*boot.gaps, (boot.heard_ns, NEVER_NS)]
        unheard = [max(from_ns, start_ns) for from_ns, to_ns in times if from_ns < start_ns + SECOND_NS and to_ns > start_ns]
        start_ns = min(unheard, default=start_ns)
        process_id = self._next_id
        self._next_id += 2
        self._made.append((process_id, boot.id, start_ns, clock, record, elapsed_ns))
        return process_id

    def trace_lines(self) -> None:
        """Find parents for what has none yet, on every boot that was heard."""
        for boot in self._boots:
            lines.trace(self._connection, boot.id)


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that overlap made one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _life(
    boot: Boot,
    offsets: tuple[int, ...],
    id_: int,
    start_ns: int,
    elapsed_ns: int | None,
    end_how: int | None,
    origin: int,
    code: int | None,
    parent_pid: int | None,
    parent_end_ns: int | None,
) -> Life:
    end_ns = start_ns + elapsed_ns if end_how == End.EXIT and elapsed_ns is not None else None
    if end_ns is not None and any(from_ns <= end_ns and start_ns <= to_ns for from_ns, to_ns in boot.gaps):
        end_ns = None  # of its threads some may have come or gone unheard
    if end_ns is not None and len(offsets) > 1:
        offsets = tuple(clock.offset_ns for clock in boot.clocks.around(end_ns, LAG_NS))
    running = end_how is None
    outlived = end_ns is not None and parent_end_ns is not None and parent_end_ns >= end_ns + LAG_NS
    return Life(
        id=id_,
        start_ns=start_ns,
        end_ns=end_ns,
        alive_ns=(boot.heard_ns or 0) - LAG_NS if running else start_ns,
        exact_start=origin == Origin.FORK,
        code=code if end_ns is not None else None,
        offsets=offsets,
        ppid=parent_pid if outlived else None,
        running=running,
    )
