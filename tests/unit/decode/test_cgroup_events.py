"""Records of perf rings: each kind is decoded as it was written, in order of time across CPUs."""

from __future__ import annotations

import pytest

from elsa.decode.cgroup_events import (
    Attach,
    BornInto,
    Decoder,
    Emptied,
    ExitGroup,
    Lost,
    Made,
    Removed,
    Sampled,
)
from elsa.errors import DataError
from tests.support import perf_records as make

EVER = 1 << 62


def decoder(exit_filter: str = "group_dead != 0") -> Decoder:
    return Decoder(make.opened(exit_filter), make.NAMES)


def test_every_kind_is_decoded_as_it_was_written() -> None:
    chunk = (
        make.group("cgroup_mkdir", 1, 70, b"/a/b")
        + make.newtask(2, 500, parent=400)
        + make.attach(3, 501, 70, b"/a/b")
        + make.execution(4, 500, 70, b"/bin/true")
        + make.exit_group(5, 500, 0x107)
        + make.end(6, 500, 70)
        + make.lost(7, 12)
        + make.group("cgroup_rmdir", 8, 70, b"/a/b")
    )
    assert decoder().decode([chunk], EVER) == [
        Made(1, 70, "/a/b"),
        BornInto(2, 500, 400),
        Attach(3, 501, 70, "/a/b"),
        Sampled(4, 500, 500, 70, "/bin/true"),
        ExitGroup(5, 500, 7),
        Sampled(6, 500, 500, 70, None),
        Lost(7, 12),
        Removed(8, 70, "/a/b"),
    ]


def test_emptied_group_is_reported_at_once_and_once() -> None:
    decode = decoder()
    assert decode.decode([make.emptied(5, 70, b"/a/b")], until_ns=0) == []
    assert decode.take_emptied() == [Emptied(5, 70, "/a/b")]
    assert decode.take_emptied() == decode.decode([], EVER) == []


def test_group_is_unknown_where_the_kernel_does_not_sample_it() -> None:
    assert decoder().decode([make.execution(4, 500, None, b"x")], EVER) == [
        Sampled(4, 500, 500, None, "x")
    ]


def test_last_thread_stands_for_the_process_where_the_kernel_tells_which_it_is() -> None:
    chunk = make.end(1, 501, 70, tgid=500)
    assert decoder().decode([chunk], EVER) == [Sampled(1, 501, 500, 70, None)]


def test_leader_stands_for_the_process_where_the_end_of_every_thread_is_received() -> None:
    chunk = make.end(1, 501, 70, tgid=500) + make.end(2, 500, 70)
    assert decoder("").decode([chunk], EVER) == [Sampled(2, 500, 500, 70, None)]


def test_rings_are_merged_by_time_and_the_last_records_held_back() -> None:
    cpu0 = make.end(1, 10, 7) + make.end(5, 11, 7) + make.end(9, 12, 7)
    cpu1 = make.end(2, 20, 7) + make.end(6, 21, 7)
    merged = decoder()
    assert [record.time_ns for record in merged.decode([cpu0, cpu1], 5)] == [1, 2, 5]
    late = make.end(3, 30, 7) + make.end(7, 22, 7)
    assert [record.time_ns for record in merged.decode([late], 7)] == [3, 6, 7]
    assert [record.time_ns for record in merged.decode([], EVER)] == [9]


def test_records_of_the_same_time_keep_their_order() -> None:
    chunk = make.execution(5, 10, 7, b"a") + make.end(5, 10, 7) + make.lost(5, 1)
    assert [type(record) for record in decoder().decode([chunk], EVER)] == [Sampled, Sampled, Lost]


def test_records_of_other_kinds_are_passed_over() -> None:
    throttle = make.lost(3, 4).replace(b"\2\0\0\0", b"\5\0\0\0", 1)
    assert decoder().decode([throttle + make.end(5, 10, 7)], EVER) == [Sampled(5, 10, 10, 7, None)]


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (make.end(1, 2, 3)[:-1], "wrong size"),
        (make.end(1, 2, 3)[:20], "shorter"),
        (bytes(40), "wrong size"),
        (make.end(1, 2, 3).replace(b"\6\0\0\0", b"\77\0\0\0", 1), "unknown tracepoint"),
        (make.attach(1, 2, 3, b"/a").replace(b"\x24\0\3\0", b"\x24\0\xff\0", 1), "beyond its end"),
    ],
)
def test_bytes_that_are_no_records_are_refused_and_what_came_before_is_kept(
    chunk: bytes, reason: str
) -> None:
    damaged = decoder()
    with pytest.raises(DataError, match=reason):
        damaged.decode([make.end(1, 2, 3) + chunk], EVER)
    assert damaged.decode([], EVER) == [Sampled(1, 2, 2, 3, None)]


def test_tracepoints_without_the_fields_that_are_needed_are_refused() -> None:
    opened = make.opened()
    opened["cgroup_mkdir"] = opened["task_newtask"]
    with pytest.raises(DataError, match="no field id"):
        Decoder(opened, make.NAMES)
    with pytest.raises(DataError, match="nothing is known of the tracepoint other"):
        Decoder({"other": (b"", "")}, {})
