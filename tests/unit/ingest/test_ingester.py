"""The ingester over files that grow, rotate, are cut, torn and damaged: every record exactly once,
whatever happens.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import os
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from elsa.config import Config
from elsa.decode.acct_times import ETIME_END
from elsa.errors import DataError, InputMissingError, RetryError
from elsa.ingest import files as sources
from elsa.ingest import ingester
from elsa.ingest.ingester import Ingester, PassResult
from elsa.kernel import acct_file, unpack
from elsa.kernel.acct_file import AcctFile
from elsa.kernel.procfs import Procfs
from elsa.report import audit, processes, usage
from elsa.report.query import warehouse
from elsa.report.query.selection import Selection
from elsa.report.query.times import Window
from elsa.report.render.output import Output
from elsa.state.codes import Join
from elsa.store import database, locks, retention
from elsa.store.retention import Cutoffs

LAYOUT = struct.Struct("<2BH6If8H16s")
NOW = 1_700_000_000


BIG_ENDIAN = struct.Struct(">2BH6If8H16s")


def record(
    number: int, *, comm: bytes = b"work", mem: int = 100, etime: float = 5.0, big: bool = False
) -> bytes:
    """A record that no other number makes."""
    pid, btime = 1000 + number % 30000, NOW + number // 10
    layout, version = (BIG_ENDIAN, 0x83) if big else (LAYOUT, 3)
    return layout.pack(
        0, version, 0, 0, 0, 0, pid, 1, btime, etime, number % 100, 1, mem, 0, 0, 10, 0, 0, comm
    )


def records(first: int, last: int) -> bytes:
    return b"".join(record(number) for number in range(first, last))


def zstd_compress(data: bytes) -> bytes:
    packed: bytes = unpack._zstd().compress(data)
    return packed


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    shutil.copy(template, tmp_path / "elsa.db")
    return tmp_path


@pytest.fixture
def live(place: Path) -> Path:
    return place / "pacct"


def run(place: Path, *paths: Path) -> PassResult:
    """One pass; without paths over `pacct` and what it was rotated to."""
    config = Config(db=place / "elsa.db", socket=place / "sock", acct_file=place / "pacct")
    return Ingester(config, Procfs(), host="test").run_once(paths)


def query(place: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(place / "elsa.db")) as connection:
        return connection.execute(sql).fetchall()


def numbers(place: Path) -> list[int]:
    """Which records are in the warehouse, by what makes them unlike each other."""
    return sorted(
        (btime - NOW) * 10 + (pid - 1000) % 10
        for btime, pid in query(place, "select btime, pid from acct where join_outcome <> 3")
    )


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
    """Rename to .0, the kernel goes on writing there, a new file with the inode of an old one, then
    .1.gz.
    """
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
    assert [pid for (pid,) in query(place, "select pid from acct order by id")] == [
        1000 + number for number in range(30)
    ]


def test_files_are_read_in_the_order_in_which_they_were_written_whatever_their_names_say(
    place: Path, live: Path
) -> None:
    files = {
        "pacct.old": records(0, 10),
        "pacct-2023-11-14.xz": lzma.compress(records(10, 20)),
        "pacct.3.zst": zstd_compress(records(20, 30)),
        "pacct.12": records(30, 40),
        "pacct-20231201.bz2": bz2.compress(records(40, 50)),
        "pacct": records(50, 60),
    }
    for second, (name, data) in enumerate(reversed(files.items())):
        (place / name).write_bytes(data)
        os.utime(place / name, (NOW + second, NOW + second))
    outcome = run(place)
    assert (outcome.troubles, outcome.unread) == ([], [])
    assert [pid for (pid,) in query(place, "select pid from acct order by id")] == [
        1000 + number for number in range(60)
    ]
    assert run(place).records == 0


def test_accounting_file_of_another_name_is_not_read_without_a_word(
    place: Path, live: Path
) -> None:
    live.write_bytes(records(10, 20))
    (place / "pacct.of-anna.gz").write_bytes(gzip.compress(records(0, 10)))
    (place / "pacct.txt").write_text("no accounting file " * 20)
    assert run(place).unread == [str(place / "pacct.of-anna.gz")]
    (place / "pacct.1.lz4").write_bytes(b"\x04\x22\x4d\x18" + bytes(100))
    assert [str(trouble) for trouble in run(place).troubles] == [
        f"{place}/pacct.1.lz4: compressed with lz4, which is not read here; unpack it, or compress"
        " it with gzip, xz or zstd"
    ]


def test_files_of_one_stem_are_all_read_where_their_records_differ(place: Path, live: Path) -> None:
    files = {
        "pacct-20231113": records(0, 50),
        "pacct-20231113.gz": gzip.compress(records(50, 100)),
        "pacct.5.gz": gzip.compress(records(100, 150)),
        "pacct.5.xz": lzma.compress(records(150, 200)),
        "pacct.4.lzma": lzma.compress(records(200, 250), lzma.FORMAT_ALONE),
        "pacct.gz": gzip.compress(records(250, 300)),
        "pacct": records(300, 350),
    }
    for name, data in files.items():
        (place / name).write_bytes(data)
    outcome = run(place)
    assert (outcome.troubles, outcome.unread, outcome.repeated) == ([], [], {})
    assert numbers(place) == list(range(350))
    assert run(place).records == 0


@pytest.mark.parametrize("start", [NOW, 20])
def test_compressor_at_work_does_no_harm(place: Path, live: Path, start: int) -> None:
    """Its file is damaged until it has finished; then both are there, then only the new one."""
    live.write_bytes(records(0, 3))
    plain, zipped = place / "pacct.1", place / "pacct.1.gz"
    plain.write_bytes(boot(1, 0, 900, start=start))
    packed = gzip.compress(plain.read_bytes())
    for written in (0, 10, 400, len(packed) // 2, len(packed) - 1, len(packed)):
        zipped.write_bytes(packed[:written])
        outcome = run(place)
        assert (outcome.troubles, outcome.repeated, outcome.skipped) == ([], {}, []), written
        assert len(pids(place)) == 903
    plain.unlink()
    outcome = run(place)
    assert (outcome.records, outcome.troubles, outcome.repeated) == (0, [], {})
    assert gaps(place) == []


def test_damaged_archive_beside_its_plain_file_is_named_when_no_compressor_is_at_work(
    place: Path, live: Path
) -> None:
    (place / "pacct.1").write_bytes(records(0, 900))
    zipped = place / "pacct.1.gz"
    zipped.write_bytes(gzip.compress(records(0, 1800))[:-100])
    os.utime(zipped, (NOW, NOW))
    assert ["damaged gzip file" in str(trouble) for trouble in run(place).troubles] == [True]
    there = numbers(place)
    assert len(there) > 900
    assert there == list(range(len(there)))


def test_plain_copy_is_compared_once_while_following(
    place: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.write_bytes(records(0, 3))
    (place / "pacct.1").write_bytes(records(3, 9))
    (place / "pacct.1.gz").write_bytes(gzip.compress(records(3, 9)))
    compared = []
    holds = acct_file.holds

    def counted(*files: AcctFile) -> bool:
        compared.append(1)
        return holds(*files)

    monkeypatch.setattr(acct_file, "holds", counted)
    passes = 0

    def tell(_outcome: PassResult) -> None:
        nonlocal passes
        passes += 1

    config = Config(db=place / "elsa.db", socket=place / "sock", acct_file=live)
    Ingester(config, Procfs(), host="test").follow((), 0.01, lambda: passes > 3, tell)
    assert compared == [1]
    assert numbers(place) == list(range(9))


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


def test_file_cut_in_the_middle_and_written_on_gives_only_what_is_new(
    place: Path, live: Path
) -> None:
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


def test_gzipped_file_is_not_even_opened_a_second_time(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zipped = place / "pacct.1.gz"
    zipped.write_bytes(gzip.compress(records(0, 10)))
    run(place)
    opened: list[Path] = []

    def refuse(path: Path) -> None:
        opened.append(path)

    monkeypatch.setattr(sources, "AcctFile", refuse)
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
    assert [(path, *skipped) for path, skipped in outcome.skipped] == [
        (str(live), 320, 338, "bytes that are no record")
    ]
    assert numbers(place) == list(range(9))
    assert query(place, "select kind, from_position, to_position from gap") == [("file", 320, 338)]


def test_junk_before_the_first_record_is_searched_for_one_for_a_mebibyte(
    place: Path, live: Path
) -> None:
    live.write_bytes(b"#" * ((1 << 20) - 64) + records(0, 5))
    assert [skipped[:2] for _, skipped in run(place).skipped] == [(0, (1 << 20) - 64)]
    assert numbers(place) == list(range(5))
    live.write_bytes(b"#" * (1 << 20) + records(5, 9))
    assert [str(trouble) for trouble in run(place).troubles] == [f"{live}: not an accounting file"]


@pytest.mark.parametrize(
    "data",
    [
        b"SQLite format 3\0" + records(0, 50),
        b"\x7fELF" + b"code" * 500 + records(0, 1) + b"code" * 5000,
        b"text " * 400 + (records(0, 1) + b"text " * 30) * 148,
        b"text " * 4000 + (records(0, 1) + b"text " * 30) * 148,
    ],
    ids=["sqlite", "program", "many by chance", "the first of them behind 4 KiB"],
)
def test_file_that_holds_a_record_by_chance_is_refused_and_gives_nothing(
    place: Path, data: bytes
) -> None:
    other = place / "other"
    other.write_bytes(data)
    outcome = run(place, other)
    assert [str(trouble) for trouble in outcome.troubles] == [f"{other}: not an accounting file"]
    assert query(place, "select count(*) from acct union all select count(*) from acct_file") == [
        (0,),
        (0,),
    ]


def test_record_about_the_caller_of_acct_is_never_counted(place: Path, live: Path) -> None:
    live.write_bytes(record(0) + record(1, comm=b"accton", mem=0))
    outcome = run(place)
    assert outcome.joins == {Join.OWN: 1, Join.SELF: 1, Join.PENDING: 0}
    assert query(place, "select count(*) from process") == [(1,)]
    assert query(place, "select records from command_usage where records > 0") == [(1,)]


def test_other_files_are_read_although_one_cannot_be(place: Path, live: Path) -> None:
    live.write_bytes(records(0, 3))
    text = place / "text"
    text.write_text(
        "this is no accounting file, but it is long enough to hold several records of one\n" * 3
    )
    outcome = run(place, place / "missing", text, live)
    assert [type(trouble) for trouble in outcome.troubles] == [InputMissingError, DataError]
    assert outcome.records == 3


def test_no_accounting_file_at_all_says_what_to_do(place: Path) -> None:
    with pytest.raises(InputMissingError, match="accton"):
        run(place)


def test_second_ingester_is_refused_while_the_first_is_at_work(place: Path, live: Path) -> None:
    live.write_bytes(records(0, 3))
    with (
        locks.only(locks.INGESTER, place / "elsa.db"),
        pytest.raises(RetryError, match="another elsa ingest"),
    ):
        run(place)
    assert run(place).records == 3


def gaps(place: Path) -> list[Any]:
    return query(place, "select from_position, to_position, note from gap order by id")


@pytest.mark.parametrize("zipped", [False, True])
def test_torn_record_at_the_end_of_a_file_that_nobody_writes_to_is_put_on_record_once(
    place: Path, live: Path, zipped: bool
) -> None:
    live.write_bytes(records(10, 12))
    old = place / ("pacct.1.gz" if zipped else "pacct.0")
    old.write_bytes(gzip.compress(records(0, 3)[:-20]) if zipped else records(0, 3)[:-20])
    outcome = run(place)
    assert [skipped[:2] for _, skipped in outcome.skipped] == [(128, 172)]
    assert run(place).skipped == []
    assert gaps(place) == [(128, 172, "a torn record at the end")]
    assert query(place, "select sum(skipped_bytes) from acct_file") == [(44,)]
    assert numbers(place) == [0, 1, 10, 11]


def test_live_file_with_a_torn_end_is_complained_about_when_it_was_rotated_away(
    place: Path, live: Path
) -> None:
    live.write_bytes(records(0, 3)[:-20])
    assert run(place).skipped == []
    live.rename(place / "pacct.0")
    live.write_bytes(records(3, 5))
    run(place)
    assert gaps(place) == [(128, 172, "a torn record at the end")]
    assert numbers(place) == [0, 1, 3, 4]


def test_end_that_becomes_whole_after_all_is_no_loss_any_more(place: Path, live: Path) -> None:
    live.write_bytes(records(10, 12))
    copy = place / "pacct.0"
    copy.write_bytes(records(0, 3)[:-20])
    run(place)
    copy.write_bytes(records(0, 3))
    run(place)
    assert gaps(place) == []
    assert query(place, "select sum(skipped_bytes) from acct_file") == [(0,)]
    assert numbers(place) == [0, 1, 2, 10, 11]


def test_junk_behind_a_gzip_stream_is_put_on_record_and_said_once(place: Path, live: Path) -> None:
    live.write_bytes(records(10, 12))
    zipped = place / "pacct.1.gz"
    zipped.write_bytes(gzip.compress(records(0, 3)) + b"junk of a tool")
    assert [type(trouble) for trouble in run(place).troubles] == [DataError]
    assert run(place).troubles == []
    assert [(first, last) for first, last, _ in gaps(place)] == [(192, None)]
    assert numbers(place) == [0, 1, 2, 10, 11]


def test_records_of_another_version_among_ours_are_named_with_their_bytes(
    place: Path, live: Path
) -> None:
    odd = bytearray(records(3, 5))
    odd[1] = odd[65] = 5
    live.write_bytes(records(0, 3) + bytes(odd) + records(5, 8))
    run(place)
    assert gaps(place) == [
        (192, 320, "bytes that begin with a record of version 5, where only version 3 is read")
    ]
    assert numbers(place) == [0, 1, 2, 5, 6, 7]


ODD_ETIMES = [1.8e12, float(ETIME_END), 3e38, math.inf, -math.inf, math.nan, -1.0, 0.5, 1e-40]


@pytest.mark.parametrize("etime", ODD_ETIMES)
@pytest.mark.parametrize("place_of_it", ["first", "amid", "last"])
def test_record_of_a_time_that_cannot_be_is_skipped_with_its_bytes_and_stops_nothing(
    place: Path, live: Path, etime: float, place_of_it: str
) -> None:
    at = {"first": 0, "amid": 10, "last": 20}[place_of_it]
    odd = record(99, etime=etime, big=place_of_it == "amid")
    live.write_bytes(records(0, at) + odd + records(at, 20))
    outcome = run(place)
    skipped = (64 * at, 64 * at + 64, "a record whose elapsed time no process can have")
    assert [(path, *one) for path, one in outcome.skipped] == [(str(live), *skipped)]
    assert gaps(place) == [skipped]
    assert numbers(place) == list(range(20))
    with live.open("ab") as file:
        file.write(records(20, 25))
    assert run(place).skipped == []
    assert gaps(place) == [skipped]
    assert numbers(place) == list(range(25))
    copy = place / "copy.gz"
    copy.write_bytes(gzip.compress(live.read_bytes()))
    assert run(place, copy).records == 0


def test_longest_life_that_counts_has_times_that_reports_can_add_up(
    place: Path, live: Path
) -> None:
    longest = struct.unpack(
        "<f", struct.pack("<I", struct.unpack("<I", struct.pack("<f", ETIME_END))[0] - 1)
    )[0]
    live.write_bytes(
        record(0, etime=longest)
        + LAYOUT.pack(0, 3, 0, 0, 0, 0, 5, 1, 2**32 - 1, longest, 1, 1, 9, 0, 0, 10, 0, 0, b"x")
    )
    assert run(place).records == 2
    assert query(place, "select count(*) from incarnation_usage where elapsed_ns > 2e18") == [(2,)]


NOVEMBER = 1_793_491_200  # 2026-11-01 00:00:00 UTC


def long_life(cut_s: float) -> bytes:
    """A daemon of 400 days whose record says that it ended 3 s or less before it did, in the second
    after the month began.
    """
    ticks = 400 * 8_640_000 + int(cut_s * 100)
    return LAYOUT.pack(
        0,
        3,
        0,
        0,
        0,
        0,
        60,
        1,
        NOVEMBER + 1 - ticks // 100,
        400 * 8_640_000.0,
        0xB0FF,
        0,
        9,
        0,
        0,
        10,
        0,
        0,
        b"daemon",
    )


def short(second: int, comm: bytes) -> bytes:
    return LAYOUT.pack(0, 3, 0, 0, 0, 0, 50, 1, second, 10.0, 1, 1, 9, 0, 0, 10, 0, 0, comm)


@pytest.mark.parametrize("apart", ["one pass", "two passes", "two files", "zipped"])
def test_long_life_ended_no_earlier_than_what_stands_before_it(
    place: Path, live: Path, apart: str
) -> None:
    before, daemon = short(NOVEMBER + 1, b"before"), long_life(2.0)
    if apart == "two files":
        (place / "pacct.0").write_bytes(before)
        live.write_bytes(daemon)
    elif apart == "zipped":
        (place / "pacct.1.gz").write_bytes(gzip.compress(before + daemon))
    else:
        live.write_bytes(before)
        if apart == "two passes":
            run(place)
        with live.open("ab") as file:
            file.write(daemon)
    run(place)
    told = "select command, ended_at, ended_inferred from acct_records order by acct_id"
    assert query(place, told) == [
        ("before", "2026-11-01 00:00:01", None),
        ("daemon", "2026-11-01 00:00:01", 1),
    ]
    hours = query(
        place, "select ended_hour, started_ns / 1000000000 from process_usage order by acct_id"
    )
    assert hours[1] == (NOVEMBER // 3600, NOVEMBER - 1 - 400 * 86_400)
    assert query(
        place,
        "select count(*) from process where ended_hour = (start_ns + elapsed_ns) / 3600000000000",
    ) == [(2,)]


def test_a_long_process_without_other_bounds_ends_at_the_time_of_its_record_and_is_marked(
    place: Path, live: Path
) -> None:
    live.write_bytes(long_life(2.0) + short(NOVEMBER + 1, b"after"))
    run(place)
    assert query(
        place, "select ended_at, ended_inferred from acct_records order by acct_id limit 1"
    ) == [("2026-10-31 23:59:59", 1)]
    with warehouse.reading(place / "elsa.db") as connection:
        made = (
            audit.audit(connection, Window(), Output(), 0),
            usage.usage(connection, usage.DAYS, Selection(), Output()),
            processes.processes(connection, processes.LAST, Selection(), Output()),
        )
        hidden = processes.processes(
            connection,
            processes.PROCESSES,
            Selection(),
            Output("json", "command,ended_inferred"),
        )
        marked: dict[str, int] = dict(hidden.rows)
    for each in made:
        assert (
            "the end of 1 process that ran for over 46 hours is inferred to a few seconds, from"
            " the position of the record in the file" in each.words
        )
    assert marked == {"daemon": 1, "after": 0}


def test_a_process_that_started_before_1970_is_reported_so(place: Path, live: Path) -> None:
    """The clock was set back during its life, so that btime went below 0 and wrapped."""
    live.write_bytes(
        LAYOUT.pack(0, 3, 0, 0, 0, 0, 50, 1, 2**32 - 10, 3000.0, 1, 1, 9, 0, 0, 10, 0, 0, b"early")
    )
    run(place)
    assert query(place, "select btime, started_at, ended_at, ended_inferred from acct_records") == [
        (2**32 - 10, "1969-12-31 23:59:50", "1970-01-01 00:00:20", None)
    ]
    assert query(place, "select started_ns, ended_ns, ended_hour from process_usage") == [
        (-10 * 10**9, 20 * 10**9, 0)
    ]


def test_file_whose_first_pages_were_wiped_gives_the_rest(place: Path, live: Path) -> None:
    live.write_bytes(bytes(8192) + records(128, 300))
    run(place)
    assert gaps(place) == [(0, 8192, "bytes that are no record")]
    assert numbers(place) == list(range(128, 300))


Damage = Callable[[bytes], bytes]


def cut(data: bytes) -> bytes:
    return data[: 70 * 64 + 13]


def with_hole(data: bytes) -> bytes:
    return data[:2000] + b"\xff" * 300 + data[2300:]


def without_head(data: bytes) -> bytes:
    return data[30:]


def without_middle(data: bytes) -> bytes:
    return data[: 20 * 64] + data[40 * 64 :]


@pytest.mark.parametrize(
    "first", [cut, with_hole, without_head, without_middle], ids=lambda damage: damage.__name__
)
@pytest.mark.parametrize(
    "second",
    [bytes, cut, with_hole, without_head, without_middle],
    ids=lambda damage: damage.__name__,
)
def test_copies_damaged_in_different_places_add_up_to_the_whole_without_a_double(
    place: Path, first: Damage, second: Damage
) -> None:
    whole = records(0, 100)
    one, other, last = (place / name for name in ("one", "other.gz", "last"))
    one.write_bytes(first(whole))
    other.write_bytes(gzip.compress(second(whole)))
    last.write_bytes(whole)
    for path in (one, other, one, last, other):
        run(place, path)
        there = numbers(place)
        assert len(set(there)) == len(there)
    assert there == list(range(100))
    copy = place / "copy"
    copy.write_bytes(cut(without_head(whole)))
    assert run(place, copy).records == 0
    assert run(place, one, other, last).records == 0


def test_two_processes_that_leave_the_same_bytes_on_both_sides_of_a_rotation_both_count(
    place: Path, live: Path
) -> None:
    (place / "pacct.0").write_bytes(record(0) + record(1) + record(1))
    live.write_bytes(record(1) + record(2))
    run(place)
    assert numbers(place) == [0, 1, 1, 1, 2]


def boot(number: int, equal: int, last: int, *, start: int = NOW) -> bytes:
    """A file of a boot whose first records are those of every boot, as the clock begins at the same
    second each time.
    """
    rows = []
    for index in range(last):
        comm = b"b%d" % (0 if index < equal else number)
        rows.append(
            LAYOUT.pack(
                0,
                3,
                0,
                0,
                0,
                0,
                100 + index,
                1,
                start + index // 10,
                5.0,
                1,
                1,
                9,
                0,
                0,
                10,
                0,
                0,
                comm,
            )
        )
    return b"".join(rows)


def pids(place: Path) -> list[int]:
    return sorted(pid for (pid,) in query(place, "select pid from acct"))


@pytest.mark.parametrize("start", [NOW, 20])
@pytest.mark.parametrize("lasts", [(100, 70), (70, 100), (60, 60), (55, 41)])
def test_two_boots_that_start_with_equal_records_both_count(
    place: Path, live: Path, start: int, lasts: tuple[int, int]
) -> None:
    (place / "pacct.1").write_bytes(boot(1, 40, lasts[0], start=start))
    live.write_bytes(boot(2, 40, lasts[1], start=start))
    outcome = run(place)
    assert (outcome.records, outcome.repeated) == (sum(lasts), {})
    assert pids(place) == sorted([*range(100, 100 + lasts[0]), *range(100, 100 + lasts[1])])
    assert run(place).records == 0


@pytest.mark.parametrize("start", [NOW, 20])
def test_second_boot_counts_from_its_first_record_however_slowly_it_is_written(
    place: Path, live: Path, start: int
) -> None:
    """While all that it has written stands in the first one's file too, it may be a copy; it is
    none as soon as it goes on by itself.
    """
    (place / "pacct.1").write_bytes(boot(1, 40, 100, start=start))
    run(place)
    for last in (1, 8, 23, 39, 40, 41, 60, 61, 150):
        live.write_bytes(boot(2, 40, last, start=start))
        run(place)
        counted = 0 if start == NOW and last <= 40 else last
        assert pids(place) == sorted([*range(100, 200), *range(100, 100 + counted)]), last
    live.rename(place / "pacct.2")
    (place / "pacct.2.gz").write_bytes(gzip.compress((place / "pacct.2").read_bytes()))
    (place / "pacct.2").unlink()
    assert run(place).records == 0


def test_a_boot_whose_file_only_continues_that_of_a_boot_before_the_clock_was_set_is_another_boot(
    place: Path, live: Path
) -> None:
    """The first boot lost power; its file still exists, so the other file does not continue it."""
    (place / "pacct.1").write_bytes(boot(1, 40, 40, start=20))
    run(place)
    live.write_bytes(boot(2, 40, 50, start=20))
    assert run(place).records == 50
    (place / "pacct.1.gz").write_bytes(gzip.compress((place / "pacct.1").read_bytes()))
    (place / "pacct.1").unlink()
    assert run(place).records == 0


@pytest.mark.parametrize(
    "damage", [cut, with_hole, without_head, without_middle], ids=lambda damage: damage.__name__
)
def test_damaged_copy_of_a_boot_whose_clock_was_set_late_counts_once(
    place: Path, live: Path, damage: Damage
) -> None:
    whole = boot(1, 40, 40, start=20) + records(0, 100)
    live.write_bytes(whole)
    run(place)
    copy = place / "copy"
    copy.write_bytes(damage(whole))
    assert run(place, copy).records == 0


def test_identical_records_of_a_damaged_copy_count_as_often_as_in_the_fuller_one(
    place: Path, live: Path
) -> None:
    live.write_bytes(records(0, 5) + record(5) * 2 + records(6, 40))
    run(place)
    copy = place / "copy"
    copy.write_bytes(records(0, 5) + record(5) * 3 + records(6, 30))
    outcome = run(place, copy)
    assert (outcome.records, outcome.repeated) == (1, {str(copy): 31})


@pytest.mark.parametrize(
    "damage",
    [bytes, cut, with_hole, without_head, without_middle],
    ids=lambda damage: damage.__name__,
)
def test_after_pruning_nothing_is_counted_again_however_its_file_comes_back(
    place: Path, live: Path, damage: Damage
) -> None:
    live.write_bytes(records(0, 100))
    run(place)
    live.write_bytes(records(0, 100) + records(200, 201))
    run(place)
    connection = database.open_for_writing(place / "elsa.db")
    day_later = (NOW + 86_400) * 10**9
    with closing(connection):
        assert (
            retention.prune(
                connection, place / "elsa.db", Cutoffs(None, day_later, None), lambda *_: None
            ).processes
            == 100
        )
    copy = place / "copy.gz"
    copy.write_bytes(gzip.compress(damage(live.read_bytes())))
    live.rename(place / "pacct.0")
    live.write_bytes(records(300, 310))
    assert run(place).records == 10
    assert run(place, copy).records == 0
    assert query(place, "select sum(processes) from rollup_command where pruned = 1") == [(100,)]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ingester, "BATCH", 100)
    monkeypatch.setattr(acct_file, "CHUNK", 64 * 40)
    yield


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("regrown", [0, 64 * 30, 64 * 2000])
def test_copytruncate_in_the_middle_of_a_pass_loses_and_doubles_nothing(
    place: Path, live: Path, monkeypatch: pytest.MonkeyPatch, regrown: int
) -> None:
    """The file is copied, cut and written again between two reads; what was read of it goes on in
    the copy.
    """
    live.write_bytes(records(0, 1000))
    read, after = AcctFile.read, records(1000, 3000)

    def read_and_rotate(file: AcctFile, position: int, size: int = 0) -> bytes:
        if position >= 64 * 300 and not (place / "pacct.1").exists():
            shutil.copyfile(live, place / "pacct.1")
            live.write_bytes(after[:regrown])
        return read(file, position, size)

    with monkeypatch.context() as patch:
        patch.setattr(AcctFile, "read", read_and_rotate)
        assert 300 <= run(place).records < 400
    live.write_bytes(after)
    outcome = run(place)
    assert (outcome.skipped, outcome.repeated) == ([], {})
    assert numbers(place) == list(range(3000))
    assert gaps(place) == []


@pytest.mark.usefixtures("small_batches")
def test_failure_between_two_batches_keeps_the_first_and_repeats_nothing(
    place: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_follower_drains_a_file_that_was_removed_while_the_kernel_wrote_on(
    place: Path, live: Path
) -> None:
    """With rm the name is gone, but what was opened before goes on growing until accounting is
    pointed elsewhere.
    """
    live.write_bytes(records(0, 10))
    steps = iter((10, 25, 30, 40))

    with live.open("ab") as kernel:

        def act(_outcome: PassResult) -> None:
            step = next(steps, None)
            if step == 10:
                live.unlink()
                kernel.write(records(10, 25))
                kernel.flush()
            elif step == 25:
                live.write_bytes(records(30, 40))
                kernel.write(records(25, 30))
                kernel.flush()

        seen: list[int] = []

        def tell(outcome: PassResult) -> None:
            seen.append(outcome.records)
            act(outcome)

        config = Config(db=place / "elsa.db", socket=place / "sock", acct_file=live)
        Ingester(config, Procfs(), host="test").follow((), 0.01, lambda: len(seen) >= 4, tell)
    assert seen[:3] == [10, 15, 15]
    assert numbers(place) == list(range(40))


def test_a_follower_that_has_to_stop_reads_the_rest_of_a_removed_file(
    place: Path, live: Path
) -> None:
    live.write_bytes(records(0, 10))
    passes = 0
    with live.open("ab") as kernel:

        def tell(_outcome: PassResult) -> None:
            nonlocal passes
            passes += 1
            if passes == 1:
                live.unlink()
                kernel.write(records(10, 25))
                kernel.flush()

        config = Config(db=place / "elsa.db", socket=place / "sock", acct_file=live)
        Ingester(config, Procfs(), host="test").follow((), 0.01, lambda: passes > 0, tell)
    assert numbers(place) == list(range(25))


def test_follower_says_the_same_trouble_once(place: Path) -> None:
    told: list[int] = []

    def tell(outcome: PassResult) -> None:
        told.append(len(outcome.troubles))

    config = Config(db=place / "elsa.db", socket=place / "sock", acct_file=place / "pacct")
    Ingester(config, Procfs(), host="test").follow(
        (place / "missing",), 0.01, lambda: len(told) >= 3, tell
    )
    assert told == [1, 0, 0]
