"""`make soak MINUTES=n`: storms, rotations, restarts, kills and reports all at once; at the end the books must balance. Needs root.

Every storm knows for itself how many processes it started; the accounting files are counted without ELSA. Exit code 1 if anything is off.

One minute on 2 cores, Linux 6.18 (2026-11):

    15 storms, 132000 processes, 1998 per second
    6 rotations, 4 ends of jobd, 38 reports
    jobd MiB after each storm: 49 49 49 46 45 49 49 49 50 47 46 48 48 49 50
    130703 records: 98572 exact, 23197 uncertain, 8934 of processes that no event told of, 0 wrong, 0 twice, 0 missing
"""

from __future__ import annotations

import fcntl
import gzip
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from elsa.decode.acct import RECORD_SIZE, decode_record, is_self_record
from elsa.kernel import accounting
from tests.kernel.elsa_host import Host, compiled, wait_until, workload
from tests.kernel.truth import OF_THE_STORM, assert_no_record_is_joined_to_another_life

WORKERS, CHILDREN, EVERY, PAUSE_US = 2, 4000, 20, 100
REPORTS = ("jobs", "commands", "users", "processes --limit 20")
# Beyond what jobd had after the first round.
MORE_MIB = 64


class Round(NamedTuple):
    """One storm."""

    job: int
    event: str
    started: int
    codes: int
    outage: bool


