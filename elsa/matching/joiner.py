"""Joins accounting records to incarnations: loads both, lets elsa.matching.pairing decide, and
makes incarnations for records that belong to none.

Deciding needs no transaction, so it does not hold up other writers; only the results are written in
one. A record is pending as long as its process's events may still come.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Set
from functools import cache
from itertools import chain, compress, product
from operator import not_
from typing import Any, NamedTuple, cast

from elsa.decode.acct_times import WRAP
from elsa.matching import pairing, parentage, record_order
from elsa.matching.gaps import Gap, Gaps
from elsa.matching.pairing import (
    ACCT_TICK_NS,
    Candidate,
    CandidateRow,
    Record,
    RecordColumns,
    RecordRow,
)
from elsa.matching.parentage import EXIT_LAG_NS
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import End, Join, Origin
from elsa.store import boot_ends, boots, process_lookup
from elsa.store.database import insert_columns, transaction
from elsa.store.plain_sums import BOTH, ONLY_ACCT, KnownBy, Plain
from elsa.store.process_lookup import SLOT_S
from elsa.units import SECOND_NS

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


_known_by = cache(KnownBy)  # one for all records of a boot

_RECORD = f"""acct.id, cast(etime as integer), btime - iif(ended_s < btime, {WRAP}, 0), late_s,
    ended_s, exitcode, pid, ppid, acct.uid, comm_id"""
"""The columns of Records."""

# The fields of a Candidate, except the offsets, and the clock where a boot has one clock only. An
# end counts if it was received; a parent, if it certainly outlived its child.
_CANDIDATES = f"""
    select process.pid, process.id, process.start_ns,
           iif(process.end_source = {End.EXIT:d}, process.start_ns + process.elapsed_ns, null),
           iif(process.end_source is null, :alive_ns, null),
           process.origin = {Origin.FORK:d},
           iif(process.end_source = {End.EXIT:d},
               coalesce(process.leader_status, process.exit_status), null),
           iif(process.end_source = {End.EXIT:d}
                   and iif(parent.elapsed_ns is null, :heard_ns,
                           parent.start_ns + parent.elapsed_ns)
                       >= process.start_ns + process.elapsed_ns + {EXIT_LAG_NS}, parent.pid, null)
           {{clock}}
    from {process_lookup.WANTED_STARTED}
    left join acct on acct.process_id = process.id
    left join process as parent
        on parent.id = process.parent_id and process.parent_inferred is null
            and coalesce(parent.end_source, {End.EXIT:d}) = {End.EXIT:d}
    where process.origin <> {Origin.ACCT:d} and acct.id is null"""

_END_CLOCK = ", coalesce(process.end_clock_id, process.clock_id)"

# Processes whose end was not received but is in their record. SQLite is told the index: without it,
# it would read every process of the boot.
_ENDS_IN_RECORDS = """
    select process.id, start_ns, etime, exitcode, acct.ended_s, late_s
    from process indexed by {index} join acct on acct.process_id = process.id
    where ({which}) and boot_id = ?"""
# The record has the status of the leader, which may not be that of a process with several threads.
_SET_END = """
    update process
    set elapsed_ns = ?, end_source = ?, end_clock_id = ?,
        exit_status = coalesce(exit_status,
            iif((select threads from usage where process_id = process.id) > 1, null, ?))
    where id = ?"""


PENDING, EXACT, UNCERTAIN, OWN, AMBIGUOUS = map(
    int, (Join.PENDING, Join.EXACT, Join.UNCERTAIN, Join.OWN, Join.AMBIGUOUS)
)


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
    def of(cls, rows: Iterable[tuple[Any, ...]]) -> Records:
        """Records from rows of the columns _RECORD, in the order of their ids."""
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


class Joins(NamedTuple):
    """What became of records: columns, in the order of the records."""

    record_ids: Sequence[int]
    process_ids: list[int | None]
    outcomes: list[int]
    """codes.Join"""
    plain: Plain

    @classmethod
    def unjoined(cls, record_ids: Sequence[int], outcome: int) -> Joins:
        """Records that are joined to no process."""
        number = len(record_ids)
        return cls(record_ids, [None] * number, [outcome] * number, Plain.none(number))

    def settled(self) -> list[tuple[int | None, int, int]]:
        """Process id, outcome and record id of those that are not pending."""
        rows = zip(self.process_ids, self.outcomes, self.record_ids, strict=True)
        return [row for row in rows if row[1] != PENDING]

    def lists(self) -> list[list[Any]]:
        """The columns, except the ids."""
        return [self.process_ids, self.outcomes, *self.plain]

    def split(self, number: int) -> tuple[Joins, Joins]:
        """Of the first records, so many, and of the others."""
        return self._part(slice(number)), self._part(slice(number, None))

    def _part(self, some: slice) -> Joins:
        ids, process_ids, outcomes, plain = self
        return Joins(ids[some], process_ids[some], outcomes[some], plain.part(some))


class _Made(NamedTuple):
    """Incarnations that were made from records."""

    columns: dict[str, Sequence[int | None]]
    """Of table process, except comm_id."""
    record_ids: Sequence[int]
    comm_ids: Sequence[int | None]
    """As in Records."""


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
        self._made: list[_Made] = []
        self._cells = MOST_CELLS
        # Where taskstats reports processes, it reports nearly all: these are not plain.
        (usage,) = connection.execute(
            "select exists (select 1 from usage) or exists (select 1 from usage_so_far)"
        ).fetchone()
        self._joined_may_be_plain = not usage
        # Between two of these seconds, boot and clock are the same.
        self._changes = sorted(
            -(-change // SECOND_NS)
            for boot in host_boots
            for _, since_ns, until_ns in _spans_of_clocks(boot)
            for change in (since_ns, until_ns)
        )
        self._found: dict[int, tuple[Boot, Clock]] = {}
        self._last_records: dict[int, int] = {}
        """By boot id: real time of the last record after the boot had seemed to end."""
        connection.execute("pragma temp_store = memory")

    # --- which boot

    def _boot_at(self, second: int) -> tuple[Boot, Clock]:
        """The boot in which a record was written, and the clock that was valid then."""
        span = bisect_right(self._changes, second)
        found = self._found.get(span)
        if found is None:
            found = self._found[span] = self._boot_in(second * SECOND_NS)
        return found

    def _by_clock(
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
            yield *self._boot_at(some[0]), indices
            return
        by_span: dict[int, list[int]] = defaultdict(list)
        for index, second in zip(indices, some, strict=True):
            by_span[bisect_right(self._changes, second)].append(index)
        for of_span in by_span.values():
            yield *self._boot_at(seconds[of_span[0]]), of_span

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
            self._unknown = Boot(boot_id, clocks, None, complete=True, gaps=Gaps())
        return self._unknown

    # --- pairing

    def join(self, new: Records) -> tuple[Joins, Joins]:
        """Join the pending records of the same pids, and new records; more records may follow.
        Returns what became of the pending records, then of the new.
        """
        rows = self._connection.execute(
            f"select {_RECORD} from acct indexed by acct_pending where join_outcome = 0"
        )
        pids, pid = set(new.pids), Records._fields.index("pids")
        pending = Records.of(row for row in rows if row[pid] in pids)
        joins = self._join(pending.followed_by(new), final=False)
        return joins.split(len(pending.ids))

    def join_pending(self) -> Joins:
        """Join all pending records, when all records have been read."""
        rows = self._connection.execute(
            f"""select {_RECORD}
                from acct indexed by acct_pending join acct_file on acct_file.id = acct_file_id
                where join_outcome = 0 and host_id = ?""",
            (self._host_id,),
        )
        return self._join(Records.of(rows), final=True)

    def _join(self, records: Records, *, final: bool) -> Joins:
        joins = Joins.unjoined(records.ids, PENDING)
        unpaired: list[int] = []
        of_boots: dict[int, tuple[Boot, list[int]]] = {}
        for boot, _, indices in self._by_clock(range(len(records.ids)), records.ends):
            self._note_last(boot, max(chosen(records.ends, indices)))
            if boot.heard_ns is None:
                unpaired += indices  # there are no candidates
            else:
                of_boots.setdefault(boot.id, (boot, []))[1].extend(indices)
        for boot, indices in of_boots.values():
            unpaired += self._join_boot(boot, records, sorted(indices), joins, final=final)
        self._make_processes(records, sorted(unpaired), joins)
        return joins

    def _join_boot(
        self,
        boot: Boot,
        records: Records,
        indices: Sequence[int],
        joins: Joins,
        *,
        final: bool,
    ) -> list[int]:
        """Join the records of a boot to its incarnations. Returns which fit none, by index."""
        some = records.chosen(indices)
        pids = some.pids
        columns = pairing.columns(
            indices, some.exitcodes, some.ppids, some.begins, some.ticks, some.ends
        )
        boot, lives = self._candidates(boot, pids, some.begins, columns)
        life_of = {life[0]: life for life in lives}
        if boot.gaps:
            columns = self._with_unseen(boot, columns)
        if final and lives:
            ids = {
                id_: index
                for id_, index, pid in zip(some.ids, indices, pids, strict=True)
                if pid in life_of
            }
            columns = self._with_order(boot, columns, ids)
        unended = {life[0] for life in lives if life[3] is None}
        of_unended = compress(columns.rows(), map(unended.__contains__, pids)) if unended else ()
        after = self._after_events(boot, of_unended)
        # Nearly all pids have one record and one incarnation, and these fit: all of them are
        # compared at once.
        odd = _repeated(pids) | _repeated([life[0] for life in lives])
        alone = [place for place, pid in enumerate(pids) if pid in life_of and pid not in odd]
        compared = [life_of[pid] for pid in chosen(pids, alone)]
        fit = pairing.fit_alone(compared, columns.chosen(alone))
        pairs = zip(compress(chosen(indices, alone), fit), compress(compared, fit), strict=True)
        self._take(boot, pairs, joins, after, certain=True)
        if len(alone) == len(pids) and all(fit):
            return []
        odd.update(life[0] for life in compress(compared, map(not_, fit)))
        unpaired = [index for index, pid in zip(indices, pids, strict=True) if pid not in life_of]
        for of_records, of_lives in _by_pid(odd & life_of.keys(), pids, columns, lives):
            unpaired += self._join_pid(boot, of_records, of_lives, joins, after, final=final)
        return unpaired

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
        for columns, record_ids, known in self._made:
            comms = [
                comm_ids[record_id] if comm_id is None else comm_id
                for record_id, comm_id in zip(record_ids, known, strict=True)
            ]
            insert_columns(self._connection, "process", {**columns, "comm_id": comms})
        self._made.clear()

    def _join_pid(
        self,
        boot: Boot,
        records: list[Record],
        lives: list[Candidate],
        joins: Joins,
        after: Container[int],
        *,
        final: bool,
    ) -> list[int]:
        """Join the records of a pid to its incarnations where they do not simply fit in order.
        Returns which fit none, by index.
        """
        candidates = {life.id: life for life in lives}
        most = QUICK_CELLS
        if final:
            most = max(QUICK_CELLS, min(pairing.MAX_CELLS, self._cells))
            self._cells -= min(len(lives) * len(records), most)
        outcome = pairing.pair(lives, records, most)
        for certain in (True, False) if final else (True,):  # later records of the file say more
            pairs = [
                (pair.record_id, candidates[pair.process_id])
                for pair in outcome.pairs
                if pair.certain is certain
            ]
            self._take(boot, pairs, joins, after, certain=certain)
        by_id = {record.id: record for record in records}
        for record_id in outcome.ambiguous:
            if final and boot.is_final_for(by_id[record_id]):
                joins.outcomes[record_id] = AMBIGUOUS
        return outcome.unpaired

    def _take(
        self,
        boot: Boot,
        pairs: Iterable[tuple[int, CandidateRow]],
        joins: Joins,
        after: Container[int],
        *,
        certain: bool,
    ) -> None:
        """Join records, by index, to incarnations. A pair whose process's exit was not received is
        not certain. While a collector runs, the exit will come; else another process may have had
        the pid when the record was written, if it is among those of `_after_events`.
        """
        _, process_ids, outcomes, (ended, elapsed, known_by) = joins
        known = _known_by(boot.id, BOTH, None)
        offset_of = {clock.id: clock.offset_ns for clock in boot.clocks.known}
        how = EXACT if certain else UNCERTAIN
        may_be_plain = certain and self._joined_may_be_plain
        for index, (_, process_id, start_ns, end_ns, alive_ns, _, _, _, clock_id, _) in pairs:
            if alive_ns is not None and boot.collector_running:
                continue
            process_ids[index] = process_id
            if end_ns is None:
                outcomes[index] = UNCERTAIN if index in after else how
                continue
            outcomes[index] = how
            if may_be_plain and start_ns <= end_ns:  # else no program of ELSA stored it
                ended[index], known_by[index] = end_ns + offset_of[clock_id], known
                elapsed[index] = end_ns - start_ns

    def _after_events(self, boot: Boot, rows: Iterable[RecordRow]) -> set[int]:
        """The indices of records whose process may have started after the last event that was
        received.
        """
        if boot.heard_ns is None:
            return set()
        after = Gaps([Gap(boot.heard_ns, NEVER_NS, NEVER_NS)])
        return {row[0] for row in rows if self._may_be_unseen(row[5:8], after)}

    def _with_unseen(self, boot: Boot, columns: RecordColumns) -> RecordColumns:
        """Records with whether their processes may have gone unnoticed."""
        times = zip(columns.first_ns, columns.last_ns, columns.end_second_ns, strict=True)
        return columns._replace(unseen=[self._may_be_unseen(some, boot.gaps) for some in times])

    def _with_order(
        self, boot: Boot, columns: RecordColumns, index_of: Mapping[int, int]
    ) -> RecordColumns:
        """Records with what is known from adjacent records; `index_of` has the ids of those that
        may have an incarnation.
        """
        times = record_order.written_between(self._connection, boot.id, index_of)
        written = {index_of[id_]: between for id_, between in times.items()}
        known = [written.get(index, record_order.UNKNOWN) for index in columns.ids]
        return columns._replace(
            after_ns=[between.after_ns for between in known],
            by_ns=[between.by_ns for between in known],
        )

    def _may_be_unseen(self, times: tuple[int, int, int], gaps: Gaps) -> bool:
        """Whether a record's process may have both started and ended within a gap: a process that
        was still alive after the gap was seen then. `times` are its first_ns, last_ns and
        end_second_ns.
        """
        first_ns, last_ns, end_second_ns = times
        boot, clock = self._boot_at(end_second_ns // SECOND_NS)
        slack_ns = EXIT_LAG_NS if len(boot.clocks.known) == 1 else MARGIN_NS
        first_ns -= clock.offset_ns + slack_ns
        last_ns += slack_ns - clock.offset_ns
        ended_ns = max(first_ns, end_second_ns - clock.offset_ns - slack_ns)
        return gaps.may_hide(first_ns, last_ns, ended_ns)

    def _candidates(
        self, boot: Boot, pids: Sequence[int], begins: Sequence[int], columns: RecordColumns
    ) -> tuple[Boot, list[CandidateRow]]:
        """The incarnations to which records of these pids may belong, if they have no record yet.
        Also the boot, without its gaps if none may concern one of them.
        """
        offsets = tuple(sorted(clock.offset_ns for clock in boot.clocks.known))
        # In which seconds of monotonic time a process started, by the second in its record.
        margin_ns = SECOND_NS + MARGIN_NS + max(columns.slack_ns)
        earlier_s = -(-(offsets[-1] + margin_ns) // SECOND_NS)
        later_s = -((offsets[0] - margin_ns - pairing.SLACK_NS) // SECOND_NS)
        # the slots from that of the first of these seconds to that of the last
        more = (earlier_s + later_s) // SLOT_S
        slots = {(begin - earlier_s) // SLOT_S for begin in begins}
        slots |= {(begin + later_s) // SLOT_S - more for begin in begins}
        earliest_ns = (min(begins) - earlier_s) * SECOND_NS
        heard_ns = boot.heard_ns or 0
        values = {
            **{"boot_id": boot.id, "heard_ns": heard_ns, "alive_ns": heard_ns - EXIT_LAG_NS},
            **process_lookup.wanted(pids, slots, more),
        }
        clock, rest = _END_CLOCK, cast("tuple[Any, ...]", (offsets,))
        if len(offsets) == 1:
            clock, rest = "", (boot.clocks.current.id, offsets)
        rows = self._connection.execute(_CANDIDATES.format(clock=clock), values)
        lives = _near([row + rest for row in rows], pids, columns)
        if boot.gaps:
            ends = [life[3] for life in lives if life[3] is not None]
            latest_ns = max([max(columns.last_ns) + MARGIN_NS - offsets[0], *ends])
            if not boot.gaps.touch(earliest_ns, latest_ns):
                boot = boot._replace(gaps=Gaps())
        if boot.gaps or len(offsets) > 1:
            lives = [_checked(boot, life) for life in lives]
        return boot, lives

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

    def _make_processes(self, records: Records, indices: Sequence[int], joins: Joins) -> None:
        """Make incarnations from records that fit none: their processes were never seen, unless
        events are still to come.
        """
        of_clocks = []
        for boot, clock, some in self._by_clock(indices, records.ends):
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
        if boot is self._unknown:
            # nothing was received of its boot
            known = _known_by(boot.id, ONLY_ACCT, 1)
            ended, of_plain, known_by = joins.plain
            for index, end, elapsed_ns in zip(indices, ends, elapsed, strict=True):
                if end >= 0:
                    ended[index], of_plain[index], known_by[index] = end, elapsed_ns, known

    def infer_parents(self) -> None:
        """Infer the parents of processes that have none yet, on every known boot."""
        for boot in self._boots:
            parentage.infer_parents(self._connection, boot.id)


def chosen(column: Sequence[Any], indices: Sequence[int]) -> Sequence[Any]:
    """Some values of a column; `indices` ascend."""
    if len(indices) == len(column):
        return column
    return [column[index] for index in indices]


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
    until_ns = start_ns + SECOND_NS
    possible = [boot.gaps.earliest(start_ns, until_ns)]
    if boot.heard_ns is not None and boot.heard_ns < until_ns:
        possible.append(max(boot.heard_ns, start_ns))
    return min((time_ns for time_ns in possible if time_ns is not None), default=start_ns)


def _checked(boot: Boot, life: CandidateRow) -> CandidateRow:
    """A candidate with only what is certain of its end: if events were not received during its
    lifetime, forks and exits of its threads may be missing; near a change of the clock the end's
    real time is not certain.
    """
    _, _, start_ns, end_ns, *_, offsets = life
    if end_ns is None:
        return life
    if boot.gaps.touch(start_ns, end_ns):
        return Candidate._make(life)._replace(end_ns=None, code=None, ppid=None)
    if len(offsets) > 1:
        near = (clock.offset_ns for clock in boot.clocks.around(end_ns, EXIT_LAG_NS))
        return Candidate._make(life)._replace(offsets=tuple(sorted(near)))
    return life


def _near(
    lives: list[CandidateRow], pids: Sequence[int], columns: RecordColumns
) -> list[CandidateRow]:
    """The incarnations without those that started far from every record of their pid. Where a pid
    has only one incarnation, comparing tells.
    """
    several = _repeated([life[0] for life in lives])
    if not several:
        return lives
    windows = defaultdict(list)
    for pid, row in zip(pids, columns.rows(), strict=True):
        if pid in several:
            windows[pid].append((row[4], row[5], row[6]))

    def is_near(life: CandidateRow) -> bool:
        pid, _, start_ns, *_, offsets = life
        return any(
            first_ns - slack_ns - MARGIN_NS - offsets[-1]
            <= start_ns
            <= last_ns + slack_ns + MARGIN_NS - offsets[0]
            for slack_ns, first_ns, last_ns in windows[pid]
        )

    return [life for life in lives if life[0] not in several or is_near(life)]


def _by_pid(
    some: Set[int], pids: Sequence[int], columns: RecordColumns, lives: Iterable[CandidateRow]
) -> Iterator[tuple[list[Record], list[Candidate]]]:
    """The records and the incarnations, in queue order, of each of some pids."""
    records: dict[int, list[Record]] = defaultdict(list)
    places = [place for place, pid in enumerate(pids) if pid in some]
    for pid, row in zip(chosen(pids, places), columns.chosen(places).rows(), strict=True):
        records[pid].append(Record._make(row))
    incarnations: dict[int, list[Candidate]] = defaultdict(list)
    for life in lives:
        if life[0] in some:
            incarnations[life[0]].append(Candidate._make(life))
    for pid, of_pid in records.items():
        yield of_pid, sorted(incarnations[pid])


def _repeated(values: Sequence[int]) -> set[int]:
    """The values that occur more than once."""
    if len(set(values)) == len(values):
        return set()
    return {value for value, number in Counter(values).items() if number > 1}
