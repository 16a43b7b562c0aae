"""Accounting files as bytes: opening them plain or gzipped, reading from a position, knowing a file again, finding the rotated ones.

Rotation renames a file, compresses it and uses its inode number again the next day, so neither name nor inode number says which file this
is. Its bytes do: accounting files only grow, so the first record and the bytes before the place where reading stopped stay as they are.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from elsa.errors import DataError, ElsaError, InputMissingError, PrivilegeError, RetryError

CHUNK = 1 << 16
"""Bytes per read: 1,024 records. Decoding larger pieces is slower, as they no longer fit the processor's cache."""
MARK = 64
"""Bytes that a file is known again by, at its start and before the resume point: one record each."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 16 + zlib.MAX_WBITS  # zlib's way to say: with a gzip header and trailer


class FileIdentity(NamedTuple):
    """What is known of a file before any record of it is decoded."""

    path: Path
    device: int
    inode: int
    size: int
    """Bytes on disk, compressed where the file is."""
    head: bytes
    """The first MARK bytes of its content; fewer if it has no more."""


class AcctFile:
    """An open accounting file; a gzipped one reads like a plain one, only that going backwards starts over.

    It may grow while it is read. Positions are offsets in the content, uncompressed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._descriptor = _open_regular(self.path)
        try:
            compressed = self._pread(len(_GZIP_MAGIC), 0) == _GZIP_MAGIC
        except ElsaError:
            self.close()
            raise
        self._gzip = _Gzip(self.path, self._descriptor) if compressed else None

    @property
    def compressed(self) -> bool:
        """Whether the file is gzipped, by its content and not by its name."""
        return self._gzip is not None

    def status(self) -> os.stat_result:
        """The file as it is now, wherever its name is gone."""
        try:
            return os.fstat(self._descriptor)
        except OSError as error:
            raise translated(error, self.path) from None

    def identity(self) -> FileIdentity:
        """Name, inode and first record, as they are now."""
        status = self.status()
        return FileIdentity(self.path, status.st_dev, status.st_ino, status.st_size, self.read(0, MARK))

    def read(self, position: int, size: int = CHUNK) -> bytes:
        """Bytes from a position on: `size` of them if there are, fewer at the end, none after it (so also if the file was truncated).

        Of a damaged gzip file everything readable comes first; DataError when there is nothing more from this position.
        """
        if self._gzip is not None:
            return self._gzip.read(position, size)
        return self._pread(size, position)

    def chunks(self, position: int = 0) -> Iterator[tuple[int, bytes]]:
        """Position and bytes, piece by piece, from a position to the end as it is when it is reached."""
        while data := self.read(position):
            yield position, data
            position += len(data)

    def before(self, position: int) -> bytes:
        """The last MARK bytes before a position: the tail to be stored with it. Fewer if the file does not reach that far."""
        start = max(0, position - MARK)
        return self.read(start, position - start)

    def matches(self, head: bytes, tail: bytes, position: int) -> bool:
        """Whether this is the file that began with head and had tail just before position.

        Never for an empty head, which proves nothing. Cheap on a plain file; a gzipped one is decompressed up to position,
        but only when its head is right, and reading then goes on from there.
        """
        return bool(head) and self.read(0, len(head)) == head and self.before(position) == tail

    def _pread(self, size: int, position: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, position)
        except OSError as error:
            raise translated(error, self.path) from None

    def close(self) -> None:
        """Close the file; once is enough, twice does no harm."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Gzip:
    """The content of a gzip file, read forward in bounded memory.

    Keeps the piece read last, so that reading on from a little before its end, as resynchronising does, needs no new start.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._restart()

    def _restart(self) -> None:
        self._offset = 0  # in the compressed file
        self._start = 0  # of `_window`, in the content
        self._window = b""
        self._inflater: zlib._Decompress | None = None
        self._pending = b""  # compressed, not inflated yet
        self._failure: str | None = None

    def read(self, position: int, size: int) -> bytes:
        if position < self._start:
            self._restart()
        while self._start + len(self._window) < position + size:
            more = self._inflate()
            if not more:
                break
            drop = min(max(0, position - MARK - self._start), len(self._window))
            self._window = self._window[drop:] + more
            self._start += drop
        begin = position - self._start
        data = self._window[begin : begin + size]
        if not data and size and self._failure:
            raise DataError(f"{self._path}: damaged gzip file: {self._failure}")
        return data

    def _inflate(self) -> bytes:
        """The next piece of content, at most CHUNK bytes; nothing at the end or at the damage, which `_failure` then tells."""
        while self._failure is None:
            if not self._pending and not self._refill():
                if self._inflater is not None:
                    self._failure = "it ends in the middle"
                return b""
            if self._inflater is None:
                self._pending = self._pending.lstrip(b"\0")  # padding between members is allowed
                if not self._pending:
                    continue
                self._inflater = zlib.decompressobj(_GZIP_WBITS)
            before = self._inflater.copy()
            try:
                data = self._inflater.decompress(self._pending, CHUNK)
            except zlib.error as error:
                self._failure = str(error)
                return _up_to_damage(before, self._pending)
            self._pending = self._inflater.unconsumed_tail or self._inflater.unused_data
            if self._inflater.eof:
                self._inflater = None  # another member may follow
            if data:
                return data
        return b""

    def _refill(self) -> bool:
        try:
            self._pending = os.pread(self._descriptor, CHUNK, self._offset)
        except OSError as error:
            raise translated(error, self._path) from None
        self._offset += len(self._pending)
        return bool(self._pending)


