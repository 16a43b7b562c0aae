"""Formats of tracepoints: offsets, signs and texts are read as the kernel describes them."""

from __future__ import annotations

import struct

import pytest

from elsa.decode.tracepoint import Field, parse_format, reader, text_at
from elsa.errors import DataError
from tests.support.perf_records import FORMATS


def test_fields_are_read_with_offset_size_and_sign() -> None:
    fields = parse_format(FORMATS["cgroup_attach_task"])
    assert fields["dst_id"] == Field(16, 8, is_signed=False)
    assert fields["pid"] == Field(24, 4, is_signed=True)
    assert fields["common_type"] == Field(0, 2, is_signed=False)
    assert fields["comm"].offset == 32


def test_arrays_and_pointers_are_fields_too() -> None:
    described = (
        b"\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;\n"
        b"\tfield:const char * name;\toffset:24;\tsize:8;\tsigned:0;\n"
        b"\tfield:char last[TASK_COMM_LEN];\toffset:32;\tsize:16;\n"
    )
    fields = parse_format(described)
    assert [field.offset for field in fields.values()] == [8, 24, 32]
    assert list(fields) == ["comm", "name", "last"]


def test_values_come_in_the_order_of_the_names_wherever_the_fields_are() -> None:
    fields = {"a": Field(8, 4, is_signed=True), "b": Field(2, 2, is_signed=False)}
    raw = struct.pack("=xxH4xi", 7, -1)
    assert reader(fields, ("b", "a"))(raw, 0) == (7, -1)
    assert reader(fields, ("a", "b"))(raw, 0) == (-1, 7)
    assert reader(fields, ("a", "b"), "I")(struct.pack("=I", 9) + raw, 0) == (9, -1, 7)


def test_fields_that_are_missing_or_no_numbers_are_refused() -> None:
    fields = parse_format(FORMATS["task_newtask"])
    with pytest.raises(DataError, match="no field tid"):
        reader(fields, ("pid", "tid"))
    with pytest.raises(DataError, match="comm is no number"):
        reader(fields, ("comm",))


@pytest.mark.parametrize("number", ["70000", "9" * 5000])
def test_offsets_beyond_any_record_are_refused(number: str) -> None:
    with pytest.raises(DataError, match="out of range"):
        parse_format(f"field:int a;\toffset:{number};\tsize:4;\tsigned:1;".encode())


def test_text_is_found_from_the_start_of_the_record_or_from_its_field() -> None:
    described = (
        b"\tfield:__data_loc char[] a;\toffset:8;\tsize:4;\tsigned:0;\n"
        b"\tfield:__rel_loc char[] b;\toffset:12;\tsize:4;\tsigned:0;\n"
    )
    fields = parse_format(described)
    raw = bytes(8) + struct.pack("=II", 4 << 16 | 16, 3 << 16 | 4) + b"abc\0de\0"
    first, second = reader(fields, ("a", "b"))(raw, 0)
    assert text_at(fields["a"], first, raw, 0, len(raw)) == "abc"
    assert text_at(fields["b"], second, raw, 0, len(raw)) == "de"
    with pytest.raises(DataError, match="beyond its end"):
        text_at(fields["b"], second, raw, 0, len(raw) - 1)


def test_text_that_is_not_utf8_can_be_given_back_as_a_path() -> None:
    field = Field(0, 4, is_signed=False)
    assert text_at(field, 3 << 16, b"\xff/\0", 0, 3).encode("utf-8", "surrogateescape") == b"\xff/"
