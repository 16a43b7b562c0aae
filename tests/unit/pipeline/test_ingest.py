"""The ingester over files that grow, rotate, are cut, torn and damaged: every record exactly once, whatever happens."""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from elsa.config import Config
from elsa.errors import DataError, InputMissingError, RetryError
from elsa.kernel.procfs import Procfs
from elsa.pipeline import ingest
from elsa.pipeline.ingest import Ingester, Outcome
from elsa.state.codes import Join
from elsa.store import locks
from elsa.store.upgrade import upgrade

LAYOUT = struct.Struct("<2BH6If8H16s")
NOW = 1_700_000_000


def record(number: int, *, comm: bytes = b"work", mem: int = 100) -> bytes:
    """A record that no other number makes."""
    pid, btime = 1000 + number % 30000, NOW + number // 10
    return LAYOUT.pack(0, 3, 0, 0, 0, 0, pid, 1, btime, 5.0, number % 100, 1, mem, 0, 0, 10, 0, 0, comm)


def records(first: int, last: int) -> bytes:
    return b"".join(record(number) for number in range(first, last))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    upgrade(tmp_path / "elsa.db")
    return tmp_path


@pytest.fixture
def live(place: Path) -> Path:
    return place / "pacct"


def run(place: Path, *paths: Path) -> Outcome:
    """One pass; without paths over `pacct` and what it was rotated to."""
    config = Config(db=place / "elsa.db", socket=place / "sock", acct_file=place / "pacct")
    return Ingester(config, Procfs(), host="test").run_once(paths)


def query(place: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(place / "elsa.db")) as connection:
        return connection.execute(sql).fetchall()


def numbers(place: Path) -> list[int]:
    """Which records are in the warehouse, by what makes them unlike each other."""
    return sorted((btime - NOW) * 10 + (pid - 1000) % 10 for btime, pid in query(place, "select btime, pid from acct where join_how <> 3"))


def test_running_twice_adds_nothing(place: Path, live: Path) -> None:
    live.write_bytes(records(0, 50))
    assert run(place).records == 50
    assert run(place).records == 0
    assert numbers(place) == list(range(50))