class Soak:
    """Everything that goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pacct = folder / "pacct"
        self.chance = random.Random(0)  # noqa: S311 - which trouble comes next is no secret
        self.storm = compiled("storm", folder)
        accounting.switch_on(self.pacct)
        self.host = Host(folder, self.pacct)
        self.host.start()
        self.follower = self.follow()
        self.rounds: list[Round] = []
        self.reports = self.rotations = self.outages = 0
        self.memory_kib: list[int] = []
        self.events = {
            "quiet": lambda: None,
            "rotate by savelog": self.rotate_off_and_on,
            "rotate by logrotate": self.rotate_without_loss,
            "restart jobd": self.restart,
            "kill -9 jobd": self.kill,
            "kill -9 ingester": self.kill_follower,
        }

    def follow(self) -> subprocess.Popen[Any]:
        """An ingester that follows the accounting file."""
        log = (self.folder / "ingest.log").open("ab")
        with log:
            return self.host.popen("ingest", "--follow", "--quiet", "--interval", "0.2", stderr=log)

    def round(self, event: str) -> None:
        """A storm in a job of its own, some trouble in the middle of it, and reports all the time."""
        with workload(self.storm, WORKERS, CHILDREN, EVERY, PAUSE_US) as storm:
            workers = storm.line()
            job = self.host.create("soak", *workers)
            storm.go()
            time.sleep(self.chance.uniform(0, 0.5))
            self.events[event]()
            for report in itertools.cycle(REPORTS):
                self.read(report)
                if storm.has_printed():
                    break
            started, codes, _, _ = storm.line()
            storm.rest()
        wait_until("the job is empty", lambda: self.host.request("show", job=job)["living"] == 0)
        self.host.request("close", job=job)
        self.rounds.append(Round(job, event, started, codes, event.endswith("jobd")))
        self.memory_kib.append(self.host.rss_kib())

    def read(self, report: str) -> None:
        """One report, which must work whatever else goes on."""
        done = self.host.run("report", *report.split())
        assert done.returncode == 0, done.stderr
        self.reports += 1

    # --- trouble ----------------------------------------------------------------------------------------------------------------

    def rotate_off_and_on(self) -> None:
        """As Debian's savelog does: what ends in between leaves no record."""
        accounting.switch_off()
        self.shift()
        accounting.switch_on(self.pacct)

    def rotate_without_loss(self) -> None:
        """As logrotate does: the kernel writes to the renamed file until it is told the new one."""
        self.shift()
        accounting.switch_on(self.pacct)

    def shift(self) -> None:
        """Each rotated file gets the next number; from the second on they are compressed."""
        numbers = {
            int(match[1]): path for path in self.folder.glob("pacct.*") if (match := re.fullmatch(r"pacct\.(\d+)(\.gz)?", path.name))
        }
        for number, path in sorted(numbers.items(), reverse=True):
            path.rename(path.with_name(f"pacct.{number + 1}{path.suffix if path.suffix == '.gz' else ''}"))
        self.pacct.rename(self.folder / "pacct.1")
        plain = self.folder / "pacct.2"
        if plain.exists():
            with plain.open("rb") as source, gzip.open(f"{plain}.gz", "wb") as target:
                shutil.copyfileobj(source, target)
            plain.unlink()
        self.rotations += 1

    def restart(self) -> None:
        """End jobd in peace and start it again."""
        assert self.host.stop() == 0
        self.host.start()
        self.outages += 1

    def kill(self) -> None:
        """Let jobd die and start it again."""
        self.host.kill()
        self.host.start()
        self.outages += 1

    def kill_follower(self) -> None:
        """Let the ingester die and start it again."""
        self.follower.kill()
        self.follower.wait()
        self.follower = self.follow()

    # --- the end ----------------------------------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Compare with what the storms and the files say."""
        host = self.host
        self.follower.send_signal(signal.SIGTERM)
        assert self.follower.wait(60) == 0
        accounting.switch_off()  # so that the files stand still
        host.ingest_all()
        host.assert_sound()
        assert_no_record_is_joined_to_another_life(host)
        for one in self.rounds:
            self.check(one)
        assert dict(host.sql("select kind, count(*) from gap group by kind")) == ({"down": self.outages} if self.outages else {})
        read = sum(1 for record in self.all_records() if not is_self_record(record))
        counted = host.value("select in_all from reconciliation where measure = 'records'")
        assert counted == read, f"{read} records in the files, {counted} in the warehouse"
        first, last = self.memory_kib[0] >> 10, self.memory_kib[-1] >> 10
        assert last <= first + MORE_MIB, f"jobd has grown from {first} to {last} MiB"

    def check(self, one: Round) -> None:
        """The job of a storm holds all of it; after an outage but for what cannot be known of processes left to init."""
        count, codes = self.host.sql(
            f"""select count(*), sum(exit_status >> 8) from job_process_usage
                where job_id = ? and (command {OF_THE_STORM} or command is null)""",
            one.job,
        )[0]
        if not one.outage:
            assert (count, codes) == (one.started, one.codes), one
        else:
            orphans = WORKERS * CHILDREN // EVERY
            assert one.started - orphans <= count <= one.started, (count, one)

    def all_records(self) -> Iterator[Any]:
        """The records of every file there is."""
        for path in self.folder.glob("pacct*"):
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            for offset in range(0, len(data) - RECORD_SIZE + 1, RECORD_SIZE):
                yield decode_record(data, offset)

    def tell(self, seconds: float) -> None:
        """Print what was done and how the books stand."""
        started = sum(one.started for one in self.rounds)
        rows = self.host.sql("select join_how, count(*) from acct group by 1 order by 1")
        print(f"{len(self.rounds)} storms, {started} processes, {started / seconds:.0f} per second")
        print(f"{self.rotations} rotations, {self.outages} ends of jobd, {self.reports} reports")
        print("records by join (exact 1, uncertain 2, self 3, own 4, ambiguous 5, pending 0):", dict(rows))
        print("jobd MiB after each storm:", " ".join(str(kib >> 10) for kib in self.memory_kib))
        for row in self.host.sql("select measure, in_all, in_jobs, in_none, difference from reconciliation"):
            print("  {:<21} {:>16} {:>16} {:>16} {:>4}".format(*("-" if value is None else value for value in row)))


@contextmanager
def accounting_restored() -> Iterator[None]:
    """The one switch of the kernel, for us alone; as it was afterwards."""
    with Path(tempfile.gettempdir(), "elsa-acct.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = accounting.canary()
        try:
            yield
        finally:
            if before is None:
                accounting.switch_off()
            else:
                accounting.switch_on(before)


def main() -> int:
    """Soak for as many minutes as asked for."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    if os.geteuid() != 0:
        print("soak needs root: it switches accounting and listens to process events", file=sys.stderr)
        return 77
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="elsa-soak-")))
        stack.enter_context(accounting_restored())
        soak = Soak(folder)
        stack.callback(soak.host.close)
        began = time.monotonic()
        try:
            for event in itertools.cycle(soak.events):
                soak.round(event)
                print(f"{time.monotonic() - began:6.0f} s  {event:<20} {soak.rounds[-1].started} processes", flush=True)
                if time.monotonic() - began > 60 * minutes:
                    break
            soak.reconcile()
        except AssertionError as error:
            print(f"OFF: {error}", file=sys.stderr)
            print(soak.host.log.read_text(errors="replace")[-2000:], file=sys.stderr)
            return 1
        finally:
            if soak.rounds:
                soak.tell(time.monotonic() - began)
    print("all is exact")
    return 0


if __name__ == "__main__":
    sys.exit(main())
