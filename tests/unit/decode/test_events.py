"""Process events: every kind out of its 76 bytes, and nothing out of anything else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.decode import events as ev
from elsa.decode.events import Event, comm_of, decode

WORDS = {
    ev.NONE: (0, 0, 0, 0, 0, 0),
    ev.FORK: (100, 100, 200, 200, 0, 0),
    ev.EXEC: (200, 200, 0, 0, 0, 0),
    ev.UID: (200, 200, 1000, 1001, 0, 0),
    ev.GID: (200, 200, 1000, 1001, 0, 0),
    ev.SID: (200, 200, 0, 0, 0, 0),
    ev.PTRACE: (200, 200, 300, 300, 0, 0),
    ev.COREDUMP: (200, 200, 100, 100, 0, 0),
    ev.EXIT: (200, 200, 0x0700, 17, 100, 100),
}
u32 = st.integers(0, 2**32 - 1)


def packed(
    what: int, data: bytes, *, seq: int = 7, cpu: int = 3, time_ns: int = 2**40 + 1
) -> bytes:
    """A datagram, header by header: struct nlmsghdr, struct cn_msg, struct proc_event."""
    nlmsghdr = struct.pack("=IHHII", 76, 3, 0, 99, 98)
    cn_msg = struct.pack("=IIIIHH", 1, 1, seq, 97, 40, 0)
    return nlmsghdr + cn_msg + struct.pack("=IIQ", what, cpu, time_ns) + data


def test_any_time_fits_a_column() -> None:
    (event,) = decode([packed(ev.EXEC, bytes(24), time_ns=2**64 - 1)])
    assert event.time_ns == -1


@pytest.mark.parametrize("what", WORDS, ids=hex)
def test_every_kind_keeps_its_words(what: int) -> None:
    words = WORDS[what]
    assert decode([packed(what, struct.pack("=6I", *words))]) == [
        Event(7, what, 3, 2**40 + 1, *words)
    ]


@given(u32, u32, u32, st.integers(0, 2**63 - 1), st.tuples(u32, u32, u32, u32, u32, u32))
def test_what_is_packed_is_decoded(
    what: int, seq: int, cpu: int, time_ns: int, words: tuple[int, int, int, int, int, int]
) -> None:
    datagram = packed(what, struct.pack("=6I", *words), seq=seq, cpu=cpu, time_ns=time_ns)
    assert decode([datagram]) == [Event(seq, what, cpu, time_ns, *words)]


@given(
    st.lists(st.one_of(st.binary(max_size=200), st.binary(min_size=76, max_size=76)), max_size=10)
)
def test_arbitrary_bytes_give_an_event_for_every_76_of_them_and_raise_nothing(
    datagrams: list[bytes],
) -> None:
    assert len(decode(datagrams)) == sum(len(datagram) == 76 for datagram in datagrams)


@pytest.mark.parametrize("size", [0, 16, 52, 75, 77, 152])
def test_a_datagram_of_another_size_is_passed_over_and_its_neighbours_are_read(size: int) -> None:
    good = packed(ev.EXEC, struct.pack("=6I", 1, 2, 0, 0, 0, 0))
    assert decode([good, bytes(size), good]) == decode([good, good])


def test_the_order_of_the_datagrams_is_kept() -> None:
    datagrams = [packed(ev.EXEC, bytes(24), seq=seq, time_ns=100 - seq) for seq in range(5)]
    assert [event.seq for event in decode(datagrams)] == [0, 1, 2, 3, 4]


@given(st.binary(max_size=15))
def test_a_comm_event_holds_the_name_up_to_its_first_nul(name: bytes) -> None:
    (event,) = decode([packed(ev.COMM, struct.pack("=II16s", 200, 200, name))])
    assert (event.a, event.b) == (200, 200)
    assert comm_of(event) == name.split(b"\0")[0]


def test_a_name_without_a_nul_is_read_whole() -> None:
    (event,) = decode([packed(ev.COMM, struct.pack("=II16s", 1, 1, b"0123456789abcdef"))])
    assert comm_of(event) == b"0123456789abcdef"
