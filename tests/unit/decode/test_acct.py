"""Accounting records: bytes to fields, files to records and junk."""

from __future__ import annotations

import math
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from elsa.decode import acct as decoding
from elsa.decode.acct import (
    AcctRecord,
    comp_table,
    decode_columns,
    decode_record,
    decode_rows,
    is_self_record,
    self_records,
)
from elsa.decode.acct_search import LOOKAHEAD, Content, Run, plausible, sniff, walk
from elsa.decode.acct_times import Times, exit_second, late_most, late_seconds
from elsa.decode.comm import escape_comm, unescape_comm
from elsa.errors import DataError
from elsa.store.schema import acct
from tests.support.peers import as_dump_acct, dump_acct

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample.pacct"


@dataclass(frozen=True)
class Raw:
    """A record to be packed, in the words of the kernel's header."""

    flag: int = 2
    version: int = 3
    tty: int = 0x8801
    exitcode: int = 9
    uid: int = 1000
    gid: int = 4294967294
    pid: int = 4194303
    ppid: int = 1
    btime: int = 4000000000
    etime: float = 12345.0
    comp: tuple[int, ...] = (5, 0x2001, 4448, 7, 8, 0xFFFF, 0x3FFF, 3)
    comm: bytes = b"sort"

    def pack(self, order: str = "<") -> bytes:
        version = self.version | (0x80 if order == ">" else 0)
        numbers = (self.exitcode, self.uid, self.gid, self.pid, self.ppid, self.btime)
        head = struct.pack(f"{order}BBH6If", self.flag, version, self.tty, *numbers, self.etime)
        return head + struct.pack(f"{order}8H", *self.comp) + self.comm.ljust(16, b"\0")


GOOD = Raw().pack()


def test_fields_stand_in_the_order_of_the_columns() -> None:
    columns = [column.name for column in acct.columns]
    assert columns[columns.index("flag") : columns.index("comm_id")] == list(
        AcctRecord._fields[:-1]
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_field_is_read_in_either_byte_order(order: str) -> None:
    expected = AcctRecord(
        flag=2,
        version=3 if order == "<" else 0x83,
        tty=0x8801,
        exitcode=9,
        uid=1000,
        gid=4294967294,
        pid=4194303,
        ppid=1,
        btime=4000000000,
        etime=12345.0,
        utime=5,
        stime=8,
        mem=4448,
        io=7,
        rw=8,
        minflt=8191 << 21,
        majflt=8191 << 3,
        swaps=3,
        comm="sort",
    )
    assert decode_record(b"xyz" + Raw().pack(order), 3) == expected
    assert list(decode_rows(Raw().pack(order) * 3)) == [expected] * 3
    assert plausible(Raw().pack(order))


def test_records_of_both_byte_orders_in_one_buffer_are_read() -> None:
    rows = list(decode_rows(Raw().pack("<") + Raw().pack(">")))
    assert [row[1] for row in rows] == [3, 0x83]
    assert rows[0][2:] == rows[1][2:]


def test_the_comp_table_is_the_formula() -> None:
    assert comp_table() == tuple((value & 0x1FFF) << 3 * (value >> 13) for value in range(65536))


@pytest.mark.parametrize("data", [b"", GOOD[:63], GOOD + b"x"])
def test_a_cut_record_is_refused(data: bytes) -> None:
    with pytest.raises(DataError):
        decode_record(data, len(data) - len(data) % 64)
    if data:
        with pytest.raises(DataError, match=str(len(data))):
            decode_rows(data)


def test_another_version_is_refused() -> None:
    with pytest.raises(DataError, match="version 2"):
        decode_record(Raw(version=2).pack())
    with pytest.raises(DataError, match="version 5"):
        list(decode_rows(GOOD + Raw(version=5).pack()))


def test_no_bytes_are_no_records() -> None:
    assert list(decode_rows(b"")) == []
    assert walk(b"", more=False) == walk(b"", more=True) == []


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"sh\0\0", "sh"),
        (b"", ""),
        (b"a b\0rest", "a b"),
        ("café".encode(), "café"),
        (b"caf\xe9", r"caf\xe9"),
        (b"tab\there\x7f", r"tab\x09here\x7f"),
        (b"back\\slash", r"back\\slash"),
        (b"\\x41", r"\\x41"),
        ("\u0085\u200b".encode(), r"\xc2\x85\xe2\x80\x8b"),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),
    ],
)
def test_names_are_printable_and_lose_nothing(raw: bytes, text: str) -> None:
    assert escape_comm(raw) == text
    assert text.isprintable()
    assert unescape_comm(text) == raw.partition(b"\0")[0]


