"""The ingester: accounting files into the warehouse, each record exactly once, joined to its
incarnation.

One pass looks at the files, asks jobd (if one is at work) to store all it has heard, reads up to
where the files ended before that, and joins. So of every record that is read, the events are in the
warehouse already. Rows and resume point are committed together.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from elsa.config import Config
from elsa.control.client import Client
from elsa.decode import acct
from elsa.decode.acct import RECORD_SIZE, AcctRow
from elsa.errors import DataError, ElsaError
from elsa.host import proc_scan
from elsa.ingest import resume
from elsa.ingest.duplicates import Copies
from elsa.ingest.files import Source, Sources
from elsa.ingest.record_reader import Piece, ReplacedError, Skipped, merged, pieces
from elsa.ingest.resume import StoredFile
from elsa.kernel import clocks
from elsa.kernel.acct_file import AcctFile
from elsa.kernel.procfs import Procfs
from elsa.matching.joiner import NEVER_NS, Boot, Joiner, JoinResult
from elsa.matching.pairing import Record
from elsa.state.codes import Join
from elsa.store import boots, database, locks, string_ids

log = logging.getLogger(__name__)

# Records per transaction: large enough that its cost does not count, small enough for memory and
# for others that want to write.
BATCH = 10_000
SYNC_TIMEOUT_S = 15.0

ITSELF = JoinResult(None, Join.SELF)
NONE_NEW = 2**62

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes to do in this pass."""


@dataclass
class PassResult:
    """What a pass did."""

    records: int = 0
    joins: Counter[Join] = field(default_factory=Counter)
    """Of the new records, and of those that waited from earlier passes and no longer do."""
    settled_late: int = 0
    skipped: list[tuple[str, Skipped]] = field(default_factory=list)
    """By path: bytes that hold no record."""
    repeated: Counter[str] = field(default_factory=Counter)
    """By path: records that were read before from a file of which this is a damaged copy."""
    files: dict[str, int] = field(default_factory=dict)
    """New records by path."""
    troubles: list[ElsaError] = field(default_factory=list)
    """Files that could not be read, each with its reason; the others were."""
    unread: list[str] = field(default_factory=list)
    """Accounting files beside the usual one that were not read, as their names are none of a
    rotated one.
    """
    waiting: int = 0
    """Records that still wait for their events."""


class Reading(NamedTuple):
    """A file that is being read, and what is needed for it."""

    connection: sqlite3.Connection
    joiner: Joiner
    known: StoredFile
    file: AcctFile
    repeated: set[int]
    """Positions of records that were read from another file."""
    outcome: PassResult


class Copy(NamedTuple):
    """What a file repeats of others."""

    repeated: set[int]
    """Positions of records that are not to be read again."""
    end: int | None
    """Up to here it was compared; None if that was not needed."""
    holds_nothing_else: bool


def _settled(results: dict[int, JoinResult], first_new_id: int) -> list[tuple[int, JoinResult]]:
    """The results that end the waiting of earlier records."""
    return [
        (id_, result)
        for id_, result in results.items()
        if id_ < first_new_id and result.how is not Join.PENDING
    ]


def _tell_progress(progress: Progress, before: int, total: int, plain: bool, position: int) -> None:
    progress(before + (position if plain else 0), total)


