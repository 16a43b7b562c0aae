"""taskstats messages: every version's fields stand where that version's header puts them; only
whole messages are taken.
"""

from __future__ import annotations

import struct

import pytest

from elsa.decode.taskstats import AGROUP, Message, Taskstats, decode
from elsa.errors import DataError

# The size of struct taskstats by version.
SIZES = {8: 328, 9: 344, 10: 352, 11: 368, 12: 400, 13: 416, 14: 432, 15: 560, 16: 560}
# What each version has for the first time.
FIRST = {
    9: "thrashing_count",
    10: "btime64",
    11: "compact_count",
    12: "tgid",
    13: "wpcopy_count",
    14: "irq_count",
}
# Offsets of the fields in every version but 15, which has two more words behind each delay.
OFFSETS = {
    "cpu_count": 16, "cpu_delay_ns": 24, "blkio_count": 32, "blkio_delay_ns": 40,
    "swapin_count": 48, "swapin_delay_ns": 56, "cpu_run_real_ns": 64, "cpu_run_virtual_ns": 72,
    "etime_us": 144, "utime_us": 152, "stime_us": 160, "minflt": 168, "majflt": 176,
    "coremem_mb_us": 184, "virtmem_mb_us": 192, "hiwater_rss_kib": 200, "hiwater_vm_kib": 208,
    "read_chars": 216, "write_chars": 224, "read_syscalls": 232, "write_syscalls": 240,
    "read_bytes": 248, "write_bytes": 256, "cancelled_write_bytes": 264, "nvcsw": 272,
    "nivcsw": 280, "freepages_count": 312, "freepages_delay_ns": 320, "thrashing_count": 328,
    "thrashing_delay_ns": 336, "btime64": 344, "compact_count": 352, "compact_delay_ns": 360,
    "tgetime_us": 376, "exe_dev": 384, "exe_inode": 392, "wpcopy_count": 400,
    "wpcopy_delay_ns": 408, "irq_count": 416, "irq_delay_ns": 424,
}  # fmt: skip
WORDS = {"exitcode": 4, "uid": 120, "gid": 124, "pid": 128, "ppid": 132, "btime": 136, "tgid": 368}
BYTES = {"flag": 8, "comm": 80}
DELAYS = ("cpu", "blkio", "swapin", "freepages", "thrashing", "compact", "wpcopy", "irq")


def packed(version: int, size: int | None = None, **values: int | bytes) -> bytes:
    """A struct taskstats, built field by field by offset."""
    size = SIZES[version] if size is None else size
    shifts = sorted(OFFSETS[f"{delay}_delay_ns"] + 8 for delay in DELAYS) if version == 15 else []
    raw = bytearray(size)
    struct.pack_into("=H", raw, 0, version)
    for name, value in values.items():
        offset = OFFSETS.get(name) or WORDS.get(name) or BYTES[name]
        offset += 16 * sum(1 for shift in shifts if shift <= offset)
        if isinstance(value, bytes):
            raw[offset : offset + len(value)] = value
        else:
            struct.pack_into("=I" if name in WORDS else "=Q", raw, offset, value)
    return bytes(raw)


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def aggregate(kind: int, number: int, stats: bytes) -> bytes:
    """AGGR_PID (4) around PID (1), or AGGR_TGID (5) around TGID (2), and STATS (3)."""
    return attribute(kind, attribute(kind - 3, struct.pack("=I", number)) + attribute(3, stats))


def message(*attributes: bytes, kind: int = 31, command: int = 2) -> bytes:
    body = struct.pack("=BBH", command, 1, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 7, 0) + body


def thread_of(datagram: bytes) -> Taskstats:
    (found,) = decode(datagram)
    assert found.thread is not None
    assert found.group is None
    return found.thread


@pytest.mark.parametrize("version", SIZES)
def test_every_field_of_every_version_is_where_its_header_puts_it(version: int) -> None:
    lacking = {field for since, field in FIRST.items() if since > version}
    lacking |= {field.replace("_count", "_delay_ns") for field in lacking}
    if version < 12:
        lacking |= {"tgetime_us", "exe_dev", "exe_inode"}
    names = [
        name for name in Taskstats._fields if name not in {"version", "flag", "comm", *lacking}
    ]
    values: dict[str, int | bytes] = {name: 1000 + number for number, name in enumerate(names)}
    stats = packed(version, None, **values, flag=bytes([AGROUP]), comm=b"a\xffb")
    found = thread_of(message(aggregate(4, 1, stats)))
    expected = {**values, "version": version, "flag": AGROUP, "comm": b"a\xffb".ljust(32, b"\0")}
    assert found._asdict() == {name: expected.get(name) for name in Taskstats._fields}


