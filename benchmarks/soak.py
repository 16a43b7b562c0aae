"""`make soak MINUTES=n`: storms beside hostile users, rotations, restarts, kills, reports; at the
end the books must balance. Needs root.

Every storm knows for itself how many processes it started; the accounting files are counted without
ELSA. Beside them two users without privileges do whatever they may (benchmarks/hostile.py), and a
third asks `status` twice a second: no answer may take longer than a second. Exit code 1 if anything
is off. docs/reliability.md has what came out.
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
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.hostile import Asker, end, let_loose
from elsa.decode.acct import RECORD_SIZE, AcctRecord, AcctRow, decode_rows
from elsa.kernel import accounting
from tests.support.elsa_host import Host, compiled, wait_until, workload
from tests.support.truth import OF_THE_STORM, assert_no_record_is_joined_to_another_life

WORKERS, CHILDREN, EVERY, PAUSE_US = 2, 1500, 20, 100
REPORTS = ("job {}", "commands", "users", "processes --limit 20")
# Beyond what jobd had after the first round.
MORE_MIB = 64
LONGEST_ANSWER_S = 1.0
_UNIT = Path(__file__).resolve().parent.parent / "packaging/elsa-jobd.service"
NICE = int(re.search(r"^Nice=(-?\d+)$", _UNIT.read_text(), re.MULTILINE)[1])  # type: ignore[index]
# A dozen others want the processors.
SLOWEST_REPORT_S = 600.0


class Round(NamedTuple):
    """One storm."""

    job: int
    event: str
    started: int
    codes: int
    span: tuple[int, int]
    """Monotonic times, from before its first process to after its last."""


class Soak:
    """Everything that goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pacct = folder / "pacct"
        self.chance = random.Random(0)  # noqa: S311 - which trouble comes next is no secret
        self.storm = compiled("storm", folder)
        accounting.switch_on(self.pacct)
        self.host = Host(folder, self.pacct)
        self.start()
        self.follower = self.follow()
        self.asker = Asker(self.host.socket)
        self.others = [*let_loose(self.host.socket, self.storm), self.asker.pid]
        self.rounds: list[Round] = []
        self.reports = self.rotations = self.outages = 0
        self.lost = self.doubled = self.cut_off = -1  # not known yet
        self.memory_kib: list[int] = []
        self.events = {
            "quiet": lambda: None,
            "rotate by savelog": self.rotate_off_and_on,
            "rotate by logrotate": self.rotate_without_loss,
            "rotate by copytruncate": self.rotate_by_copy,
            "restart jobd": self.restart,
            "kill -9 jobd": self.kill,
            "kill -9 ingester": self.kill_follower,
        }

    def start(self) -> None:
        """A jobd of the priority that the packaged one has."""
        with urgent():
            self.host.start()

    def follow(self) -> subprocess.Popen[Any]:
        """An ingester that follows the accounting file."""
        log = (self.folder / "ingest.log").open("ab")
        with log:
            return self.host.popen("ingest", "--follow", "--quiet", "--interval", "0.2", stderr=log)

    def round(self, event: str) -> None:
        """A storm in a job of its own, with a fault in the middle, and reports all the time."""
        began_ns = time.monotonic_ns()
        with workload(self.storm, WORKERS, CHILDREN, EVERY, PAUSE_US) as storm:
            workers = storm.line()
            job = self.host.create("soak", *workers)
            # jobd answers even if a long transaction of another process keeps it from storing the
            # job, and says that it did not store it.
            wait_until(
                "the job is stored",
                lambda: self.host.value("select count(*) from job where id = ?", job),
            )
            storm.go()
            time.sleep(self.chance.uniform(0, 0.5))
            self.events[event]()
            for report in itertools.cycle(REPORTS):
                self.read(report.format(job))
                if storm.has_printed():
                    break
            started, codes, _, _ = storm.line()
            storm.rest()
        wait_until("the job is empty", lambda: self.host.request("show", job=job)["living"] == 0)
        self.host.request("close", job=job)
        self.rounds.append(Round(job, event, started, codes, (began_ns, time.monotonic_ns())))
        self.memory_kib.append(self.host.rss_kib())

    def read(self, report: str) -> None:
        """One report, which must work whatever else goes on."""
        with urgent():  # so that there is time for more than one round of trouble
            done = self.host.run("report", *report.split(), timeout=SLOWEST_REPORT_S)
        assert done.returncode == 0, done.stderr
        self.reports += 1

    # --- trouble

    def rotate_off_and_on(self) -> None:
        """As Debian's savelog does: what ends in between leaves no record."""
        accounting.switch_off()
        self.shift()
        accounting.switch_on(self.pacct)

    def rotate_without_loss(self) -> None:
        """As logrotate does: the kernel writes to the renamed file until accton names another."""
        self.shift()
        accounting.switch_on(self.pacct)

    def rotate_by_copy(self) -> None:
        """As logrotate does with copytruncate: what is written between the two is in no file."""
        self.shift(copy=True)

    def shift(self, *, copy: bool = False) -> None:
        """Each rotated file gets the next number; from the second on they are compressed."""
        numbers = {
            int(match[1]): path
            for path in self.folder.glob("pacct.*")
            if (match := re.fullmatch(r"pacct\.(\d+)(\.gz)?", path.name))
        }
        for number, path in sorted(numbers.items(), reverse=True):
            path.rename(
                path.with_name(f"pacct.{number + 1}{path.suffix if path.suffix == '.gz' else ''}")
            )
        if copy:
            shutil.copyfile(self.pacct, self.folder / "pacct.1")
            os.truncate(self.pacct, 0)
        else:
            self.pacct.rename(self.folder / "pacct.1")
        plain = self.folder / "pacct.2"
        if plain.exists():
            with plain.open("rb") as source, gzip.open(f"{plain}.gz", "wb") as target:
                shutil.copyfileobj(source, target)
            plain.unlink()
        self.rotations += 1

    def restart(self) -> None:
        """End jobd in peace and start it again."""
        with self.outage():
            assert self.host.stop() == 0

    def kill(self) -> None:
        """Let jobd die and start it again."""
        with self.outage():
            self.host.kill()

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Jobd is away meanwhile, and afterwards there again."""
        self.asker.pause()
        yield
        self.start()
        self.asker.resume()
        self.outages += 1

    def kill_follower(self) -> None:
        """Let the ingester die and start it again."""
        self.follower.kill()
        self.follower.wait()
        self.follower = self.follow()

    # --- the end

    def reconcile(self) -> None:
        """Compare with what the storms and the files say."""
        host = self.host
        self.pacify()
        self.follower.send_signal(signal.SIGTERM)
        assert self.follower.wait(60) == 0
        accounting.switch_off()  # so that the files stand still
        host.ingest_all()
        host.assert_sound()
        assert_no_record_is_joined_to_another_life(host)
        for one in self.rounds:
            self.check(one)
        assert (
            host.value("select count(*) from gap where kind in ('down', 'crash')") == self.outages
        )
        self.lost, self.doubled = self.compare()
        assert (self.lost, self.doubled) == (
            0,
            0,
        ), f"{self.lost} records lost, {self.doubled} twice"
        first, last = self.memory_kib[0] >> 10, self.memory_kib[-1] >> 10
        assert last <= first + MORE_MIB, f"jobd has grown from {first} to {last} MiB"
        answers, longest_s, missing = self.asker.told()
        assert answers
        assert not missing, f"{missing} questions without an answer"
        assert longest_s <= LONGEST_ANSWER_S, f"an answer took {longest_s:.2f} s"

    def pacify(self) -> None:
        """End the hostile users and the user who asks for the status."""
        end(self.others)
        self.others.clear()

    def check(self, one: Round) -> None:
        """The job of a storm holds all of it; what a known gap touches, at most that."""
        count, codes = self.host.sql(
            f"""select count(*), sum(exit_status >> 8) from job_process_usage
                where job_id = ? and (command {OF_THE_STORM} or command is null)""",
            one.job,
        )[0]
        gaps = (
            "select count(*), sum(lost) from gap where from_ns < ? and to_ns > ? and acct_file_id"
            " is null and kind <> 'taskstats'"
        )
        touched, lost = self.host.sql(gaps, one.span[1], one.span[0])[0]
        if not touched:
            assert (count, codes) == (one.started, one.codes), (count, codes, one)
        else:
            orphans = WORKERS * CHILDREN // EVERY
            assert one.started - orphans - (lost or 0) <= count <= one.started, (
                count,
                touched,
                lost,
                one,
            )

    def compare(self) -> tuple[int, int]:
        """How many records of the files are not in the warehouse, and how many are there too often.

        A record that is in no file was read before copytruncate cut it off uncopied.
        """
        written = Counter(hash(row) for path in self.folder.glob("pacct*") for row in _rows(path))
        columns = ", ".join(
            "n.name" if name == "comm" else f"a.{name}" for name in AcctRecord._fields
        )
        stored = Counter(
            hash(row)
            for row in self.host.sql(
                f"select {columns} from acct as a join comm as n on n.id = a.comm_id"
            )
        )
        self.cut_off = sum(
            (Counter({key: count for key, count in stored.items() if key not in written})).values()
        )
        return (written - stored).total(), sum(
            stored[key] - count for key, count in written.items() if stored[key] > count
        )

    def tell(self, seconds: float) -> None:
        """Print what was done, and whether the sums agree."""
        started = sum(one.started for one in self.rounds)
        answers, longest_s, missing = self.asker.told()
        print(
            f"{answers} answers to status, the longest after {longest_s:.3f} s, {missing} missing"
        )
        print(
            f"{self.lost} records lost, {self.doubled} twice, {self.cut_off} read that copytruncate"
            " cut off uncopied"
        )
        print(
            "gaps:",
            self.host.sql("select kind, count(*), sum(lost) from gap group by kind order by kind"),
        )
        rows = self.host.sql("select join_outcome, count(*) from acct group by 1 order by 1")
        print(f"{len(self.rounds)} storms, {started} processes, {started / seconds:.0f} per second")
        print(f"{self.rotations} rotations, {self.outages} ends of jobd, {self.reports} reports")
        print(
            "records by join (exact 1, uncertain 2, self 3, own 4, ambiguous 5, pending 0):",
            dict(rows),
        )
        print("jobd MiB after each storm:", " ".join(str(kib >> 10) for kib in self.memory_kib))
        for row in self.host.sql(
            "select measure, in_all, in_jobs, in_none, difference from reconciliation"
        ):
            print(
                "  {:<21} {:>16} {:>16} {:>16} {:>4}".format(
                    *("-" if value is None else value for value in row)
                )
            )


def _rows(path: Path) -> Iterator[AcctRow]:
    """The whole records of a file, read without the ingester."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return decode_rows(data[: len(data) // RECORD_SIZE * RECORD_SIZE])


@contextmanager
def urgent() -> Iterator[None]:
    """What is started in here has the priority of the packaged jobd, with all its threads."""
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, mine)


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
        print(
            "soak needs root: it switches accounting and listens to process events", file=sys.stderr
        )
        return 77
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="elsa-soak-")))
        folder.chmod(0o755)  # the hostile come through to the socket and the storm
        stack.enter_context(accounting_restored())
        soak = Soak(folder)
        stack.callback(soak.host.close)
        stack.callback(soak.pacify)
        began = time.monotonic()
        try:
            for event in itertools.cycle(soak.events):
                soak.round(event)
                print(
                    f"{time.monotonic() - began:6.0f} s  {event:<20} {soak.rounds[-1].started}"
                    " processes",
                    flush=True,
                )
                if time.monotonic() - began > 60 * minutes:
                    break
            soak.reconcile()
        except AssertionError as error:
            print(f"OFF: {error}", file=sys.stderr)
            print(soak.host.log.read_text(errors="replace")[-2000:], file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            soak.pacify()
            if soak.rounds:
                soak.tell(time.monotonic() - began)
    print("all is exact")
    return 0


if __name__ == "__main__":
    sys.exit(main())
