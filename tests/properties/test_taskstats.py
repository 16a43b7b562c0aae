"""taskstats under arbitrary bytes, order and loss: nothing raised but DataError, and each process
gets what its own threads used.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from elsa.decode import taskstats
from elsa.decode.taskstats import AGROUP, Message, Taskstats, decode
from elsa.errors import DataError
from elsa.state.process_sums import ProcessSums

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


@given(
    usual(),
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 255)), max_size=4),
    st.integers(0, 700),
)
def test_a_damaged_message_raises_nothing_but_a_data_error(
    datagram: bytes, damage: list[tuple[int, int]], cut: int
) -> None:
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


def life(tgid: int, threads: list[tuple[int, int]]) -> list[Message]:
    """The messages of a process, each thread with how often it was on a CPU and what it wrote."""
    base = Taskstats._make([0] * len(Taskstats._fields))._replace(version=16, comm=b"x", tgid=tgid)
    messages = [
        Message(base._replace(pid=tgid + number, cpu_count=turns, write_bytes=wrote), None)
        for number, (turns, wrote) in enumerate(threads)
    ]
    final = messages[-1].thread
    assert final is not None
    group = (
        base._replace(cpu_count=sum(turns for turns, _ in threads)) if len(threads) > 1 else None
    )
    return [*messages[:-1], Message(final._replace(flag=AGROUP), group)]


threads = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 1 << 40)), min_size=1, max_size=6)


@given(st.lists(threads, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_any_interleaving_of_processes_gives_each_its_own(
    lives: list[list[tuple[int, int]]], random: Random
) -> None:
    queues = [life(100 * number, each) for number, each in enumerate(lives, 1)]
    messages = []
    while any(queues):
        messages.append(random.choice([queue for queue in queues if queue]).pop(0))
    sums = ProcessSums()
    found = {stats.tgid: stats for stats in sums.feed(messages)}
    assert len(found) == len(lives)
    for number, each in enumerate(lives, 1):
        stats = found[100 * number]
        assert (stats.complete, stats.threads, stats.total.write_bytes) == (
            True,
            len(each),
            sum(wrote for _, wrote in each),
        )
    assert (len(sums), sums.unfinished) == (0, 0)


@given(st.lists(threads, min_size=1, max_size=6), st.sets(st.integers(0, 40)))
def test_whatever_is_lost_of_an_id_used_again_and_again_a_complete_sum_has_every_turn(
    lives: list[list[tuple[int, int]]], lost: set[int]
) -> None:
    """Also where a process's last message is among the lost, so that its threads stand before the
    next one's.
    """
    messages = [(number, message) for number, each in enumerate(lives) for message in life(7, each)]
    sums = ProcessSums()
    for position, (number, message) in enumerate(messages):
        if position in lost:
            sums.note_loss()
            continue
        for stats in sums.feed([message]):
            wrote = sum(wrote for _, wrote in lives[number])
            if stats.complete:
                assert stats.total.cpu_count == sum(turns for turns, _ in lives[number])
            assert stats.total.cpu_count >= lives[number][-1][0]
            if not any(
                position in lost for position, (owner, _) in enumerate(messages) if owner <= number
            ):
                assert (stats.complete, stats.total.write_bytes) == (True, wrote)
    assert len(sums) <= 1
