"""Which accounting files a pass of the ingester reads: the named ones, or the live file and its
rotated files, oldest first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import NamedTuple

from elsa.decode import acct, acct_search, acct_times
from elsa.errors import DataError, ElsaError, InputMissingError
from elsa.kernel import acct_file
from elsa.kernel.acct_file import AcctFile

# How long a removed file that does not grow is kept open.
KEPT_OPEN_S = 600.0
# A compressor that still runs has written to its file within this time.
COMPRESSING_S = 60.0

Unchanged = Callable[[os.stat_result], bool]
"""Whether a file was read to its end before and has not changed since."""


class Source(NamedTuple):
    """A file to be read, as it was when the pass started."""

    file: AcctFile
    size: int | None
    """Where to stop; None for a compressed file, which is read to its end."""
    disk_size: int
    modified_at_ns: int
    first_second: float
    """The second in which its first process ended or, if the clock was not set then, in which the
    file was changed last.
    """
    live: bool
    """The kernel may be writing to it: a torn record at its end may still become whole."""


@dataclass
class _Kept:
    """A file kept open while following."""

    file: AcctFile
    since_s: float
    """When it last had a name or grew."""


class Sources:
    """Finds and opens the files to be read. When files are followed, `keep_open` is called: the
    kernel goes on writing to a file that was removed.
    """

    def __init__(self, live: Path) -> None:
        self._live = live
        self._kept: dict[tuple[int, int], _Kept] | None = None
        self._copies: dict[Path, tuple[int, ...]] = {}

    def keep_open(self) -> None:
        """From now on keep live files open until `close`."""
        self._kept = {}

    def keeps_removed(self) -> bool:
        """Whether a file without a name is kept open."""
        return any(kept.file.status().st_nlink == 0 for kept in (self._kept or {}).values())

    def close(self) -> None:
        """Close all files that are kept open."""
        for kept in (self._kept or {}).values():
            kept.file.close()
        self._kept = None

    def find(
        self,
        paths: Sequence[Path],
        unchanged: Unchanged,
        opened: ExitStack,
        troubles: list[ElsaError],
    ) -> list[Source]:
        """Those of these files, or of the usual ones if none are named, that have something new.
        Errors of files that cannot be read are added to `troubles`.

        Raises InputMissingError if no file is named and there is none.
        """
        named = self._named(paths)
        sources = self._removed(named, unchanged)
        for path in named:
            try:
                if self._is_copy(path, named, unchanged):
                    continue
                source = self._open(path, unchanged, opened)
            except ElsaError as error:
                troubles.append(error)
            else:
                sources += [source] if source is not None else []
        self._keep(paths or [self._live])
        # The order in which files were written is known best from their records, not from their
        # names or times of change.
        return sorted(sources, key=lambda source: (source.live, source.first_second))

    def unread(self) -> list[Path]:
        """Accounting files beside the usual one whose names are not those of rotated files."""
        return [path for path in acct_file.siblings(self._live).others if _is_accounting(path)]

    def _named(self, paths: Sequence[Path]) -> Sequence[Path]:
        """The files to read; none, if the only one was removed and is kept open here."""
        named = list(paths) or acct_file.rotated(self._live)
        if not paths and self._live.exists():
            named.append(self._live)
        if not named and not self._kept:
            raise InputMissingError(
                f"{self._live}: no such file; switch accounting on (accton {self._live}), or name"
                " the file"
            )
        return named

    def _is_copy(self, path: Path, named: Sequence[Path], unchanged: Unchanged) -> bool:
        """Whether the plain form of a compressed file is read, too, and holds all of its records.
        Both exist while a compressor runs; what it has written so far is not a damaged file.
        """
        plain = acct_file.unpacked_name(path)
        if plain == path or plain not in named:
            return False
        with suppress(ElsaError), AcctFile(path) as part, AcctFile(plain) as whole:
            status = part.status()
            if unchanged(status) or whole.compressed:
                return False
            versions = (*_version(status), *_version(whole.status()))
            if self._copies.get(path) == versions:
                return True
            try:
                same = acct_file.holds(whole, part)
            except DataError:  # damaged, or not finished yet
                return abs(time.time() - status.st_mtime) < COMPRESSING_S
            if same:
                self._copies[path] = versions
            return same
        return False

    def _keep(self, live: Sequence[Path]) -> None:
        """Keep files open to which the kernel may go on writing after they are removed."""
        if self._kept is None:
            return
        for path in live:
            with suppress(ElsaError):
                file = AcctFile(path)
                status = file.status()
                if file.compressed or (status.st_dev, status.st_ino) in self._kept:
                    file.close()
                else:
                    self._kept[status.st_dev, status.st_ino] = _Kept(file, time.monotonic())

    def _removed(self, named: Sequence[Path], unchanged: Unchanged) -> list[Source]:
        """Files that have no name any more and have grown. A file that has not grown for long is
        closed, so that its space becomes free.
        """
        with_names = set()
        for path in named:
            with suppress(OSError):
                with_names.add((path.stat().st_dev, path.stat().st_ino))
        sources = []
        for key, kept in list((self._kept or {}).items()):
            status = kept.file.status()
            size = status.st_size
            if key in with_names:
                kept.since_s = time.monotonic()
            elif not unchanged(status) and size:
                kept.since_s = time.monotonic()
                sources.append(Source(kept.file, size, size, status.st_mtime_ns, inf, live=True))
            elif time.monotonic() - kept.since_s > KEPT_OPEN_S and self._kept is not None:
                kept.file.close()
                del self._kept[key]
        return sources

    def _open(self, path: Path, unchanged: Unchanged, opened: ExitStack) -> Source | None:
        """Open a file unless it has nothing new."""
        try:
            status = path.stat()
        except OSError as error:
            raise acct_file.translated(error, path) from None
        if unchanged(status):
            return None
        file = opened.enter_context(AcctFile(path))
        if acct_search.content(file.read, str(path)) is acct_search.Content.EMPTY:
            return None
        status = file.status()  # of the opened file: the path may name another file by now
        size = None if file.compressed else status.st_size
        first_second = _first_second(file, status)
        live = not file.compressed and self._is_live(status)
        return Source(file, size, status.st_size, status.st_mtime_ns, first_second, live)

    def _is_live(self, status: os.stat_result) -> bool:
        try:
            live = self._live.stat()
        except OSError:
            return False
        return (live.st_dev, live.st_ino) == (status.st_dev, status.st_ino)


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _first_second(file: AcctFile, status: os.stat_result) -> float:
    head = file.read(0, acct.RECORD_SIZE)
    second = acct_times.exit_second(acct.decode_record(head)) if acct_search.plausible(head) else 0
    return second if second >= acct_times.CLOCK_SET else status.st_mtime_ns / 1e9


def _is_accounting(path: Path) -> bool:
    try:
        with AcctFile(path) as file:
            return acct_search.content(file.read, str(path)) is not acct_search.Content.EMPTY
    except ElsaError:
        return False
