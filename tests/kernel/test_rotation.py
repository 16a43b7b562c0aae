"""However the accounting file is rotated while the kernel writes: the warehouse holds what
dump-acct finds in the files themselves.
"""

from __future__ import annotations

import gzip
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from elsa.kernel import accounting as kernel
from elsa.kernel.acct_file import rotated
from tests.support.elsa_host import Host, wait_until, workload
from tests.support.peers import theirs

pytestmark = pytest.mark.peers
STORM = re.compile(rb"\d[-.+]\d")


class Rotation:
    """Rotates the live file in every way there is; what the kernel wrote is put by, for dump-acct,
    when it has left a file.
    """

    def __init__(self, live: Path, folder: Path, storm: int) -> None:
        self.live, self.folder, self.storm, self.kept = live, folder, storm, 0
        self.follower: int | None = None
        folder.mkdir()

    def keep(self, source: Path) -> None:
        self.kept += 1
        shutil.copyfile(source, self.folder / f"{self.kept:03}")

    def shift(self) -> None:
        """From pacct to .0, .0 to .1.gz, .1.gz to .2.gz and so on: names and inode numbers are used
        again and again.
        """
        for path in rotated(self.live):
            number = int(path.name.split(".")[1]) + 1
            if path.suffix == ".gz":
                path.rename(self.live.with_name(f"pacct.{number}.gz"))
            else:
                with (
                    path.open("rb") as source,
                    gzip.open(self.live.with_name(f"pacct.{number}.gz"), "wb") as target,
                ):
                    shutil.copyfileobj(source, target)
                path.unlink()

    def savelog(self) -> None:
        """What ends while accounting is off leaves no record."""
        self.shift()
        self.live.rename(self.live.with_name("pacct.0"))
        kernel.switch_off()
        self.keep(self.live.with_name("pacct.0"))
        kernel.switch_on(self.live)

    def logrotate(self) -> None:
        """The kernel writes to the renamed file until accounting is switched to the new one."""
        self.shift()
        self.live.rename(self.live.with_name("pacct.0"))
        time.sleep(0.05)
        kernel.switch_on(self.live)
        self.keep(self.live.with_name("pacct.0"))

    def logrotate_and_compress(self) -> None:
        """Twice at once: the end of the first is there as gzip only, before anybody can have read
        it.
        """
        self.logrotate()
        self.logrotate()

    def copytruncate(self) -> None:
        """The storm pauses, since the records written between copy and truncation are lost."""
        os.killpg(self.storm, signal.SIGSTOP)
        time.sleep(0.05)
        self.shift()
        self.keep(self.live)
        shutil.copyfile(self.live, self.live.with_name("pacct.0"))
        os.truncate(self.live, 0)
        os.killpg(self.storm, signal.SIGCONT)

    def deletion(self) -> None:
        """The kernel writes on into a file without a name; who follows has it open, if it was there
        for long enough to be seen.
        """
        wait_until("the ingester has opened it", self.is_followed)
        time.sleep(0.1)
        with self.live.open("rb") as file:
            self.live.unlink()
            time.sleep(0.05)
            kernel.switch_on(self.live)
            self.keep(Path(f"/proc/self/fd/{file.fileno()}"))

    def is_followed(self) -> bool:
        """Whether the ingester has the live file open."""
        assert self.follower is not None
        live = self.live.stat()
        with suppress(FileNotFoundError):  # one that it has just closed
            return any(
                os.path.samestat(one.stat(), live)
                for one in Path(f"/proc/{self.follower}/fd").iterdir()
            )
        return False


def storms_records(lines: bytes) -> list[bytes]:
    return [line for line in lines.splitlines() if STORM.match(line)]


def assert_the_same(host: Host, rotation: Rotation) -> None:
    """The records of the storm, as lines, in the warehouse and in the files that were put by."""
    kernel.switch_off()
    rotation.keep(rotation.live)
    raw = storms_records(
        b"".join(theirs("dump-acct", [str(path)]) for path in sorted(rotation.folder.iterdir()))
    )
    host.ingest_all()
    ours = host.run("report", "dump-acct", errors="surrogateescape", encoding="utf-8")
    assert sorted(storms_records(os.fsencode(ours.stdout))) == sorted(raw)
    assert len(raw) > 1000
    assert host.sql("select count(*) from acct where join_outcome not in (1, 3, 4)") == [(0,)]
    host.assert_sound()


@pytest.mark.parametrize("following", [True, False], ids=["following", "as cron"])
def test_the_warehouse_holds_what_dump_acct_finds(
    host: Host, native: Callable[[str], Path], tmp_path: Path, following: bool
) -> None:
    host.start()
    chance = random.Random(1)
    with workload(native("storm"), 1, 200_000, 20, 500, process_group=0) as storm:
        storm.line()
        rotation = Rotation(host.pacct, tmp_path / "kept", storm.pid)
        ways = [
            rotation.savelog,
            rotation.logrotate,
            rotation.logrotate_and_compress,
            rotation.copytruncate,
        ]
        if following:  # else nobody has it open when its name goes
            ways.append(rotation.deletion)
            follower = host.popen(
                "ingest", "--follow", "--quiet", "--interval", "0.05", stdout=subprocess.DEVNULL
            )
            rotation.follower = follower.pid
        storm.go()
        for way in chance.sample(ways * 3, len(ways) * 3):
            time.sleep(chance.uniform(0.0, 0.3))
            way()
            if not following and chance.random() < 0.5:
                host.ingest()
        assert not storm.has_printed()  # there was something to lose all the time
        os.killpg(storm.pid, signal.SIGKILL)
        if following:
            follower.send_signal(signal.SIGTERM)
            assert follower.wait(60) == 0
        assert_the_same(host, rotation)
