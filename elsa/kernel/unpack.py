"""Reads compressed files like plain ones: gzip, bzip2, xz, lzma and zstd, recognised by their first
bytes, in bounded memory.

Logrotate can be set up to use any of these. The standard library unpacks all except zstd, which
Python has from 3.14 on; before that a backport of the same module is used.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Protocol

from elsa.errors import DataError

CHUNK = 1 << 16
"""Bytes per step, packed and unpacked."""
KEPT = 64
"""How many bytes before a position are kept, since the next read needs them again."""
_GZIP_WBITS = 16 + zlib.MAX_WBITS  # for zlib: with a gzip header and trailer
# The compressed file says how much memory xz needs; xz's own presets need 65 MiB at most.
_MOST_MEMORY = 1 << 29
# How much is unpacked before damage: a few bytes of a bomb may unpack to gigabytes.
_MOST_SALVAGED = 1 << 26


class _Unpacker(Protocol):
    """What bz2, lzma and zstd have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gunzip:
    """zlib's decompressor with the interface of the others."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(_GZIP_WBITS)

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflater.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inflater.decompress(self._inflater.unconsumed_tail + data, max(max_length, 0))


class Format(NamedTuple):
    """A way to compress; `make` is None where it cannot be read."""

    name: str
    make: Callable[[], _Unpacker] | None


def _zstd() -> ModuleType:
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return importlib.import_module("backports.zstd")


def _unzstd() -> _Unpacker:
    unpacker: _Unpacker = _zstd().ZstdDecompressor()
    return unpacker


_MAGICS: dict[bytes, Format] = {
    b"\x1f\x8b": Format("gzip", _Gunzip),
    b"BZh": Format("bzip2", bz2.BZ2Decompressor),
    b"\xfd7zXZ\0": Format("xz", lambda: lzma.LZMADecompressor(memlimit=_MOST_MEMORY)),
    # lzma has no magic: its usual properties, then a dictionary size of whole 64 KiB. No accounting
    # record begins so.
    b"\x5d\0\0": Format(
        "lzma", lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MOST_MEMORY)
    ),
    b"\x28\xb5\x2f\xfd": Format("zstd", _unzstd),
    b"\x04\x22\x4d\x18": Format("lz4", None),
    b"\x1f\x9d": Format("compress", None),
    b"LZIP": Format("lzip", None),
    b"\x89LZO": Format("lzop", None),
    b"PK\x03\x04": Format("zip", None),
    b"7z\xbc\xaf\x27\x1c": Format("7z", None),
}
SUFFIXES = ("gz", "bz2", "xz", "lzma", "zst", "lz4", "lz", "lzo", "Z", "zip", "7z")
MAGIC = max(map(len, _MAGICS))
"""How many bytes at the start show the format."""


def format_of(start: bytes) -> Format | None:
    """How a file is compressed that begins with these bytes; None if it is not."""
    return next((found for magic, found in _MAGICS.items() if start.startswith(magic)), None)


class Unpacked:
    """The content of a compressed file, read forward; going backwards starts over.

    Keeps the piece read last, so that reading on from a little before its end, as resynchronising
    does, needs no new start.
    """

    def __init__(self, path: Path, read: Callable[[int, int], bytes], how: Format) -> None:
        """`read` gives bytes of the file: so many, from a position on. DataError for a format that
        cannot be read.
        """
        self._path, self._read, self._name = path, read, how.name
        self._errors: tuple[type[Exception], ...] = (zlib.error, lzma.LZMAError, OSError, EOFError)
        if how.make is None:
            raise DataError(
                f"{path}: compressed with {how.name}, which is not read here; unpack it, or"
                " compress it with gzip, xz or zstd"
            )
        self._make = how.make
        if how.name == "zstd":
            try:
                self._errors += (_zstd().ZstdError,)
            except ImportError:
                words = (
                    "compressed with zstd, which this Python cannot read; unpack it (zstd -d), or"
                    " pip install backports.zstd"
                )
                raise DataError(f"{path}: {words}") from None
        self._restart()

    def _restart(self) -> None:
        self._offset = 0  # in the compressed file: what comes next
        self._fed_at = 0  # ... where the piece begins that was given to the unpacker last
        self._member_at = 0  # ... where the member begins that is being unpacked
        self._given = 0  # bytes of its content so far
        self._start = 0  # of `window`, in the content
        self.window = b""
        self._unpacker: _Unpacker | None = None
        self._pending = b""  # read, not given to the unpacker yet
        self._failure: str | None = None

    def read(self, position: int, size: int) -> bytes:
        """Content from a position on; DataError when there is nothing more from there because of
        damage.
        """
        if position < self._start:
            self._restart()
        while self._start + len(self.window) < position + size:
            more = self._unpack()
            if not more:
                break
            drop = min(max(0, position - KEPT - self._start), len(self.window))
            self.window = self.window[drop:] + more
            self._start += drop
        begin = position - self._start
        data = self.window[begin : begin + size]
        if not data and size and self._failure:
            raise DataError(f"{self._path}: damaged {self._name} file: {self._failure}")
        return data

    def _unpack(self) -> bytes:
        """The next piece of content, at most CHUNK bytes; nothing at the end or at the damage,
        which `_failure` then tells.
        """
        while self._failure is None:
            if (
                not self._pending
                and (self._unpacker is None or self._unpacker.needs_input)
                and not self._refill()
            ):
                if self._unpacker is not None:
                    self._failure = "it ends in the middle"
                return b""
            if self._unpacker is None:
                self._pending = self._pending.lstrip(b"\0")  # padding between members is allowed
                if not self._pending:
                    continue
                self._unpacker, self._given = self._make(), 0
                self._member_at = self._fed_at = self._offset - len(self._pending)
            try:
                data = self._feed(self._unpacker)
            except self._errors as error:
                self._failure = str(error)
                return self._up_to_damage()
            self._given += len(data)
            if self._unpacker.eof:  # another member may follow
                self._pending, self._unpacker = self._unpacker.unused_data, None
            if data:
                return data
        return b""

    def _feed(self, unpacker: _Unpacker) -> bytes:
        if self._pending:
            self._fed_at = self._offset - len(self._pending)
        packed, self._pending = self._pending, b""
        return unpacker.decompress(packed, CHUNK)

    def _refill(self) -> bool:
        self._pending = self._read(self._offset, CHUNK)
        self._offset += len(self._pending)
        return bool(self._pending)

    def _up_to_damage(self) -> bytes:
        """The content before the damage. One bad byte makes the decompressor discard all that it
        unpacked in one call, so these bytes are fed again one by one.
        """
        unpacker, data, passed = self._make(), bytearray(), 0
        try:
            for position in range(self._member_at, self._fed_at, CHUNK):
                packed = self._read(position, min(CHUNK, self._fed_at - position))
                while packed or not unpacker.needs_input:
                    passed += len(unpacker.decompress(packed, CHUNK))
                    packed = b""
            for byte in self._read(self._fed_at, self._offset - self._fed_at):
                data += unpacker.decompress(bytes((byte,)))
                if len(data) > _MOST_SALVAGED:
                    break
        except self._errors:
            pass
        return bytes(data[self._given - passed :])