@pytest.mark.parametrize("text", ["\\", "a\\b", r"\x4", r"\xZZ", "\\\n"])
def test_a_text_that_is_no_escaped_name_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="backslash"):
        unescape_comm(text)


@pytest.mark.parametrize(
    "raw",
    [
        Raw(version=2),
        Raw(version=4),
        Raw(flag=0x40),
        Raw(pid=0),
        Raw(pid=1 << 22),
        Raw(ppid=1 << 22),
        Raw(exitcode=1 << 16),
        Raw(etime=-1.0),
        Raw(etime=0.5),
        Raw(etime=math.inf),
        Raw(etime=math.nan),
        Raw(comm=b"sixteen letters!"),
        Raw(comm=b"rest\0after"),
    ],
    ids=lambda raw: str(
        {name: value for name, value in vars(raw).items() if value != getattr(Raw(), name)}
    ),
)
def test_what_no_kernel_writes_is_implausible(raw: Raw) -> None:
    bad = raw.pack()
    assert not plausible(bad)
    # The fast way through whole columns must not think otherwise.
    assert walk(GOOD * 5 + bad + GOOD * 5, more=False) == [
        Run(0, 320, records=True),
        Run(320, 384, records=False),
        Run(384, 704, records=True),
    ]


def test_a_kernel_thread_may_end_with_a_negative_code() -> None:
    thread = Raw(flag=1, ppid=2, exitcode=0xFFFFFFFC, comp=(0,) * 8, comm=b"kthread").pack()
    assert plausible(thread)
    assert walk(GOOD * 3 + thread + GOOD, more=False) == [Run(0, 320, records=True)]


def test_a_whole_file_of_records_is_one_run() -> None:
    assert walk(GOOD * 9, more=False) == [Run(0, 576, records=True)]
    assert walk(GOOD, more=False) == [Run(0, 64, records=True)]


def test_a_torn_tail_is_left_for_next_time() -> None:
    assert walk(GOOD * 2 + GOOD[:63], more=False) == [Run(0, 128, records=True)]
    assert walk(GOOD[:63], more=False) == []


def test_with_more_to_come_the_last_record_waits_for_what_follows() -> None:
    assert walk(GOOD * 9, more=True) == [Run(0, 512, records=True)]
    assert walk(GOOD, more=True) == []


@pytest.mark.parametrize(
    "junk", [b"\n", b"x" * 63, b"junk" * 16, bytes(200), b"\3" * 70, GOOD[:30], GOOD[10:]]
)
def test_records_are_found_again_after_junk(junk: bytes) -> None:
    start, end = 192, 192 + len(junk)
    expected = [
        Run(0, start, records=True),
        Run(start, end, records=False),
        Run(end, end + 192, records=True),
    ]
    assert walk(GOOD * 3 + junk + GOOD * 3, more=False) == expected


def test_one_record_between_junk_is_found() -> None:
    assert walk(b"?" * 7 + GOOD + b"!" * 100, more=False)[:2] == [
        Run(0, 7, records=False),
        Run(7, 71, records=True),
    ]


@pytest.mark.parametrize("after", [1, 2])
def test_a_torn_head_completed_by_the_next_record_is_no_record(after: int) -> None:
    # 60 bytes of a record with a long name, and the next record's first 4 bytes in place of the
    # rest: every field looks right.
    following = Raw(tty=0)
    chimera = Raw(comm=b"twelve bytes").pack()[:60] + following.pack()[:4]
    assert plausible(chimera)
    data = GOOD + chimera[:60] + following.pack() * after
    expected = [
        Run(0, 64, records=True),
        Run(64, 124, records=False),
        Run(124, 124 + 64 * after, records=True),
    ]
    assert walk(data, more=False) == expected


