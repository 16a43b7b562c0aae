"""Records of perf rings under arbitrary bytes and any interleaving: only DataError is raised, no
record is lost, and the order is that of time.
"""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from elsa.decode.cgroup_events import Attach, Decoder, Record, Sampled
from elsa.decode.tracepoint import parse_format, reader
from elsa.errors import DataError
from tests.support import perf_records as make

EVER = 1 << 64
times = st.integers(0, (1 << 64) - 1)
words = st.integers(0, (1 << 31) - 1)
texts = st.binary(max_size=300).filter(lambda text: b"\0" not in text)


@st.composite
def written(draw: st.DrawFn) -> tuple[bytes, Record]:
    """A record, and what it has to be decoded to."""
    time, pid, cgroup, raw = draw(times), draw(words), draw(times), draw(texts)
    text = raw.decode("utf-8", "surrogateescape")
    kinds: list[tuple[bytes, Record]] = [
        (make.attach(time, pid, cgroup, raw), Attach(time, pid, cgroup, text)),
        (make.execution(time, pid, cgroup, raw), Sampled(time, pid, pid, cgroup, text)),
        (make.end(time, pid, cgroup), Sampled(time, pid, pid, cgroup, None)),
    ]
    return draw(st.sampled_from(kinds))


@given(st.lists(written()), st.lists(written()))
def test_what_was_written_is_decoded_in_order_of_time(
    cpu0: list[tuple[bytes, Record]], cpu1: list[tuple[bytes, Record]]
) -> None:
    chunks = [b"".join(raw for raw, _ in cpu) for cpu in (cpu0, cpu1)]
    decoded = Decoder(make.opened(), make.NAMES).decode(chunks, EVER)
    expected = sorted((record for _, record in cpu0 + cpu1), key=lambda record: record.time_ns)
    assert decoded == expected


@given(st.lists(st.tuples(st.lists(written(), max_size=4), times), max_size=6))
def test_each_record_comes_once_whenever_the_rings_are_drained(
    drains: list[tuple[list[tuple[bytes, Record]], int]],
) -> None:
    decoder, received = Decoder(make.opened(), make.NAMES), []
    for records, until_ns in drains:
        ready = decoder.decode([b"".join(raw for raw, _ in records)], until_ns)
        assert all(record.time_ns <= until_ns for record in ready)
        assert ready == sorted(ready, key=lambda record: record.time_ns)
        received += ready
    received += decoder.decode([], EVER)
    written_ = [record for records, _ in drains for _, record in records]
    assert sorted(map(repr, received)) == sorted(map(repr, written_))


@given(
    st.lists(written(), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=4),
    st.integers(0, 2000),
)
def test_damaged_records_raise_nothing_but_a_data_error(
    records: list[tuple[bytes, Record]], damage: list[tuple[int, int]], cut: int
) -> None:
    raw = bytearray(b"".join(raw for raw, _ in records))
    for offset, value in damage:
        raw[offset % len(raw)] = value
    with suppress(DataError):
        Decoder(make.opened(), make.NAMES).decode([bytes(raw), bytes(raw[:cut])], EVER)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_a_data_error(data: bytes) -> None:
    with suppress(DataError):
        Decoder(make.opened(), make.NAMES).decode([data], EVER)
    with suppress(DataError):
        reader(parse_format(make.FORMATS["task_newtask"] + data), ("pid", "clone_flags"))