def test_a_version_to_come_is_read_as_far_as_it_is_known() -> None:
    stats = packed(17, 1000, tgid=5, irq_delay_ns=9)
    assert (
        thread_of(message(aggregate(4, 1, stats))).tgid,
        thread_of(message(aggregate(4, 1, stats))).irq_delay_ns,
    ) == (5, 9)


@pytest.mark.parametrize(
    ("version", "size"), [(7, 328), (0, 0), (8, 327), (14, 560), (16, 432), (17, 431), (13, 424)]
)
def test_a_size_that_the_version_never_had_is_refused(version: int, size: int) -> None:
    stats = packed(version, 1000)[:size]
    with pytest.raises(DataError, match=f"in {size} bytes"):
        decode(message(aggregate(4, 1, stats)))


def test_the_last_thread_of_several_brings_the_groups_part() -> None:
    thread, group = packed(16, pid=7, tgid=5), packed(16, nvcsw=12)
    (found,) = decode(message(aggregate(4, 7, thread), aggregate(5, 5, group)))
    assert found.thread is not None
    assert found.group is not None
    assert (found.thread.pid, found.group.nvcsw) == (7, 12)


def test_an_answer_about_a_group_has_no_thread() -> None:
    (found,) = decode(message(aggregate(5, 5, packed(16, nvcsw=3))))
    assert found.thread is None
    assert found.group is not None


def test_padding_and_unknown_attributes_are_passed_over() -> None:
    null, strange = attribute(6, b""), attribute(99, b"abc")
    padded = attribute(
        4, attribute(1, struct.pack("=I", 7)) + null + attribute(3, packed(16, pid=7))
    )
    assert thread_of(message(null, strange, padded, strange)).pid == 7
    nested_flag = attribute(0x8000 | 4, attribute(3, packed(16, pid=8)))
    assert thread_of(message(nested_flag)).pid == 8


def test_several_messages_in_a_datagram_come_in_order() -> None:
    datagram = b"".join(message(aggregate(4, pid, packed(16, pid=pid))) for pid in (3, 1, 2))
    assert [found.thread.pid for found in decode(datagram) if found.thread] == [3, 1, 2]


def test_acknowledgements_and_other_commands_are_passed_over() -> None:
    acknowledgement = struct.pack("=IHHIIi", 36, 2, 0, 7, 0, 0) + b"\0" * 16
    assert decode(acknowledgement) == []
    assert decode(message(b"", command=1)) == []
    assert decode(b"") == []
    assert (
        decode(acknowledgement + message(aggregate(4, 1, packed(16, pid=1))))[0].thread is not None
    )


@pytest.mark.parametrize("cut", [1, 15, 17, 21, 35, 37, 595])
def test_a_message_that_is_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(DataError):
        decode(message(aggregate(4, 1, packed(16)))[:cut])


def test_an_attribute_longer_than_its_message_is_refused() -> None:
    raw = bytearray(message(aggregate(4, 1, packed(16))))
    for offset in (20, 24, 32):
        broken = bytearray(raw)
        struct.pack_into("=H", broken, offset, 60000)
        with pytest.raises(DataError):
            decode(bytes(broken))
        struct.pack_into("=H", broken, offset, 3)
        with pytest.raises(DataError):
            decode(bytes(broken))


def test_a_message_without_statistics_is_refused() -> None:
    with pytest.raises(DataError, match="without statistics"):
        decode(message(attribute(6, b"")))
    with pytest.raises(DataError, match="without statistics"):
        decode(message(attribute(4, attribute(1, b"abcd"))))


def test_an_inode_number_beyond_sqlites_integers_turns_negative() -> None:
    assert thread_of(message(aggregate(4, 1, packed(16, exe_inode=2**64 - 2)))).exe_inode == -2


def test_a_message_is_a_thread_and_perhaps_a_group() -> None:
    assert Message._fields == ("thread", "group")
