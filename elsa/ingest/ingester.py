"""The ingester: reads accounting files into the warehouse, each record exactly once, and joins each
to its incarnation.

A pass opens the files, asks jobd (if it runs) to store all that it has received, reads up to where
the files ended before that, and joins. So the events of every record that is read are in the
warehouse already. Rows and resume point are committed together.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, compress
from pathlib import Path
from typing import Any, NamedTuple, cast

from elsa.config import Config
from elsa.control.client import Client
from elsa.decode import acct, acct_times
from elsa.decode.acct import (
    COMM,
    EXITCODE,
    FIELDS,
    PID,
    PPID,
    RECORD_SIZE,
    UID,
    AcctRecord,
    AcctRow,
)
from elsa.errors import DataError, ElsaError
from elsa.host import proc_scan
from elsa.ingest import resume
from elsa.ingest.duplicates import Duplicates
from elsa.ingest.files import Source, Sources
from elsa.ingest.record_reader import Chunk, ReplacedError, Skipped, chunks, merged
from elsa.ingest.resume import StoredFile
from elsa.kernel import clocks
from elsa.kernel.acct_file import AcctFile
from elsa.kernel.procfs import Procfs
from elsa.matching.gaps import NEVER_NS, Gap, Gaps
from elsa.matching.host_boots import Boot
from elsa.matching.joiner import Joiner
from elsa.matching.joins import Joins
from elsa.matching.records import Records, chosen
from elsa.progress import Progress, no_progress
from elsa.state.codes import Join
from elsa.store import boots, database, locks, string_ids
from elsa.store.plain_sums import PlainSums

log = logging.getLogger(__name__)

# Records per transaction: so many that the transaction's cost does not count, and so few that
# memory suffices and other writers do not wait long.
BATCH = 10_000
SYNC_TIMEOUT_S = 15.0

_ACCT = (
    *("id", "acct_file_id", "position", "process_id", "join_outcome"),
    *AcctRecord._fields[:COMM],
    *("comm_id", "late_s"),
)
"""The columns of table acct."""


@dataclass
class PassResult:
    """What a pass did."""

    records: int = 0
    joins: Counter[Join] = field(default_factory=Counter)
    """Of the new records, and of records of earlier passes that are no longer pending."""
    settled_late: int = 0
    skipped: list[tuple[str, Skipped]] = field(default_factory=list)
    """Path, and bytes that hold no record."""
    repeated: Counter[str] = field(default_factory=Counter)
    """By path: repeated records of a damaged copy."""
    files: dict[str, int] = field(default_factory=dict)
    """New records by path."""
    troubles: list[ElsaError] = field(default_factory=list)
    """Why files could not be read; the others were."""
    unread: list[str] = field(default_factory=list)
    """Accounting files beside the usual one that were not read, because their names are not those
    of rotated files.
    """
    waiting: int = 0
    """Records that are still pending."""


class Reading(NamedTuple):
    """A file that is being read, and what is needed for it."""

    connection: sqlite3.Connection
    joiner: Joiner
    sums: PlainSums
    known: StoredFile
    file: AcctFile
    repeated: set[int]
    """Positions of records that were read from another file."""
    outcome: PassResult


class Batch(NamedTuple):
    """New records, as columns."""

    ids: range
    positions: Sequence[int]
    columns: Sequence[Sequence[Any]]
    """Their fields (elsa/decode/acct.py)."""
    times: acct_times.Times
    counted: Sequence[int]
    """Which of them are ends of processes, by index."""

    @classmethod
    def of(
        cls, first_id: int, chunks: Sequence[Chunk], repeated: set[int], before: int | None
    ) -> Batch:
        """The records of these chunks that are not repeated, after one of the second `before`."""
        positions = list(chain.from_iterable(chunk.positions for chunk in chunks))
        fields = zip(*(chunk.columns for chunk in chunks), strict=True)
        columns = [list(chain.from_iterable(column)) for column in fields] or [[]] * FIELDS
        if repeated:
            new = [position not in repeated for position in positions]
            columns = [list(compress(column, new)) for column in columns]
            positions = list(compress(positions, new))
        selves = set(acct.self_records(columns))
        every = range(len(positions))
        counted = [index for index in every if index not in selves] if selves else every
        ids = range(first_id, first_id + len(positions))
        return cls(ids, positions, columns, acct_times.Times.of(columns, before), counted)

    def records(self) -> Records:
        """The records that are ends of processes, as joining needs them."""
        fields = (self.columns[field] for field in (EXITCODE, PID, PPID, UID))
        columns = (self.ids, *self.times, *fields, [None] * len(self.ids))
        return Records(*(chosen(column, self.counted) for column in columns))

    def all(self, joins: Joins) -> Joins:
        """The joins of all records, from those of the records that are ends of processes."""
        if len(self.counted) == len(self.ids):
            return joins
        whole = Joins.unjoined(self.ids, int(Join.SELF))
        for mine, theirs in zip(whole.lists(), joins.lists(), strict=True):
            for index, value in zip(self.counted, theirs, strict=True):
                mine[index] = value
        return whole


class Comparison(NamedTuple):
    """Which records of a file were read from another file."""

    repeated: set[int]
    """Positions of records that are not to be read again."""
    end: int | None
    """Up to here the file was compared; None if that was not needed."""
    all_repeated: bool


def _report(progress: Progress, before: int, total: int, plain: bool, position: int) -> None:
    progress(before + (position if plain else 0), total)


def _count(outcomes: Iterable[int], outcome: PassResult) -> None:
    for how, number in Counter(outcomes).items():
        outcome.joins[Join(how)] += number


class Ingester:
    """Reads accounting files into a warehouse."""

    def __init__(self, config: Config, procfs: Procfs, host: str | None = None) -> None:
        self._config = config
        self._procfs = procfs
        self._host = host
        self._comms = string_ids.comms()
        self._sources = Sources(config.acct_file)

    def run_once(self, paths: Sequence[Path], progress: Progress = no_progress) -> PassResult:
        """Read these files once; if none are given, the configured one and its rotated files,
        oldest first.

        Raises RetryError while another ingester uses the warehouse, and the errors of opening the
        warehouse. Errors of single files are in the outcome.
        """
        connection = database.open_for_writing(self._config.db)
        try:
            with locks.only(locks.INGESTER, self._config.db), database.translated(self._config.db):
                return self._pass(connection, paths, progress)
        finally:
            connection.close()

    def follow(
        self,
        paths: Sequence[Path],
        interval_s: float,
        stopped: Callable[[], bool],
        report: Callable[[PassResult], None],
    ) -> None:
        """Read again and again until `stopped`. Missing files and a locked warehouse are waited
        for; errors and unread files are reported when they are new.
        """
        reported: list[str] = []
        reported_unread: list[str] = []
        self._sources.keep_open()
        while not stopped():
            try:
                outcome = self.run_once(paths)
                troubles = [str(error) for error in outcome.troubles]
                if troubles == reported:
                    outcome.troubles.clear()
                unread = outcome.unread
                outcome.unread = [path for path in unread if path not in reported_unread]
                reported_unread = unread
                report(outcome)
            except ElsaError as error:
                troubles = [str(error)]
                if troubles != reported:
                    log.warning("%s; trying again", error)
            reported = troubles
            deadline = time.monotonic() + interval_s
            while not stopped() and (left := deadline - time.monotonic()) > 0:
                time.sleep(min(left, 0.2))
        if self._sources.keeps_removed():
            self._read_last(paths, report)
        self._sources.close()

    def _read_last(self, paths: Sequence[Path], report: Callable[[PassResult], None]) -> None:
        """Read removed files before they are closed, which deletes them."""
        try:
            report(self.run_once(paths))
        except ElsaError as error:
            log.error(
                "%s; the newest records of a removed accounting file could not be read and are"
                " lost",
                error,
            )

    def _pass(
        self, connection: sqlite3.Connection, paths: Sequence[Path], progress: Progress
    ) -> PassResult:
        outcome = PassResult()
        with ExitStack() as open_files:
            with database.transaction(connection):
                host_id = self._host_row(connection)
            unchanged = partial(resume.is_unchanged, connection, host_id)
            sources = self._sources.find(paths, unchanged, open_files, outcome.troubles)
            read_ns = clocks.monotonic_ns()
            complete = self._sync()
            boots_of_host = self._boots(connection, host_id, read_ns, complete=complete)
            joiner = Joiner(connection, host_id, boots_of_host)
            sums = PlainSums(connection, host_id, clocks.realtime_ns())
            total, done = sum(source.disk_size for source in sources), 0
            for source in sources:
                # The length of a compressed file is not known; it counts when it is done.
                report = partial(_report, progress, done, total, source.size is not None)
                try:
                    self._read(connection, joiner, sums, host_id, source, outcome, report)
                except ElsaError as error:
                    outcome.troubles.append(error)
                done += source.disk_size
                progress(done, total)
            self._settle(connection, joiner, sums, outcome)
        if not paths:
            outcome.unread = [resume.path_text(path) for path in self._sources.unread()]
        return outcome

    def _sync(self) -> bool:
        """Let the collector store all that it has received; True if all that happened so far is in
        the warehouse.
        """
        if self._host is not None or not locks.held(locks.COLLECTOR, self._config.db):
            return True
        try:
            Client(self._config.socket, SYNC_TIMEOUT_S).request("sync")
        except ElsaError as error:
            log.warning(
                "jobd did not confirm that its events are stored (%s); the newest records may stay"
                " pending",
                error,
            )
            return False
        return True

    # --- reading

    def _read(
        self,
        connection: sqlite3.Connection,
        joiner: Joiner,
        sums: PlainSums,
        host_id: int,
        source: Source,
        outcome: PassResult,
        report: Callable[[int], None],
    ) -> None:
        file = source.file
        identity = file.identity()
        with database.transaction(connection):
            known = resume.recognise(connection, host_id, file, identity)
            known = known or resume.add(connection, host_id, identity)
            resume.forget_skipped(connection, known)
        known.path = resume.path_text(file.path)
        known.device, known.inode = identity.device, identity.inode
        compared = self._compare(connection, host_id, known, source)
        if compared.repeated:
            outcome.repeated[known.path] += len(compared.repeated)
        if compared.all_repeated:
            self._hold_back(connection, known, source)
            return
        reading = Reading(connection, joiner, sums, known, file, compared.repeated, outcome)
        batch: list[Chunk] = []
        waiting = 0
        damage: ElsaError | None = None
        replaced = False
        try:
            for chunk in chunks(file, known.head, known.tail, known.position, source.size):
                if compared.end is not None and chunk.end > compared.end:
                    replaced = True  # it has grown since it was compared
                    break
                batch.append(chunk)
                waiting += len(chunk.positions)
                if waiting >= BATCH:
                    self._store(reading, batch)
                    report(known.position)
                    batch, waiting = [], 0
        except ElsaError as error:
            damage = error
        except ReplacedError:
            replaced = True  # the rest of its old content is in a rotated file
        self._store(reading, batch)  # also of a damaged file, as far as it could be read
        if not replaced and (damage is None or isinstance(damage, DataError)):
            self._finish(reading, source, damage)
        if damage is not None:
            raise damage

    @staticmethod
    def _compare(
        connection: sqlite3.Connection, host_id: int, known: StoredFile, source: Source
    ) -> Comparison:
        """Compare a file with others. The live file is compared only until it was first read to its
        end.
        """
        duplicates = Duplicates(connection, host_id, known)
        if not duplicates.possible or (known.position and known.disk_size >= 0 and source.live):
            return Comparison(set(), None, all_repeated=False)
        records, end, sound = 0, 0, True

        def batches() -> Iterator[list[tuple[int, AcctRow]]]:
            nonlocal records, end, sound
            try:
                for chunk in chunks(source.file, known.head, b"", 0, source.size):
                    records, end = records + len(chunk.positions), chunk.end
                    yield chunk.rows
            except (DataError, ReplacedError):
                sound = False  # the error is reported when the file is read

        repeated = duplicates.repeated(batches())
        all_repeated = sound and not known.position and 0 < records == len(repeated)
        new_repeated = {position for position in repeated if position >= known.position}
        return Comparison(new_repeated, end, all_repeated)

    @staticmethod
    def _hold_back(connection: sqlite3.Connection, known: StoredFile, source: Source) -> None:
        """Do not read a file that so far only repeats another: if other records follow, it is no
        copy, and all of its records count.
        """
        known.disk_size, known.modified_at_ns = source.disk_size, source.modified_at_ns
        with database.transaction(connection):
            resume.save(connection, known, clocks.realtime_ns())

    @staticmethod
    def _finish(reading: Reading, source: Source, damage: DataError | None) -> None:
        """Record that the file was read to its end, and a torn record there; in the live file it
        may still become whole.
        """
        connection, known, outcome = reading.connection, reading.known, reading.outcome
        left = 0
        if source.size is not None:
            left = source.size - known.position
        elif damage is None:
            left = len(reading.file.read(known.position, RECORD_SIZE))
        if damage is None and left > 0 and source.live:
            return
        known.disk_size, known.modified_at_ns = source.disk_size, source.modified_at_ns
        with database.transaction(connection):
            if damage is not None:
                resume.skip_rest(connection, known, str(damage))
            elif left > 0:
                torn = Skipped(known.position, known.position + left, "a torn record at the end")
                resume.skip(connection, known, *torn)
                outcome.skipped.append((known.path, torn))
            resume.save(connection, known, clocks.realtime_ns())

    def _store(self, reading: Reading, parts: Sequence[Chunk]) -> None:
        """Store rows, joins and resume point in one transaction."""
        connection, known, outcome = reading.connection, reading.known, reading.outcome
        skipped = merged(skipped for chunk in parts for skipped in chunk.skipped)
        before = resume.second_before(connection, known)
        first_id = boots.next_id(connection, "acct")
        batch = Batch.of(first_id, parts, reading.repeated, before)
        # Decided without a transaction: jobd has to write, too.
        earlier, new = reading.joiner.join(batch.records())
        joins = batch.all(new)
        with database.transaction(connection):
            self._insert(reading, batch, joins, earlier)
            for skip in skipped:
                resume.skip(connection, known, *skip)
            if parts:
                known.tail, known.position = parts[-1].tail, parts[-1].end
            known.records += len(batch.ids)
            resume.save(connection, known, clocks.realtime_ns())
        outcome.records += len(batch.ids)
        outcome.skipped += [(known.path, skip) for skip in skipped]
        outcome.files[known.path] = outcome.files.get(known.path, 0) + len(batch.ids)
        _count(joins.outcomes, outcome)
        self._count_late(earlier, outcome)

    def _insert(self, reading: Reading, batch: Batch, joins: Joins, earlier: Joins) -> None:
        """Store new records and what they were joined to, and what was decided on pending
        records.
        """
        connection, joiner, columns = reading.connection, reading.joiner, batch.columns
        try:
            id_of = cast("dict[str, int]", self._comms.ids(connection, columns[COMM]))
            comm_ids = [id_of[comm] for comm in columns[COMM]]
            joiner.write_made(dict(zip(batch.ids, comm_ids, strict=True)))
            self._update(connection, earlier)
            values = (
                batch.ids,
                [reading.known.id] * len(batch.ids),
                batch.positions,
                joins.process_ids,
                joins.outcomes,
                *columns[:COMM],
                comm_ids,
                batch.times.late,
            )
            if batch.ids:
                database.insert_columns(connection, "acct", dict(zip(_ACCT, values, strict=True)))
            joiner.infer_parents()
            reading.sums.add(joins.plain, comm_ids, columns)
        except BaseException:
            self._comms.forget()
            raise

    def _settle(
        self,
        connection: sqlite3.Connection,
        joiner: Joiner,
        sums: PlainSums,
        outcome: PassResult,
    ) -> None:
        """Join pending records of this and earlier passes, if that can be decided now."""
        results = joiner.join_pending()
        with database.transaction(connection):
            joiner.write_made({})
            self._update(connection, results)
            joiner.finish(collector_running=locks.held(locks.COLLECTOR, self._config.db))
            sums.finish()
        self._count_late(results, outcome)
        outcome.waiting = connection.execute(
            "select count(*) from acct where join_outcome = 0"
        ).fetchone()[0]

    @staticmethod
    def _update(connection: sqlite3.Connection, joins: Joins) -> None:
        """Store what became of records that were pending."""
        connection.executemany(
            "update acct set process_id = ?, join_outcome = ? where id = ?", joins.settled()
        )

    @staticmethod
    def _count_late(joins: Joins, outcome: PassResult) -> None:
        late = [how for _, how, _ in joins.settled()]
        outcome.settled_late += len(late)
        _count(late, outcome)
        outcome.joins[Join.PENDING] -= len(late)

    # --- the boots of the host

    def _host_row(self, connection: sqlite3.Connection) -> int:
        if self._host is not None:
            return boots.host_row(connection, None, self._host)
        machine = proc_scan.machine(self._procfs)
        boot_id = boots.boot_row(connection, machine)
        if not locks.held(locks.COLLECTOR, self._config.db):
            offsets = clocks.offsets()
            known = boots.clocks_of(connection, boot_id)
            clock_id = boots.next_own_id(connection, "clock", boots.INGESTER_IDS)
            clock = known.observe(
                clock_id, clocks.monotonic_ns(), offsets.realtime_ns, offsets.boottime_ns
            )
            if clock is not None:
                boots.add_clock(connection, boot_id, clock)
        return boots.host_row(connection, machine.machine_id, machine.name)

    def _boots(
        self, connection: sqlite3.Connection, host_id: int, read_ns: int, *, complete: bool
    ) -> list[Boot]:
        rows = connection.execute(
            """select boot.id, boot.uuid, boot.ended_at_ns,
                      (select max(heard_ns) from collector where boot_id = boot.id),
                      (select min(since_ns) from collector where boot_id = boot.id)
               from boot where host_id = ? and uuid is not null""",
            (host_id,),
        ).fetchall()
        current = self._procfs.boot_id()
        collector_running = self._host is None and locks.held(locks.COLLECTOR, self._config.db)
        gaps = connection.execute(
            """select boot_id, from_ns,
                      coalesce(
                          (select max(since_ns) from collector
                           where boot_id = gap.boot_id and since_ns > from_ns
                               and since_ns <= coalesce(to_ns, :never_ns)),
                          to_ns, :never_ns),
                      coalesce(to_ns, :never_ns)
               from gap where from_ns is not null and kind not in ('taskstats', 'cgroup')""",
            {"never_ns": NEVER_NS},
        ).fetchall()
        return [
            Boot(
                boot_id,
                boots.clocks_of(connection, boot_id),
                heard_ns,
                first_ns=first_ns,
                complete=complete or uuid != current,
                read_ns=read_ns if uuid == current else NEVER_NS,
                collector_running=collector_running and uuid == current,
                now_at_ns=clocks.realtime_ns(),
                ended_at_ns=ended_at_ns,
                gaps=Gaps(Gap(*times) for gap_boot_id, *times in gaps if gap_boot_id == boot_id),
            )
            for boot_id, uuid, ended_at_ns, heard_ns, first_ns in rows
        ]
