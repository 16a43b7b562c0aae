"""taskstats under arbitrary bytes: nothing raised but DataError, and the short cut for the usual message reads what the walk reads."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from elsa.decode import taskstats
from elsa.decode.taskstats import decode
from elsa.errors import DataError

SIZES = {8: 328, 9: 344, 10: 352, 11: 368, 12: 400, 13: 416, 14: 432, 15: 560, 16: 560}


@st.composite
def usual(draw: st.DrawFn) -> bytes:
    """A message about one thread, of any version, with any values."""
    version = draw(st.sampled_from(sorted(SIZES)))
    size = SIZES[version]
    stats = struct.pack("=H", version) + draw(st.binary(min_size=size - 2, max_size=size - 2))
    head = struct.pack("=IHHII", 36 + size, 31, 0, draw(st.integers(0, 9)), 0)
    return head + struct.pack("=BBHHHHHIHH", 2, 1, 0, 16 + size, 4, 8, 1, 77, 4 + size, 3) + stats


@given(st.binary(max_size=700))
@example(b"\x10\0\0\0\x1f\0" + b"\0" * 10)
def test_arbitrary_bytes_raise_nothing_but_a_data_error(data: bytes) -> None:
    with suppress(DataError):
        decode(data)


@given(usual(), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 255)), max_size=4), st.integers(0, 700))
def test_a_damaged_message_raises_nothing_but_a_data_error(datagram: bytes, damage: list[tuple[int, int]], cut: int) -> None:
    raw = bytearray(datagram)
    for offset, value in damage:
        raw[offset] = value
    with suppress(DataError):
        decode(bytes(raw))
    with suppress(DataError):
        decode(bytes(raw[:cut]))


@given(st.lists(usual(), min_size=1, max_size=3))
def test_the_short_cut_reads_what_the_walk_reads(datagrams: list[bytes]) -> None:
    one_by_one = [message for datagram in datagrams for message in decode(datagram)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taskstats, "_SIMPLE", {})
        assert [message for datagram in datagrams for message in decode(datagram)] == one_by_one
    # A whole number of words each, so they follow each other without padding.
    assert decode(b"".join(datagrams)) == one_by_one
