"""Accounting records under arbitrary bytes: nothing raised but DataError, no byte lost or counted
twice, nothing depends on the cutting.
"""

from __future__ import annotations

import struct
from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from elsa.decode.acct import AcctRecord, comp_table, decode_record, decode_rows
from elsa.decode.acct_search import LOOKAHEAD, Run, plausible, sniff, walk
from elsa.decode.comm import escape_comm, unescape_comm
from elsa.errors import DataError

u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
pids = st.integers(1, (1 << 22) - 1)
comms = st.binary(max_size=15).map(lambda raw: raw.replace(b"\0", b"x"))


@st.composite
def packed(draw: st.DrawFn) -> bytes:
    """A record as a kernel could write it, of either byte order."""
    order = draw(st.sampled_from("<>"))
    version = 3 if order == "<" else 0x83
    words = (draw(u16), draw(u32), draw(u32), draw(pids), draw(pids), draw(u32))
    etime = float(draw(st.integers(0, 1 << 24)))
    head = struct.pack(
        f"{order}BBH6If", draw(st.integers(0, 0x3F)), version, draw(u16), *words, etime
    )
    return (
        head
        + struct.pack(f"{order}8H", *(draw(u16) for _ in range(8)))
        + draw(comms).ljust(16, b"\0")
    )


def fields(record: bytes) -> tuple[object, ...]:
    """The record read the plain way."""
    order = ">" if record[1] & 0x80 else "<"
    values = struct.unpack(f"{order}BBHIIIIIIfHHHHHHHH16s", record)
    return (
        *values[:10],
        *((value & 0x1FFF) << 3 * (value >> 13) for value in values[10:18]),
        escape_comm(values[18]),
    )


@given(st.lists(packed(), max_size=20))
def test_what_is_packed_is_decoded(records: list[bytes]) -> None:
    expected = [fields(record) for record in records]
    assert list(decode_rows(b"".join(records))) == expected
    assert [decode_record(record) for record in records] == expected
    assert all(map(plausible, records))
    assert walk(b"".join(records), more=False) == (
        [Run(0, 64 * len(records), records=True)] if records else []
    )


@given(st.binary(max_size=400), st.integers(0, 400))
def test_arbitrary_bytes_raise_nothing_but_a_data_error(data: bytes, offset: int) -> None:
    for attempt in (
        lambda: decode_record(data, offset),
        lambda: list(decode_rows(data[: len(data) // 64 * 64])),
        lambda: list(decode_rows(data)),
        lambda: sniff(data, "it"),
    ):
        with suppress(DataError):
            attempt()
    walk(data, more=False)
    walk(data, more=True)


@given(st.binary(min_size=64, max_size=64).map(bytearray), st.booleans())
def test_any_64_bytes_of_version_3_decode(raw: bytearray, big: bool) -> None:
    raw[1] = 0x83 if big else 0x03
    record = decode_record(bytes(raw))
    assert isinstance(record, AcctRecord)
    assert repr(list(decode_rows(bytes(raw)))) == repr(
        [tuple(record)]
    )  # repr, since NaN is not itself


def pieces() -> st.SearchStrategy[list[bytes]]:
    """Records, torn records and junk, in any order; junk is mostly bytes that records contain."""
    junk = st.one_of(
        st.binary(max_size=150), st.lists(st.sampled_from([0, 1, 3, 0x83]), max_size=150).map(bytes)
    )
    torn = st.tuples(packed(), st.integers(0, 64), st.integers(0, 64)).map(
        lambda cut: cut[0][min(cut[1:]) : max(cut[1:])]
    )
    return st.lists(st.one_of(packed(), packed(), packed(), junk, torn), max_size=12)


@given(pieces())
def test_every_byte_is_accounted_for_exactly_once(parts: list[bytes]) -> None:
    data = b"".join(parts)
    for more in (False, True):
        position = 0
        for index, run in enumerate(runs := walk(data, more=more)):
            assert run.start == position < run.end
            assert index == 0 or runs[index - 1].records != run.records
            if run.records:
                assert all(plausible(data, start) for start in range(run.start, run.end, 64))
                assert (run.end - run.start) % 64 == 0
            position = run.end
        assert len(data) - position < (LOOKAHEAD if more else 64)


@given(pieces(), st.lists(st.integers(LOOKAHEAD, 1000), min_size=1, max_size=20))
def test_the_outcome_does_not_depend_on_how_the_file_was_cut(
    parts: list[bytes], sizes: list[int]
) -> None:
    data = b"".join(parts)
    found = [
        (run.start + at, run.end + at, run.records)
        for at, runs in walked(data, sizes)
        for run in runs
    ]
    joined: list[Run] = []
    for start, end, records in found:
        if joined and joined[-1].records == records:
            joined[-1] = Run(joined[-1].start, end, records)
        else:
            joined.append(Run(start, end, records))
    assert joined == walk(data, more=False)


def walked(data: bytes, sizes: list[int]) -> list[tuple[int, list[Run]]]:
    """Walk the file as an ingester does, in chunks of these sizes by turns."""
    done, position, turn = [], 0, 0
    while True:
        chunk = data[position : position + sizes[turn % len(sizes)]]
        more = position + len(chunk) < len(data)
        runs = walk(chunk, more=more)
        done.append((position, runs))
        position += runs[-1].end if runs else 0
        turn += 1
        if not more:
            return done


@given(
    st.lists(packed(), min_size=2, max_size=8),
    st.lists(packed(), min_size=2, max_size=8),
    st.binary(min_size=1, max_size=200),
)
@example(
    [b"\0\3" + bytes(14) + b"\1" + bytes(47)] * 2,
    [b"\0\3" + bytes(14) + b"\1" + bytes(47)] * 2,
    bytes(64),
)
def test_records_on_both_sides_of_junk_are_all_found(
    before: list[bytes], after: list[bytes], junk: bytes
) -> None:
    # No version byte in the junk, so that no piece of it can be the head of a record.
    junk = junk.translate(bytes.maketrans(b"\3\x83", b"\4\x84"))
    start = 64 * len(before)
    data = b"".join(before) + junk + b"".join(after)
    runs = walk(data, more=False)
    taken = {position for run in runs if run.records for position in range(run.start, run.end, 64)}
    # The record at the very edge may be torn by what the junk makes of it; every other is found.
    assert set(range(0, start - 64, 64)) <= taken
    assert set(range(start + len(junk) + 64, len(data), 64)) <= taken


@given(st.binary(max_size=16))
def test_a_name_comes_back_from_its_text(raw: bytes) -> None:
    text = escape_comm(raw)
    assert text.isprintable()
    assert unescape_comm(text) == raw.partition(b"\0")[0]


@given(st.text(max_size=20))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        raw = unescape_comm(text)
    except DataError:
        return
    if b"\0" not in raw:
        assert unescape_comm(escape_comm(raw)) == raw


@given(u16)
def test_a_comp_value_never_exceeds_what_it_was_made_of(value: int) -> None:
    assert comp_table()[value] <= (value & 0x1FFF) * 8 ** (value >> 13)
