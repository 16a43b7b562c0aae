"""/proc/PID/stat is read right whatever the command calls itself."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.decode.procfs import (
    Io,
    Stat,
    parse_effective_capabilities,
    parse_io,
    parse_real_uid,
    parse_stat,
)
from elsa.errors import DataError

# Fields 3 to 52 of a real one (Linux 6.18), with a number of its own for each.
REST = (
    b"S 41 42 43 0 -1 4194304 90 91 92 93 94 95 96 97 20 0 7 0 123456 5 6 18446744073709551615"
    + b" 0" * 26
    + b" 256"
)


def stat(comm: bytes) -> bytes:
    return b"77 (" + comm + b") " + REST + b"\n"


def test_every_field_is_the_one_it_is_named_after() -> None:
    assert parse_stat(stat(b"cc1")) == Stat(
        pid=77,
        comm=b"cc1",
        state="S",
        ppid=41,
        session=43,
        num_threads=7,
        starttime_ticks=123456,
        minflt=90,
        majflt=92,
        utime_ticks=94,
        stime_ticks=95,
        forked_only=False,
        rss_pages=6,
        exit_code=256,
    )


@pytest.mark.parametrize(
    "comm", [b"", b"a b", b") R 1 (", b"((", b"))", b"\n", b"\xff\xfe", b"x) Z 9 9 9"]
)
def test_a_name_may_hold_anything(comm: bytes) -> None:
    assert parse_stat(stat(comm))[:3] == (77, comm, "S")


@given(st.binary(max_size=15))
def test_a_name_may_hold_anything_at_all(comm: bytes) -> None:
    assert parse_stat(stat(comm)).comm == comm


@given(
    st.one_of(
        st.binary(),
        st.binary(max_size=60).map(stat),
        st.integers(0, 120).map(lambda end: stat(b"cc1")[:end]),
    )
)
def test_anything_else_is_a_data_error(data: bytes) -> None:
    with contextlib.suppress(DataError):
        parse_stat(data)


def test_old_kernels_have_no_exit_code() -> None:
    assert parse_stat(b"77 (cc1) " + b" ".join(REST.split()[:40])).exit_code is None


def test_our_own_stat() -> None:
    mine = parse_stat(Path("/proc/self/stat").read_bytes())
    assert (mine.pid, mine.ppid, mine.session) == (os.getpid(), os.getppid(), os.getsid(0))


def test_the_real_uid_is_the_first_number_of_its_line() -> None:
    assert (
        parse_real_uid(b"Name:\tx\nUmask:\t0022\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n") == 1000
    )


def test_capabilities_are_hexadecimal() -> None:
    assert (
        parse_effective_capabilities(b"CapPrm:\t0000000000000000\nCapEff:\t0000000000001000\n")
        == 1 << 12
    )


@pytest.mark.parametrize("status", [b"", b"Uid:", b"Uid:\tx\n", b"Name:\tUid: 5\n"])
def test_a_status_without_a_uid_is_a_data_error(status: bytes) -> None:
    with pytest.raises(DataError, match="Uid"):
        parse_real_uid(status)


def test_our_own_io_has_what_we_have_written() -> None:
    before = parse_io(Path("/proc/self/io").read_bytes())
    with Path(os.devnull).open("wb", buffering=0) as file:
        file.write(b"x" * 1000)
    after = parse_io(Path("/proc/self/io").read_bytes())
    assert before.wchar is not None
    assert after.wchar is not None
    assert after.wchar - before.wchar >= 1000


def test_io_that_may_not_be_read_is_unknown() -> None:
    assert set(parse_io(None)) == {None}


@given(st.binary())
def test_io_of_any_bytes_is_a_data_error_at_worst(data: bytes) -> None:
    with contextlib.suppress(DataError):
        parse_io(data)


@pytest.mark.parametrize("digits", [b"9223372036854775808", b"1" + b"0" * 40, b"9" * 5000], ids=len)
def test_number_that_no_warehouse_holds_is_refused(digits: bytes) -> None:
    for text in (
        REST.replace(b" 90 ", b" %b " % digits),
        REST.replace(b" 123456 ", b" %d " % 2**40),
    ):
        with pytest.raises(DataError):
            parse_stat(b"77 (x) " + text)
    with pytest.raises(DataError):
        parse_io(b"".join(b"%b: %b\n" % (name.encode(), digits) for name in Io._fields))
    with pytest.raises(DataError):
        parse_real_uid(b"Uid:\t%b\t0\t0\t0\n" % digits)