def test_junk_to_the_end_keeps_what_may_become_a_record() -> None:
    assert walk(GOOD + b"j" * 100, more=False) == [
        Run(0, 64, records=True),
        Run(64, 101, records=False),
    ]


def test_junk_is_passed_over_even_with_more_to_come() -> None:
    (run,) = walk(b"j" * 1000, more=True)
    assert run == Run(0, 1000 - LOOKAHEAD + 1, records=False)


def test_the_recorded_file_holds_what_its_description_says() -> None:
    data = SAMPLE.read_bytes()
    assert sniff(data, "sample") is Content.LITTLE
    assert walk(data, more=False) == [Run(0, len(data), records=True)]
    records = [AcctRecord._make(row) for row in decode_rows(data)]
    assert records == [decode_record(data, start) for start in range(0, len(data), 64)]
    assert len(records) == 55
    assert sum(record.gid == 4242 for record in records) == 51
    assert [record.comm for record in records if record.ppid == 2] == [
        "kworker/R-ext4-",
        "jbd2/loop0-8",
    ]
    assert [record.comm for record in records if is_self_record(record)] == ["python", "python"]
    assert Counter(record.exitcode for record in records if record.exitcode) == {
        9: 1,
        768: 1,
        11: 1,
    }
    assert {r"caf\xe9", r"tab\\\x09here"} < {record.comm for record in records}
    other = [record for record in records if record.uid == 1001]
    assert (sum(record.utime for record in other), sum(record.stime for record in other)) == (72, 8)
    assert (
        sum(record.flag == 1 and record.comm == "sh" and record.ppid != 1 for record in records)
        == 6
    )


def test_the_exit_second_stands_in_file_order() -> None:
    seconds = [exit_second(AcctRecord._make(row)) for row in decode_rows(SAMPLE.read_bytes())]
    assert seconds == sorted(seconds)
    assert exit_second(decode_record(Raw(btime=100, etime=399.0).pack())) == 103


def test_a_start_before_1970_is_negative() -> None:
    """The clock was set back to 1970 during the life: btime went below 0, and wrapped."""
    rows = [
        decode_record(Raw(btime=btime, etime=etime).pack())
        for btime, etime in (
            (2**32 - 70, 10_000.0),
            (2**32 - 70, 500.0),
            (2**31, 500.0),  # in 2038
        )
    ]
    times = Times.of(list(zip(*rows, strict=True)), None)
    assert times.begins == [-70, -70, 2**31]
    assert [exit_second(row) for row in rows] == times.ends == [30, -65, 2**31 + 5]


@pytest.mark.parametrize("days", [1, 3, 30, 400, 1000, 9000])
@pytest.mark.parametrize("tick", [0, 1, 99, 255, 1023])
def test_the_true_end_is_no_later_than_the_cut_allows(days: int, tick: int) -> None:
    ticks = days * 8_640_000 + tick
    cut = ticks - (
        ticks % (1 << max(0, ticks.bit_length() - 24))
    )  # as encode_float() in kernel/acct.c
    row = decode_record(Raw(btime=1000, etime=float(cut)).pack())
    assert exit_second(row) <= 1000 + ticks // 100 <= exit_second(row) + late_most(row.etime)


DAYS_400 = 400 * 8_640_000.0  # cut to a multiple of 256


