"""Joins accounting records to incarnations: loads both, lets elsa.matching.pairing decide, and
makes incarnations for records that belong to none.

Deciding needs no transaction, so it does not hold up other writers; only the results are written in
one. A record is pending as long as its process's events may still come.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Set
from functools import cache
from itertools import compress
from operator import not_, or_

from elsa.matching import candidates, pairing, parentage, record_order, recorded_ends
from elsa.matching.gaps import NEVER_NS, Gap, Gaps
from elsa.matching.host_boots import MARGIN_NS, Boot, HostBoots
from elsa.matching.joins import AMBIGUOUS, EXACT, PENDING, UNCERTAIN, Joins
from elsa.matching.own_processes import OwnProcesses
from elsa.matching.pairing import Candidate, CandidateRow, Record, RecordColumns, RecordRow
from elsa.matching.parentage import EXIT_LAG_NS
from elsa.matching.records import Records, chosen, repeated
from elsa.store.plain_sums import BOTH, KnownBy
from elsa.units import SECOND_NS

# While a file is being read, pairs that need a larger table wait until all of it is there.
QUICK_CELLS = 10_000
# All tables of a pass together: some ten seconds. Records that would need more stay ambiguous.
MOST_CELLS = 30_000_000

_known_by = cache(KnownBy)  # one for all records of a boot


class Joiner:
    """Joins the records of a host, in one pass of the ingester."""

    def __init__(
        self, connection: sqlite3.Connection, host_id: int, host_boots: Sequence[Boot]
    ) -> None:
        self._connection = connection
        self._host_id = host_id
        self._boots = HostBoots(connection, host_id, host_boots)
        self._own = OwnProcesses(connection, self._boots)
        self._cells = MOST_CELLS
        # Where taskstats reports processes, it reports nearly all: these are not plain.
        (usage,) = connection.execute(
            "select exists (select 1 from usage) or exists (select 1 from usage_so_far)"
        ).fetchone()
        self._joined_may_be_plain = not usage
        connection.execute("pragma temp_store = memory")

    def join(self, new: Records) -> tuple[Joins, Joins]:
        """Join the pending records of the same pids, and new records; more records may follow.
        Returns what became of the pending records, then of the new.
        """
        pending = Records.pending_of_pids(self._connection, set(new.pids))
        joins = self._join(pending.followed_by(new), final=False)
        return joins.split(len(pending.ids))

    def join_pending(self) -> Joins:
        """Join all pending records, when all records have been read."""
        pending = Records.pending_of_host(self._connection, self._host_id)
        return self._join(pending, final=True)

    def _join(self, records: Records, *, final: bool) -> Joins:
        joins = Joins.unjoined(records.ids, PENDING)
        unpaired: list[int] = []
        of_boots: dict[int, tuple[Boot, list[int]]] = {}
        for boot, _, indices in self._boots.by_clock(range(len(records.ids)), records.ends):
            self._boots.note_last(boot, max(chosen(records.ends, indices)))
            if boot.heard_ns is None:
                unpaired += indices  # there are no candidates
            else:
                of_boots.setdefault(boot.id, (boot, []))[1].extend(indices)
        for boot, indices in of_boots.values():
            unpaired += self._join_boot(boot, records, sorted(indices), joins, final=final)
        self._own.make(records, sorted(unpaired), joins)
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
        lives = candidates.load(self._connection, boot, pids, some.begins, columns)
        if gaps := candidates.gaps_near(boot, lives, columns):
            columns = self._with_unseen(gaps, columns)
        if boot.first_ns is not None and boot.first_ns >= candidates.earliest_start_ns(
            boot, columns
        ):
            early = self._may_be_early(boot.first_ns, pids, columns, lives)
            if final:
                columns = columns._replace(early=early)
            else:  # later records of the pid may show that more processes had it
                columns = columns._replace(unseen=list(map(or_, columns.unseen, early)))
        if gaps or len(boot.clocks.known) > 1:
            lives = [candidates.with_certain_end(boot, gaps, life) for life in lives]
        life_of = {life[0]: life for life in lives}
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
        odd = repeated(pids) | repeated([life[0] for life in lives])
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
        life_of = {life.id: life for life in lives}
        most = QUICK_CELLS
        if final:
            most = max(QUICK_CELLS, min(pairing.MAX_CELLS, self._cells))
            self._cells -= min(len(lives) * len(records), most)
        outcome = pairing.pair(lives, records, most)
        for certain in (True, False) if final else (True,):  # later records of the file say more
            pairs = [
                (pair.record_id, life_of[pair.process_id])
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

    def _with_unseen(self, gaps: Gaps, columns: RecordColumns) -> RecordColumns:
        """Records with whether their processes may have gone unnoticed."""
        times = zip(columns.first_ns, columns.last_ns, columns.end_second_ns, strict=True)
        return columns._replace(unseen=[self._may_be_unseen(some, gaps) for some in times])

    def _may_be_early(
        self,
        first_ns: int,
        pids: Sequence[int],
        columns: RecordColumns,
        lives: Iterable[CandidateRow],
    ) -> list[bool]:
        """Whether the processes of records may have started before jobd first listened, at
        `first_ns`, and have ended before all processes that are known of their pids.
        """
        earliest: dict[int, int] = {}
        for pid, _, start_ns, *_ in lives:
            earliest[pid] = min(start_ns, earliest.get(pid, start_ns))
        before = {pid: Gaps([Gap(0, first_ns, start_ns)]) for pid, start_ns in earliest.items()}
        times = zip(columns.first_ns, columns.last_ns, columns.end_second_ns, strict=True)
        return [
            pid in before and self._may_be_unseen(some, before[pid])
            for pid, some in zip(pids, times, strict=True)
        ]

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
        boot, clock = self._boots.at(end_second_ns // SECOND_NS)
        slack_ns = EXIT_LAG_NS if len(boot.clocks.known) == 1 else MARGIN_NS
        first_ns -= clock.offset_ns + slack_ns
        last_ns += slack_ns - clock.offset_ns
        ended_ns = max(first_ns, end_second_ns - clock.offset_ns - slack_ns)
        return gaps.may_hide(first_ns, last_ns, ended_ns)

    def write_made(self, comm_ids: Mapping[int, int]) -> None:
        """Store the incarnations that were made for records since the last call; `comm_ids` has the
        comm of each new record.
        """
        self._own.write(comm_ids)

    def infer_parents(self) -> None:
        """Infer the parents of processes that have none yet, on every known boot."""
        for boot in self._boots.known:
            parentage.infer_parents(self._connection, boot.id)

    def finish(self, *, collector_running: bool) -> None:
        """When all joins are stored: learn from them when boots and processes ended, and infer
        parents. The caller holds a transaction.
        """
        self._boots.end()
        self.infer_parents()
        recorded_ends.close_from_records(
            self._connection, self._boots.known, collector_running=collector_running
        )


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