def _up_to_damage(inflater: zlib._Decompress, compressed: bytes) -> bytes:
    """What can be had of a piece that zlib refuses as a whole: it gives up all of its output for one bad byte, so it gets them singly."""
    data = bytearray()
    with suppress(zlib.error):
        for byte in compressed:
            data += inflater.decompress(bytes((byte,)))
    return bytes(data)


def _open_regular(path: Path) -> int:
    """A descriptor to read a regular file; anything else is refused, and opening a FIFO must not wait for its writer."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise translated(error, path) from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
    raise DataError(f"{path}: is {kind}, where an accounting file is needed")


def translated(error: OSError, path: Path) -> ElsaError:
    """Our error for what the kernel said about a file."""
    if isinstance(error, PermissionError):
        return PrivilegeError(f"{path}: may not be read by this user; root and group adm may")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return InputMissingError(f"{path}: no such file")
    if error.errno == errno.EIO:
        return RetryError(f"{path}: the disk reports an error ({error.strerror})")
    return DataError(f"{path}: {error.strerror or error}")


class _Rotated(NamedTuple):
    """A rotated file and what its name tells of its age: a number that grows as it gets older, or the date of the rotation."""

    path: Path
    number: int | None
    date: str
    modified_ns: int


def rotated(live: str | os.PathLike[str]) -> list[Path]:
    """The rotated siblings of an accounting file, oldest first: NAME.N, NAME-YYYYMMDD (with hour or serial) and both with .gz.

    Ordered by what the names tell; where numbers and dates are mixed, by time of last change. While gzip is at work both forms are
    there: the plain one is the whole one. No such directory: no siblings.
    """
    live = Path(live)
    pattern = re.compile(rf"{re.escape(live.name)}(?:\.(?P<number>\d+)|-(?P<date>\d{{8}}(?:[-_.]?\d+)?))(?:\.gz)?")
    found: dict[str, _Rotated] = {}
    try:
        # Sorted, so that the plain name comes before the one with .gz
        for name in sorted(path.name for path in live.parent.iterdir()):
            match = pattern.fullmatch(name)
            if match and (entry := _rotated(live.with_name(name), match)):
                found.setdefault(name.removesuffix(".gz"), entry)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise translated(error, live.parent) from None
    entries = sorted(found.values(), key=lambda entry: entry.modified_ns)
    if all(entry.number is not None for entry in entries):
        entries.sort(key=lambda entry: entry.number or 0, reverse=True)
    elif all(entry.date for entry in entries):
        entries.sort(key=lambda entry: entry.date)
    return [entry.path for entry in entries]


def _rotated(path: Path, match: re.Match[str]) -> _Rotated | None:
    try:
        status = path.stat()
    except OSError:
        return None  # rotated on, between the listing and now: it will be found under its new name
    if not stat.S_ISREG(status.st_mode):
        return None
    number, date = match["number"], match["date"]
    return _Rotated(path, None if number is None else int(number), date or "", status.st_mtime_ns)