@pytest.mark.parametrize(
    ("before", "late_s"),
    [(None, 0), (-1, 0), (0, 0), (1, 1), (2, 2), (3, 0), (10_000, 0)],
    ids=["nothing", "earlier", "same", "1 s", "most", "clock set", "clock set far"],
)
def test_a_cut_record_was_written_no_earlier_than_the_one_before_it(
    before: int | None, late_s: int
) -> None:
    end, day = 1_793_491_201, 8_640_000
    cut = decode_record(Raw(btime=end - 400 * day // 100, etime=DAYS_400).pack())
    assert (exit_second(cut), late_most(cut.etime)) == (end, 2)
    short = decode_record(Raw(btime=end + (before or 0), etime=5.0).pack())
    rows = [short, cut] if before is not None else [cut]
    assert late(rows, None) == [None, late_s][-len(rows) :]
    assert late([cut], None if before is None else end + before) == [late_s]
    # the result for a record bounds that of the next
    assert late([*rows, cut], None) == [None, late_s, late_s][-len(rows) - 1 :]


def late(rows: list[AcctRecord], before: int | None) -> list[int | None]:
    seconds = [exit_second(row) for row in rows]
    return late_seconds(seconds, [row.etime for row in rows], before)


@pytest.mark.parametrize(
    ("raw", "is_self"),
    [
        (Raw(flag=0, exitcode=0, comp=(0,) * 8), True),
        (
            Raw(flag=2, exitcode=0, comp=(3, 4, 0, 0, 0, 5, 6, 0)),
            True,
        ),  # of a caller whose threads have ended
        (Raw(flag=0, exitcode=0, comp=(0, 0, 9, 0, 0, 0, 0, 0)), False),
        (Raw(flag=1, exitcode=0, ppid=2, comp=(0,) * 8), False),  # a kernel thread
        (Raw(flag=0, exitcode=256, comp=(0,) * 8), False),
        (Raw(flag=16, exitcode=9, comp=(0,) * 8), False),
    ],
)
def test_the_record_of_the_caller_of_acct_is_recognized(raw: Raw, is_self: bool) -> None:
    assert is_self_record(decode_record(raw.pack())) is is_self
    other = Raw(comp=(0, 0, 9, 0, 0, 0, 0, 0))
    columns = decode_columns(other.pack() + raw.pack() + other.pack())
    assert self_records(columns) == ([1] if is_self else [])


def old_record(version: int, order: str) -> bytes:
    """A record of versions 0 to 2, with no pid in it."""
    record = bytearray(64)
    struct.pack_into(
        f"{order}BBHH", record, 0, 0, version | (0x80 if order == ">" else 0), 1000, 1000
    )
    struct.pack_into(f"{order}I", record, 8, 1_500_000_000)
    struct.pack_into(f"{order}I4s", record, 32, 256, b"cron")
    return bytes(record)


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_old_versions_are_refused_with_the_reason(version: int, order: str) -> None:
    with pytest.raises(
        DataError,
        match=f"^old: acct version {version} records carry no pid and cannot be joined to a job",
    ):
        sniff(old_record(version, order) * 2, "old")


@pytest.mark.parametrize(
    "start",
    [b"#!/bin/sh\n" * 20, bytes(4096), b"\x1f\x8b\x08", GOOD[:50], b"\xff" * 128, b"\x03" * 128],
)
def test_what_is_no_accounting_file_is_refused(start: bytes) -> None:
    with pytest.raises(DataError, match=r"^it: not an accounting file$"):
        sniff(start, "it")


def test_files_are_identified_by_their_first_record() -> None:
    assert sniff(b"", "f") is Content.EMPTY
    assert sniff(GOOD, "f") is Content.LITTLE
    assert sniff(Raw().pack(">") + b"x", "f") is Content.BIG
    assert sniff(b"\n" + GOOD, "f") is Content.LITTLE


@pytest.mark.peers
def test_dump_acct_says_the_same_of_the_recorded_file() -> None:
    records = [AcctRecord._make(row) for row in decode_rows(SAMPLE.read_bytes())]
    assert dump_acct(SAMPLE) == [as_dump_acct(record) for record in records]


@pytest.mark.parametrize(
    "name", ["flag", "exitcode", "uid", "gid", "pid", "ppid", "btime", "etime", "mem", "comm"]
)
def test_named_positions_are_those_of_the_fields(name: str) -> None:
    assert getattr(decoding, name.upper()) == AcctRecord._fields.index(name)