def test_file_that_grows_is_read_on_from_where_the_reading_stopped(place: Path, live: Path) -> None:
    for last in (1, 7, 300, 2000):
        with live.open("ab") as file:
            file.write(records(live.stat().st_size // 64, last))
        run(place)
        assert numbers(place) == list(range(last))


def test_torn_record_at_the_end_waits_for_its_rest(place: Path, live: Path) -> None:
    whole = records(0, 3)
    live.write_bytes(whole[:-20])
    assert run(place).records == 2
    live.write_bytes(whole)
    assert run(place).records == 1
    assert numbers(place) == [0, 1, 2]
    assert query(place, "select count(*) from gap") == [(0,)]


def test_savelog_rotation_loses_nothing_and_doubles_nothing(place: Path, live: Path) -> None:
    """Rename to .0, the kernel goes on writing there, a new file with the inode of an old one, then .1.gz."""
    live.write_bytes(records(0, 10))
    run(place)
    old = place / "pacct.0"
    for first in (10, 30, 50):
        if old.exists():
            (place / "pacct.1.gz").write_bytes(gzip.compress(old.read_bytes()))
            old.unlink()
        live.rename(old)
        with old.open("ab") as file:
            file.write(records(first, first + 5))
        live.write_bytes(records(first + 5, first + 20))
        run(place)
        assert numbers(place) == list(range(first + 20))


def test_logrotate_with_dates_is_drained_oldest_first(place: Path, live: Path) -> None:
    (place / "pacct-20231113.gz").write_bytes(gzip.compress(records(0, 10)))
    (place / "pacct-20231114").write_bytes(records(10, 20))
    live.write_bytes(records(20, 30))
    run(place)
    assert numbers(place) == list(range(30))
    assert [pid for (pid,) in query(place, "select pid from acct order by id")] == [1000 + number for number in range(30)]


def test_copytruncate_reads_the_copy_no_second_time(place: Path, live: Path) -> None:
    live.write_bytes(records(0, 10))
    run(place)
    with live.open("ab") as file:
        file.write(records(10, 12))
    shutil.copyfile(live, place / "pacct.1")
    os.truncate(live, 0)
    with live.open("ab") as file:
        file.write(records(12, 20))
    run(place)
    assert numbers(place) == list(range(20))


def test_file_cut_in_the_middle_and_written_on_gives_only_what_is_new(place: Path, live: Path) -> None:
    live.write_bytes(records(0, 20))
    run(place)
    os.truncate(live, 5 * 64)
    run(place)
    with live.open("ab") as file:
        file.write(records(20, 60))
    run(place)
    run(place)
    assert numbers(place) == list(range(60))


def test_copy_under_another_name_is_known_by_its_content(place: Path, live: Path) -> None:
    live.write_bytes(records(0, 10))
    run(place)
    copy = place / "copy"
    copy.write_bytes(records(0, 15))
    assert run(place, copy).records == 5
    zipped = place / "zipped.gz"
    zipped.write_bytes(gzip.compress(records(0, 15)))
    assert run(place, zipped).records == 0


def test_gzipped_file_is_not_even_opened_a_second_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zipped = place / "pacct.1.gz"
    zipped.write_bytes(gzip.compress(records(0, 10)))
    run(place)
    opened: list[Path] = []

    def refuse(path: Path) -> None:
        opened.append(path)

    monkeypatch.setattr(ingest, "AcctFile", refuse)
    run(place)
    assert opened == []


def test_damaged_gzip_gives_what_can_be_read_and_says_so(place: Path) -> None:
    zipped = place / "old.gz"
    zipped.write_bytes(gzip.compress(records(0, 2000))[:-40])
    outcome = run(place, zipped)
    assert outcome.records > 0
    assert [type(trouble) for trouble in outcome.troubles] == [DataError]
    assert numbers(place) == list(range(outcome.records))


def test_junk_is_skipped_and_put_on_record_to_the_byte(place: Path, live: Path) -> None:
    live.write_bytes(records(0, 5) + b"junk of an editor\n" + records(5, 9))
    outcome = run(place)
    assert outcome.skipped_bytes == 18
    assert numbers(place) == list(range(9))
    assert query(place, "select kind, from_position, to_position from gap") == [("file", 320, 338)]


def test_record_about_the_caller_of_acct_is_never_counted(place: Path, live: Path) -> None:
    live.write_bytes(record(0) + record(1, comm=b"accton", mem=0))
    outcome = run(place)
    assert outcome.joins == {Join.OWN: 1, Join.SELF: 1, Join.PENDING: 0}
    assert query(place, "select count(*) from process") == [(1,)]
    assert query(place, "select records from command_usage where records > 0") == [(1,)]


def test_other_files_are_read_although_one_cannot_be(place: Path, live: Path) -> None:
    live.write_bytes(records(0, 3))
    text = place / "text"
    text.write_text("this is no accounting file, but it is long enough to hold several records of one\n" * 3)
    outcome = run(place, place / "missing", text, live)
    assert [type(trouble) for trouble in outcome.troubles] == [InputMissingError, DataError]
    assert outcome.records == 3


def test_no_accounting_file_at_all_says_what_to_do(place: Path) -> None:
    with pytest.raises(InputMissingError, match="accton"):
        run(place)


def test_second_ingester_is_refused_while_the_first_is_at_work(place: Path, live: Path) -> None:
    live.write_bytes(records(0, 3))
    with locks.only(locks.INGESTER, place / "elsa.db"), pytest.raises(RetryError, match="another elsa ingest"):
        run(place)
    assert run(place).records == 3


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ingest, "BATCH", 100)
    monkeypatch.setattr(ingest.acctfile, "CHUNK", 64 * 40)
    yield


@pytest.mark.usefixtures("small_batches")
def test_failure_between_two_batches_keeps_the_first_and_repeats_nothing(place: Path, live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live.write_bytes(records(0, 1000))
    store = Ingester._store
    calls = []

    def fail_the_third(*args: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise sqlite3.OperationalError("disk I/O error")
        store(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Ingester, "_store", fail_the_third)
        with pytest.raises(Exception, match="disk I/O error"):
            run(place)
    assert 0 < len(numbers(place)) < 1000
    run(place)
    assert numbers(place) == list(range(1000))


def test_follower_drains_a_file_that_was_removed_while_the_kernel_wrote_on(place: Path, live: Path) -> None:
    """With rm the name is gone, but what was opened before goes on growing until accounting is pointed elsewhere."""
    live.write_bytes(records(0, 10))
    steps = iter((10, 25, 30, 40))

    with live.open("ab") as kernel:

        def act(_outcome: Outcome) -> None:
            step = next(steps)
            if step == 10:
                live.unlink()
                kernel.write(records(10, 25))
                kernel.flush()
            elif step == 25:
                live.write_bytes(records(30, 40))
                kernel.write(records(25, 30))
                kernel.flush()

        seen: list[int] = []

        def tell(outcome: Outcome) -> None:
            seen.append(outcome.records)
            act(outcome)

        config = Config(db=place / "elsa.db", socket=place / "sock", acct_file=live)
        Ingester(config, Procfs(), host="test").follow((), 0.01, lambda: len(seen) >= 4, tell)
    assert seen[:3] == [10, 15, 15]
    assert numbers(place) == list(range(40))


def test_follower_says_the_same_trouble_once(place: Path) -> None:
    told: list[int] = []

    def tell(outcome: Outcome) -> None:
        told.append(len(outcome.troubles))

    config = Config(db=place / "elsa.db", socket=place / "sock", acct_file=place / "pacct")
    Ingester(config, Procfs(), host="test").follow((place / "missing",), 0.01, lambda: len(told) >= 3, tell)
    assert told == [1, 0, 0]
