"""Accounting files as bytes: opens plain and compressed ones, reads from a position, recognises a
file, and finds rotated files.

Rotation renames a file, compresses it and uses its inode number again the next day, so neither name
nor inode number identifies a file. Its bytes do: accounting files only grow, so the first record
and the bytes before the position where reading stopped do not change.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from elsa.errors import DataError, ElsaError, InputMissingError, PrivilegeError, RetryError
from elsa.kernel import unpack
from elsa.kernel.unpack import Unpacked

CHUNK = 1 << 16
"""Bytes per read: 1,024 records. Decoding larger chunks is slower, as they do not fit the
processor's cache.
"""
MARK = unpack.KEPT
"""How many bytes at the start and before the resume point identify a file: a record each."""


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
    """An open accounting file; a compressed one reads like a plain one, only that going backwards
    starts over.

    It may grow while it is read. Positions are offsets in the content, uncompressed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._descriptor = _open_regular(self.path)
        try:
            how = unpack.format_of(self._pread(unpack.MAGIC, 0))
            self._unpacked = (
                Unpacked(self.path, lambda position, size: self._pread(size, position), how)
                if how is not None
                else None
            )
        except ElsaError:
            self.close()
            raise

    @property
    def compressed(self) -> bool:
        """Whether the file is compressed, by its content and not by its name."""
        return self._unpacked is not None

    def status(self) -> os.stat_result:
        """The file as it is now, wherever its name is gone."""
        try:
            return os.fstat(self._descriptor)
        except OSError as error:
            raise translated(error, self.path) from None

    def identity(self) -> FileIdentity:
        """Name, inode and first record, as they are now."""
        status = self.status()
        return FileIdentity(
            self.path, status.st_dev, status.st_ino, status.st_size, self.read(0, MARK)
        )

    def read(self, position: int, size: int = CHUNK) -> bytes:
        """Bytes from a position on: `size` of them if there are, fewer at the end, none after it
        (so also if the file was truncated).

        Of a damaged compressed file everything readable comes first; DataError when there is
        nothing more from this position.
        """
        if self._unpacked is not None:
            return self._unpacked.read(position, size)
        return self._pread(size, position)

    def chunks(self, position: int = 0) -> Iterator[tuple[int, bytes]]:
        """Position and bytes, piece by piece, from a position to the end as it is when it is
        reached.
        """
        while data := self.read(position):
            yield position, data
            position += len(data)

    def before(self, position: int) -> bytes:
        """The last MARK bytes before a position: the tail to be stored with it. Fewer if the file
        does not reach that far.
        """
        start = max(0, position - MARK)
        return self.read(start, position - start)

    def matches(self, head: bytes, tail: bytes, position: int) -> bool:
        """Whether this is the file that started with `head` and had `tail` just before `position`.

        Never for an empty head, which proves nothing. Cheap for a plain file; a compressed file is
        unpacked up to `position` if its head matches, and reading then goes on from there.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _open_regular(path: Path) -> int:
    """A descriptor to read a regular file; anything else is refused, and opening a FIFO must not
    wait for its writer.
    """
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
    """A rotated file, and its age by its name: a number that is larger for older files, or the date
    of the rotation.
    """

    path: Path
    number: int | None
    date: str
    modified_ns: int


class Siblings(NamedTuple):
    """The files beside an accounting file."""

    rotated: list[Path]
    """Its rotated files, by their names, oldest first."""
    others: list[Path]
    """Files whose names start with its own and do not look like names of rotated files."""


_PACKED = rf"(?:\.(?:{'|'.join(unpack.SUFFIXES)}))?"
# savelog and logrotate leave numbers and dates, people "old" and the like; a date may have hyphens,
# a time or a serial number behind it.
_ENDING = re.compile(
    r"(?:\.(?P<number>\d{1,4})"
    r"|[-._](?P<date>\d{4}-?\d\d-?\d\d(?:[-_.T]?[\d:.-]*\d)?)"
    r"|[-._](?:\d+|old|bak|prev|last|orig|save)|)"
    rf"(?P<packed>{_PACKED})"
)


def siblings(live: str | os.PathLike[str]) -> Siblings:
    """The files beside an accounting file: NAME.N, NAME-DATE, NAME.old and the like, all of them
    compressed or not, and others.

    Ordered by what the names tell; where numbers and dates are mixed, by time of last change; the
    plain form of a file before the compressed one. No such directory: no siblings.
    """
    live = Path(live)
    entries: list[_Rotated] = []
    others: list[Path] = []
    try:
        # Sorted, so that the plain name comes before the compressed one
        names = sorted(path.name for path in live.parent.iterdir())
    except FileNotFoundError:
        return Siblings([], [])
    except OSError as error:
        raise translated(error, live.parent) from None
    for name in names:
        ending = name.removeprefix(live.name)
        if len(ending) == len(name) or ending[:1] not in (".", "-", "_", "~"):
            continue
        match, modified_ns = _ENDING.fullmatch(ending), _modified_ns(live.with_name(name))
        if modified_ns is None:
            continue
        if match is None:
            others.append(live.with_name(name))
            continue
        number = None if match["number"] is None else int(match["number"])
        entries.append(
            _Rotated(
                live.with_name(name),
                number,
                re.sub(r"^(\d{4})-(\d\d)-(\d\d)", r"\1\2\3", match["date"] or ""),
                modified_ns,
            )
        )
    entries.sort(key=lambda entry: entry.modified_ns)
    if all(entry.number is not None for entry in entries):
        entries.sort(key=lambda entry: entry.number or 0, reverse=True)
    elif all(entry.date for entry in entries):
        entries.sort(key=lambda entry: entry.date)
    return Siblings([entry.path for entry in entries], others)


def unpacked_name(path: Path) -> Path:
    """The name of a file before it was compressed: without the ending that a compressor adds."""
    return path.with_suffix("") if path.suffix[1:] in unpack.SUFFIXES else path


def holds(whole: AcctFile, part: AcctFile) -> bool:
    """Whether a file begins with all that can be read of another one, which is then its copy as
    far as it goes; DataError if the other one is damaged behind that.
    """
    return all(whole.read(position, len(data)) == data for position, data in part.chunks())


def rotated(live: str | os.PathLike[str]) -> list[Path]:
    """The rotated files of an accounting file, by their names, oldest first."""
    return siblings(live).rotated


def _modified_ns(path: Path) -> int | None:
    """When a regular file was changed last; None for anything else, and for a file that was renamed
    meanwhile.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns if stat.S_ISREG(status.st_mode) else None
