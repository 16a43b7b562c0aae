"""However a file grows, is rotated and copied, in whatever order and damaged on the way: each
record is read exactly once.
"""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from elsa.config import Config
from elsa.ingest.ingester import Ingester
from elsa.kernel.procfs import Procfs

LAYOUT = struct.Struct("<2BH6If8H16s")
NOW = 1_700_000_000


class Disk:
    """A folder with an accounting file that only this class writes, and the warehouse that it is
    read into.
    """

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder, self.live, self.written, self.copies = folder, folder / "pacct", 0, 0
        shutil.copy(template, folder / "elsa.db")
        self.live.touch()

    def grow(self, path: Path | None = None, count: int = 20) -> None:
        with (path or self.live).open("ab") as file:
            for number in range(self.written, self.written + count):
                file.write(
                    LAYOUT.pack(
                        0,
                        3,
                        0,
                        0,
                        0,
                        0,
                        1000 + number,
                        1,
                        NOW + number // 7,
                        5.0,
                        1,
                        1,
                        9,
                        0,
                        0,
                        10,
                        0,
                        0,
                        b"work",
                    )
                )
        self.written += count

    def shift(self) -> None:
        """As savelog: .0 is compressed and becomes .1.gz."""
        numbered = sorted(
            self.folder.glob("pacct.*.gz"), key=lambda path: -int(path.suffixes[-2][1:])
        )
        for path in numbered:
            path.rename(self.folder / f"pacct.{int(path.suffixes[-2][1:]) + 1}.gz")
        first = self.folder / "pacct.0"
        if first.exists():
            (self.folder / "pacct.1.gz").write_bytes(gzip.compress(first.read_bytes()))
            first.unlink()

    def rename(self) -> None:
        self.shift()
        self.live.rename(self.folder / "pacct.0")
        self.grow(self.folder / "pacct.0", 3)  # until accounting is switched to the new one
        self.live.touch()

    def copytruncate(self) -> None:
        self.shift()
        shutil.copyfile(self.live, self.folder / "pacct.0")
        os.truncate(self.live, 0)

    def read(self, *paths: Path) -> None:
        config = Config(
            db=self.folder / "elsa.db", socket=self.folder / "sock", acct_file=self.live
        )
        Ingester(config, Procfs(), host="test").run_once(paths)

    def read_copy(self, cut: int, hole: int) -> None:
        """A copy of what is there now, cut short, and with a hole that spares no record that it
        touches.
        """
        self.read()
        data = self.live.read_bytes()
        data = data[: len(data) - cut % (len(data) // 2 + 1)]
        if len(data) > 400:
            start = hole % (len(data) - 300)
            data = data[:start] + b"\xff" * 200 + data[start + 200 :]
        if len(data) >= 192:
            self.copies += 1
            copy = self.folder / f"copy{self.copies}"
            copy.write_bytes(gzip.compress(data) if hole % 2 else data)
            self.read(copy)

    def numbers(self) -> Iterator[int]:
        with closing(sqlite3.connect(self.folder / "elsa.db")) as connection:
            yield from (
                pid - 1000 for (pid,) in connection.execute("select pid from acct order by pid")
            )


STEPS = st.one_of(
    st.sampled_from(["grow", "rename", "copytruncate", "read"]),
    st.tuples(st.integers(0, 5000), st.integers(0, 5000)),
)


@settings(max_examples=30)
@given(st.lists(STEPS, max_size=10))
@example([(1, 0), (0, 0)])  # a copy with a damaged first record is completed
def test_every_record_is_read_exactly_once(
    template: Path, steps: list[str | tuple[int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        disk = Disk(Path(folder), template)
        disk.grow()
        for step in steps:
            if isinstance(step, tuple):
                disk.read_copy(*step)
            else:
                getattr(disk, step)()
        disk.read()
        assert list(disk.numbers()) == list(range(disk.written))