class Ingester:
    """Reads accounting files into one warehouse."""

    def __init__(self, config: Config, procfs: Procfs, host: str | None = None) -> None:
        self._config = config
        self._procfs = procfs
        self._host = host
        self._comms = string_ids.comms()
        self._sources = Sources(config.acct_file)

    def run_once(self, paths: Sequence[Path], progress: Progress | None = None) -> PassResult:
        """One pass over these files; with none given, over the configured one and what it was
        rotated to, oldest first.

        Raises RetryError while another ingester is at work on the warehouse, and what opening the warehouse raises; what is wrong with
        single files is told in the outcome.
        """
        connection = database.open_for_writing(self._config.db)
        try:
            with locks.only(locks.INGESTER, self._config.db), database.translated(self._config.db):
                return self._pass(connection, paths, progress or (lambda _done, _total: None))
        finally:
            connection.close()

    def follow(
        self,
        paths: Sequence[Path],
        interval_s: float,
        stopped: Callable[[], bool],
        tell: Callable[[PassResult], None],
    ) -> None:
        """Pass after pass until told to stop. A file that is not there yet, a warehouse that is
        locked, are waited for.
        """
        told: list[str] = []
        passed_over: list[str] = []
        self._sources.keep_open()
        while not stopped():
            try:
                outcome = self.run_once(paths)
                troubles = [str(error) for error in outcome.troubles]
                if troubles == told:
                    outcome.troubles.clear()  # said already
                outcome.unread, passed_over = (
                    [path for path in outcome.unread if path not in passed_over],
                    outcome.unread,
                )
                tell(outcome)
            except ElsaError as error:
                troubles = [str(error)]
                if troubles != told:
                    log.warning("%s; trying again", error)
            told = troubles
            deadline = time.monotonic() + interval_s
            while not stopped() and (left := deadline - time.monotonic()) > 0:
                time.sleep(min(left, 0.2))
        if self._sources.keeps_removed():
            self._read_last(paths, tell)
        self._sources.close()

    def _read_last(self, paths: Sequence[Path], tell: Callable[[PassResult], None]) -> None:
        """What stands in files without a name is gone for everybody once they are closed."""
        try:
            tell(self.run_once(paths))
        except ElsaError as error:
            log.error(
                "%s; what stands in an accounting file that was removed could not be read and is"
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
            sources = self._sources.find(
                paths,
                partial(resume.is_unchanged, connection, host_id),
                open_files,
                outcome.troubles,
            )
            complete = self._sync()
            joiner = Joiner(
                connection, host_id, self._boots(connection, host_id, complete=complete)
            )
            total, done = sum(source.disk_size for source in sources), 0
            for source in sources:
                # Of a compressed file nobody knows how long it is; it counts when it is done.
                tell = partial(_tell_progress, progress, done, total, source.size is not None)
                try:
                    self._read(connection, joiner, host_id, source, outcome, tell)
                except ElsaError as error:
                    outcome.troubles.append(error)
                done += source.disk_size
                progress(done, total)
            self._settle(connection, joiner, outcome)
        if not paths:
            outcome.unread = [resume.path_text(path) for path in self._sources.unread()]
        return outcome

    def _sync(self) -> bool:
        """Have the collector store all it has heard; True if nothing that happened so far can still
        come.
        """
        if self._host is not None or not locks.held(locks.COLLECTOR, self._config.db):
            return True
        try:
            Client(self._config.socket, SYNC_TIMEOUT_S).request("sync")
        except ElsaError as error:
            log.warning(
                "jobd does not say how far it is (%s); the newest records may have to wait", error
            )
            return False
        return True

    # --- reading
    # ----------------------------------------------------------------------------------------------------------------

    def _read(
        self,
        connection: sqlite3.Connection,
        joiner: Joiner,
        host_id: int,
        source: Source,
        outcome: PassResult,
        tell: Callable[[int], None],
    ) -> None:
        file = source.file
        identity = file.identity()
        with database.transaction(connection):
            known = resume.recognise(connection, host_id, file, identity) or resume.add(
                connection, host_id, identity
            )
            resume.look_anew(connection, known)
        known.path, known.device, known.inode = (
            resume.path_text(file.path),
            identity.device,
            identity.inode,
        )
        copy = self._compared(connection, host_id, known, source)
        if copy.repeated:
            outcome.repeated[known.path] += len(copy.repeated)
        if copy.holds_nothing_else:
            self._hold_back(connection, known, source)
            return
        reading = Reading(connection, joiner, known, file, copy.repeated, outcome)
        batch: list[Piece] = []
        waiting = 0
        damage: ElsaError | None = None
        replaced = False
        try:
            for piece in pieces(file, known.head, known.tail, known.position, source.size):
                if copy.end is not None and piece.end > copy.end:
                    replaced = True  # it has grown since it was compared
                    break
                batch.append(piece)
                waiting += len(piece.rows)
                if waiting >= BATCH:
                    self._store(reading, batch)
                    tell(known.position)
                    batch, waiting = [], 0
        except ElsaError as error:
            damage = error
        except ReplacedError:
            replaced = True  # what was not read of it any more stands in its copy
        self._store(reading, batch)  # also of a damaged file: what could be read of it is good
        if not replaced and (damage is None or isinstance(damage, DataError)):
            self._finish(reading, source, damage)
        if damage is not None:
            raise damage

    @staticmethod
    def _compared(
        connection: sqlite3.Connection, host_id: int, known: StoredFile, source: Source
    ) -> Copy:
        """What the file repeats of others; one that is written on is only compared until it was
        first read to its end.
        """
        copies = Copies(connection, host_id, known)
        if not copies.possible or (known.position and known.disk_size >= 0 and source.live):
            return Copy(set(), None, holds_nothing_else=False)
        records, end, sound = 0, 0, True

        def batches() -> Iterator[list[tuple[int, AcctRow]]]:
            nonlocal records, end, sound
            try:
                for piece in pieces(source.file, known.head, b"", 0, source.size):
                    records, end = records + len(piece.rows), piece.end
                    yield piece.rows
            except (DataError, ReplacedError):
                sound = False  # said when it is read

        repeated = copies.repeated(batches())
        return Copy(
            {at for at in repeated if at >= known.position},
            end,
            sound and not known.position and 0 < records == len(repeated),
        )

    @staticmethod
    def _hold_back(connection: sqlite3.Connection, known: StoredFile, source: Source) -> None:
        """Read nothing of a file that only repeats another, so far: should it go on by itself, it
        is no copy, and all of it counts.
        """
        known.disk_size, known.modified_at_ns = source.disk_size, source.modified_at_ns
        with database.transaction(connection):
            resume.save(connection, known, clocks.realtime_ns())

    @staticmethod
    def _finish(reading: Reading, source: Source, damage: DataError | None) -> None:
        """Note that the file was read to its end, and what stands there that is no record. Only the
        live file's may still become one.
        """
        connection, _, known, file, _, outcome = reading
        end = known.position
        left = (
            source.size - end
            if source.size is not None
            else 0
            if damage
            else len(file.read(end, RECORD_SIZE))
        )
        if damage is None and left > 0 and source.live:
            return
        known.disk_size, known.modified_at_ns = source.disk_size, source.modified_at_ns
        with database.transaction(connection):
            if damage is not None:
                resume.give_up_rest(connection, known, str(damage))
            elif left > 0:
                torn = Skipped(known.position, known.position + left, "a torn record at the end")
                resume.skip(connection, known, *torn)
                outcome.skipped.append((known.path, torn))
            resume.save(connection, known, clocks.realtime_ns())

    def _store(self, reading: Reading, batch: Sequence[Piece]) -> None:
        """Rows, joins and resume point in one transaction."""
        connection, joiner, known, _, repeated, outcome = reading
        rows = [row for piece in batch for row in piece.rows if row[0] not in repeated]
        skipped = merged(one for piece in batch for one in piece.skipped)
        first_id = boots.next_id(connection, "acct")
        late, _ = acct.late_seconds(
            [row for _, row in rows], resume.second_before(connection, known)
        )
        # Decided without a transaction: jobd wants to write as well.
        results = joiner.join(
            [
                Record(
                    first_id + index,
                    acct.begin_second(row),
                    row[9],
                    row[3],
                    row[6],
                    row[7],
                    row[4],
                    None,
                    late_s or 0,
                )
                for index, ((_, row), late_s) in enumerate(zip(rows, late, strict=True))
                if not acct.is_self_record(row)
            ]
        )
        with database.transaction(connection):
            self._insert(connection, joiner, known.id, first_id, rows, late, results)
            for one in skipped:
                resume.skip(connection, known, *one)
            if batch:
                known.tail, known.position = batch[-1].tail, batch[-1].end
            known.records += len(rows)
            resume.save(connection, known, clocks.realtime_ns())
        outcome.records += len(rows)
        outcome.skipped += [(known.path, one) for one in skipped]
        outcome.files[known.path] = outcome.files.get(known.path, 0) + len(rows)
        outcome.joins.update(
            results.get(id_, ITSELF).how for id_ in range(first_id, first_id + len(rows))
        )
        self._count_late(results, first_id, outcome)

    def _insert(
        self,
        connection: sqlite3.Connection,
        joiner: Joiner,
        file_id: int,
        first_id: int,
        rows: Sequence[tuple[int, AcctRow]],
        late: Sequence[int | None],
        results: dict[int, JoinResult],
    ) -> None:
        """New records with their results, and the results on records that waited."""
        try:
            comm_ids = self._comms.ids(connection, (row[-1] for _, row in rows))
            records = [
                (
                    id_,
                    file_id,
                    position,
                    *results.get(id_, ITSELF),
                    *row[:18],
                    comm_ids[row[18]],
                    late_s,
                )
                for id_, ((position, row), late_s) in enumerate(
                    zip(rows, late, strict=True), first_id
                )
            ]
            joiner.write_made({record[0]: record[-2] for record in records})  # type: ignore[misc]
            self._update(connection, results, first_id)
            database.insert_rows(connection, "insert into acct", records)
            joiner.infer_parents()
        except BaseException:
            self._comms.forget()
            raise

    def _settle(self, connection: sqlite3.Connection, joiner: Joiner, outcome: PassResult) -> None:
        """What waits, from this pass and earlier ones, is joined now if it can be."""
        results = joiner.join_pending()
        with database.transaction(connection):
            joiner.write_made({})
            self._update(connection, results, NONE_NEW)
            joiner.end_boots()
            joiner.infer_parents()
            joiner.close_from_records(
                collector_running=locks.held(locks.COLLECTOR, self._config.db)
            )
        self._count_late(results, NONE_NEW, outcome)
        outcome.waiting = connection.execute(
            "select count(*) from acct where join_outcome = 0"
        ).fetchone()[0]

    @staticmethod
    def _update(
        connection: sqlite3.Connection, results: dict[int, JoinResult], first_new_id: int
    ) -> None:
        """Store the results on records that waited."""
        rows = [
            (result.process_id, result.how, id_) for id_, result in _settled(results, first_new_id)
        ]
        connection.executemany(
            "update acct set process_id = ?, join_outcome = ? where id = ?", rows
        )

    @staticmethod
    def _count_late(results: dict[int, JoinResult], first_new_id: int, outcome: PassResult) -> None:
        late = [result.how for _, result in _settled(results, first_new_id)]
        outcome.settled_late += len(late)
        outcome.joins.update(late)
        outcome.joins[Join.PENDING] -= len(late)

    # --- the boots of the host
    # --------------------------------------------------------------------------------------------------

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

    def _boots(self, connection: sqlite3.Connection, host_id: int, *, complete: bool) -> list[Boot]:
        rows = connection.execute(
            """select boot.id, boot.uuid, boot.ended_at_ns, (select max(heard_ns) from collector where boot_id = boot.id)
               from boot where host_id = ? and uuid is not null""",
            (host_id,),
        ).fetchall()
        current = self._procfs.boot_id()
        collector_running = self._host is None and locks.held(locks.COLLECTOR, self._config.db)
        gaps = connection.execute(
            "select boot_id, from_ns, coalesce(to_ns, ?) from gap where from_ns is not null and"
            " kind <> 'taskstats'",
            (NEVER_NS,),
        ).fetchall()
        return [
            Boot(
                boot_id,
                boots.clocks_of(connection, boot_id),
                heard_ns,
                complete=complete or uuid != current,
                collector_running=collector_running and uuid == current,
                now_at_ns=clocks.realtime_ns(),
                ended_at_ns=ended_at_ns,
                gaps=[
                    (from_ns, to_ns)
                    for gap_boot_id, from_ns, to_ns in gaps
                    if gap_boot_id == boot_id
                ],
            )
            for boot_id, uuid, ended_at_ns, heard_ns in rows
        ]
