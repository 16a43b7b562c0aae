"""A tracepoint's `format` file, and how to read its fields from a record (pure).

Offsets differ between kernels, so they are read from the file. A field is a number, or text of any
length: then its place in the record holds where the text is and how long (`__data_loc`;
`__rel_loc`: counted from the end of the field).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from elsa.errors import DataError

# One line of include/trace/stages/stage4_event_fields.h, as trace_events.c prints it.
_FIELD = re.compile(
    r"\s*field:(?P<type>[^;]*?)(?P<name>\w+)(?:\[\w*\])?;"
    r"\s*offset:(?P<offset>\d+);\s*size:(?P<size>\d+);(?:\s*signed:(?P<signed>[01]);)?\s*"
)
_RELATIVE = "__rel_loc"
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
# A record of perf is not longer (PERF_MAX_TRACE_SIZE is 8192).
_LONGEST = 1 << 16


class Field(NamedTuple):
    """Where a field is in the raw data of a record."""

    offset: int
    size: int
    is_signed: bool
    text_base: int = 0
    """For text: what to add to the offset that the record has."""


Reader = Callable[[bytes, int], tuple[int, ...]]
"""From bytes and a position in them to values. Raises struct.error where they are too short."""


def parse_format(data: bytes) -> dict[str, Field]:
    """The fields of a tracepoint by name. Raises DataError."""
    fields = {}
    for line in data.decode("ascii", "replace").splitlines():
        match = _FIELD.fullmatch(line)
        if match is None:
            continue
        # Eight digits hold everything that can be right
        if len(match["offset"]) > 8 or len(match["size"]) > 8:
            raise DataError("the format of a tracepoint has a field out of range")
        fields[match["name"]] = _field(
            match["type"], int(match["offset"]), int(match["size"]), match
        )
    return fields


def _field(kind: str, offset: int, size: int, match: re.Match[str]) -> Field:
    if offset + size > _LONGEST:
        raise DataError("the format of a tracepoint has a field out of range")
    base = offset + size if kind.startswith(_RELATIVE) else 0
    return Field(offset, size, match["signed"] == "1", base)


def reader(fields: Mapping[str, Field], names: Sequence[str], before: str = "") -> Reader:
    """A function that reads these fields, in this order, from raw data that follows what `before`
    describes (as for `struct`; its values come first). Raises DataError where the tracepoint has no
    such field, or one of an odd size.
    """
    missing = [name for name in names if name not in fields]
    if missing:
        raise DataError(f"the tracepoint has no field {missing[0]}")
    ordered = sorted(names, key=lambda name: fields[name].offset)
    layout, position = f"={before}", 0
    for name in ordered:
        field = fields[name]
        code = _CODES.get(field.size)
        if code is None or field.offset < position:
            raise DataError(f"the tracepoint's field {name} is no number")
        layout += f"{field.offset - position}x{code.lower() if field.is_signed else code}"
        position = field.offset + field.size
    packed = struct.Struct(layout)
    if ordered == list(names):
        return packed.unpack_from
    first = len(packed.unpack(bytes(packed.size))) - len(names)
    places = [*range(first), *(first + ordered.index(name) for name in names)]

    def read(data: bytes, position: int) -> tuple[int, ...]:
        values = packed.unpack_from(data, position)
        return tuple(values[place] for place in places)

    return read


def text_at(field: Field, location: int, data: bytes, start: int, end: int) -> str:
    """The text that a field's value points to, in raw data from start to end. Raises DataError.

    What is not UTF-8 is kept as os.fsdecode keeps it, so the text can be given back to the kernel
    as a path; elsa.decode.comm.escape makes it fit to store or show.
    """
    first = start + field.text_base + (location & 0xFFFF)
    last = first + (location >> 16 & 0xFFFF)
    if last > end or end > len(data):
        raise DataError("a record of a tracepoint has text beyond its end")
    return data[first:last].partition(b"\0")[0].decode("utf-8", "surrogateescape")
