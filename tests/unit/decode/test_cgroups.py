"""Files of control groups: paths of processes and counters of groups; what is absent is unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from elsa.decode.cgroups import (
    CpuTime,
    DiskIo,
    parse_counter,
    parse_cpu_stat,
    parse_io_stat,
    path_of,
)
from elsa.errors import DataError

HYBRID = b"9:name=systemd:/user.slice\n4:cpu,cpuacct:/\n0::/system.slice/a:b.service\n"


@pytest.mark.parametrize(
    ("data", "hierarchy", "path"),
    [
        (HYBRID, 0, "/system.slice/a:b.service"),
        (HYBRID, 9, "/user.slice"),
        (HYBRID, 3, None),
        (HYBRID, None, "/system.slice/a:b.service"),
        (b"9:name=systemd:/user.slice\n4:cpu,cpuacct:/\n", None, "/user.slice"),
        (b"4:cpu,cpuacct:/\n", None, None),
        (b"0::/gone.scope (deleted)\n", 0, "/gone.scope"),
        (b"0::/\xff\n", 0, "/\udcff"),
        (b"1:a:/\r\v\n0::/\r9::/\n", 0, "/\r9::/"),
        (b"", 0, None),
    ],
)
def test_path_of_a_process_in_a_hierarchy(data: bytes, hierarchy: int, path: str | None) -> None:
    assert path_of(data, hierarchy) == path


def test_counters_are_sums_over_the_group() -> None:
    stat = b"usage_usec 30\nuser_usec 10\nsystem_usec 20\nnice_usec 0\nnr_periods 0\n"
    assert parse_cpu_stat(stat) == CpuTime(30, 10, 20)
    disks = (
        b"8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=9 dios=9\n"
        b"8:16 rbytes=5 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n7:0 \n"
    )
    assert parse_io_stat(disks) == DiskIo(15, 20, 2, 2)
    assert parse_io_stat(b"") == DiskIo(0, 0, 0, 0)
    assert parse_counter(b"4096\n") == 4096


@pytest.mark.parametrize("parse", [parse_cpu_stat, parse_io_stat, parse_counter])
def test_file_that_is_not_there_is_unknown(parse: Callable[[bytes | None], Any]) -> None:
    assert parse(None) is None


def test_limit_of_max_is_no_number() -> None:
    assert parse_counter(b"max\n") is None


@pytest.mark.parametrize(
    ("parse", "data"),
    [
        (parse_cpu_stat, b"usage_usec 1\nuser_usec x\nsystem_usec 1\n"),
        (parse_cpu_stat, b"usage_usec 1\n"),
        (parse_io_stat, b"8:0 rbytes=-1\n"),
        (parse_counter, b"1 2"),
        (parse_counter, b"9223372036854775808"),
        (lambda data: path_of(data, 0), b"0:/a"),
        (lambda data: path_of(data, 0), b"x::/a"),
    ],
)
def test_other_bytes_are_refused(parse: Callable[[bytes], Any], data: bytes) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        parse(data)
