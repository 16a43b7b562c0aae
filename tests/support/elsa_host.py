"""A whole ELSA of a test's own: a warehouse, a real jobd on a socket of its own, and every command,
against the real kernel.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from elsa.control.client import Client
from elsa.decode.acct import AcctRecord, decode_rows, is_self_record
from elsa.errors import ElsaError

# A slow machine is no failure; a daemon that does not answer at all is.
PATIENCE_S = 60.0
NOBODY = 65534
NATIVE = Path(__file__).parent / "native"


def wait_until(what: str, holds: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Wait for something that must come true."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.01)


def compiled(name: str, folder: Path) -> Path:
    """A program of native/, built into a folder. Raises FileNotFoundError without a compiler."""
    program = folder / name
    if not program.exists():
        command = [
            "cc",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pthread",
            "-o",
            str(program),
            str(NATIVE / f"{name}.c"),
        ]
        subprocess.run(command, check=True)
    return program


def all_records(path: Path) -> list[AcctRecord]:
    """The records of an accounting file."""
    return [AcctRecord._make(row) for row in decode_rows(path.read_bytes())]


def records(path: Path) -> list[AcctRecord]:
    """The records of an accounting file, but for those of the callers of acct(2)."""
    return [record for record in all_records(path) if not is_self_record(record)]


class Host:
    """Warehouse (a copy of `template`, if given), jobd and commands; `close` ends whatever was
    started through it.
    """

    def __init__(self, folder: Path, pacct: Path, template: Path | None = None) -> None:
        self.db = folder / "elsa.db"
        self.socket = folder / "jobd.sock"
        self.pacct = pacct
        self.log = folder / "jobd.log"
        self.environ = {
            **os.environ,
            "ELSA_DB": str(self.db),
            "ELSA_SOCKET": str(self.socket),
            "ELSA_ACCT_FILE": str(pacct),
            "ELSA_CONFIG": os.devnull,
            "PYTHONWARNINGS": "error",
        }
        self.jobd: subprocess.Popen[bytes] | None = None
        self.started: list[subprocess.Popen[Any]] = []
        if template is None:
            self.elsa("db", "upgrade")
        else:
            shutil.copy(template, self.db)

    # --- jobd

    def start(self, *arguments: object, **settings: object) -> None:
        """Start jobd and wait until it answers; settings by their ELSA_ names, in lower case."""
        environ = self.environ | {
            f"ELSA_{name.upper()}": str(value) for name, value in settings.items()
        }
        with self.log.open("ab") as output:
            self.jobd = self.popen("jobd", *arguments, env=environ, stderr=output)
        wait_until("jobd answers", self._answers)

    def _answers(self) -> bool:
        assert self.jobd is not None
        assert self.jobd.poll() is None, self.log.read_text(errors="replace")
        with contextlib.suppress(ElsaError):
            return bool(self.request("status"))
        return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End jobd by a signal and return its exit code."""
        assert self.jobd is not None
        self.jobd.send_signal(number)
        return self.jobd.wait(PATIENCE_S)

    def kill(self) -> None:
        """Let jobd die without a chance to tidy up."""
        self.stop(signal.SIGKILL)

    def rss_kib(self, *, peak: bool = False) -> int:
        """The memory that jobd has, or the most that it ever had."""
        assert self.jobd is not None
        status = Path(f"/proc/{self.jobd.pid}/status").read_text()
        return next(
            int(line.split()[1])
            for line in status.splitlines()
            if line.startswith("VmHWM" if peak else "VmRSS")
        )

    def request(self, op: str, **fields: object) -> dict[str, Any]:
        """Ask jobd."""
        return Client(self.socket).request(op, **fields)

    def create(self, name: str, *pids: int) -> int:
        """A new job with these processes in it; its id."""
        return int(self.request("create", name=name, pids=list(pids))["job"]["id"])

    # --- commands

    def popen(self, command: str, *arguments: object, **options: Any) -> subprocess.Popen[Any]:
        """Start elsa-COMMAND."""
        program = Path(sys.executable).with_name(f"elsa-{command}")
        process = subprocess.Popen(
            [program, *map(str, arguments)], **({"env": self.environ} | options)
        )
        self.started.append(process)
        return process

    def run(
        self, command: str, *arguments: object, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run elsa-COMMAND to its end, whatever that is."""
        program = Path(sys.executable).with_name(f"elsa-{command}")
        defaults: dict[str, Any] = {
            "env": self.environ,
            "capture_output": True,
            "text": True,
            "timeout": PATIENCE_S,
            "check": False,
        }
        return subprocess.run([program, *map(str, arguments)], **(defaults | options))

    def as_nobody(
        self, command: str, *arguments: object, before: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run `elsa COMMAND` as a user without any right, to its end, whatever that is; `before` is
        Python that is executed first.

        It imports through descriptors that root has opened: the way to a checkout may be closed to
        that user.
        """
        program = f"""
import os, sys
folders = [path for path in sys.path if os.path.isdir(path)]
sys.path[:] = [f"/proc/self/fd/{{os.open(path, os.O_PATH)}}" for path in folders]
os.setgroups([]); os.setresgid(*[{NOBODY}] * 3); os.setresuid(*[{NOBODY}] * 3)
{before}
from elsa.cli import main
main.elsa()
"""
        words = [sys.executable, "-P", "-c", program, command, *map(str, arguments)]
        return subprocess.run(
            words, env=self.environ, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )

    def elsa(self, *arguments: object) -> str:
        """Run `elsa ...`, which must succeed; what it printed."""
        program = Path(sys.executable).with_name("elsa")
        done = subprocess.run(
            [program, *map(str, arguments)],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ingest(self, *files: Path) -> str:
        """One pass of the ingester; what it printed."""
        return self.elsa("ingest", *files)

    def ingest_all(self) -> None:
        """Read everything, and join it: where a pid has gone to a process that runs, its records
        need a second to be told apart.
        """
        deadline = time.monotonic() + 15
        self.ingest()
        while (
            self.value("select count(*) from acct where join_outcome = 0")
            and time.monotonic() < deadline
        ):
            time.sleep(0.5)
            self.ingest()

    def report(self, *arguments: object) -> list[dict[str, Any]]:
        """The rows of a report."""
        rows = json.loads(self.elsa("report", *arguments, "--format", "json"))["rows"]
        assert isinstance(rows, list)
        return rows

    # --- the warehouse

    def sql(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a query, over a connection that ELSA knows nothing of."""
        with closing(
            sqlite3.connect(f"file:{self.db}?mode=ro", uri=True, timeout=PATIENCE_S)
        ) as connection:
            return connection.execute(query, parameters).fetchall()

    def value(self, query: str, *parameters: object) -> Any:
        """The only value of a query."""
        ((value,),) = self.sql(query, *parameters)
        return value

    def read_part(self) -> Path:
        """A copy of the accounting file up to where it was read: it never stops growing."""
        part = self.pacct.with_name("read-part")
        position = self.value("select position from acct_file where path = ?", str(self.pacct))
        part.write_bytes(self.pacct.read_bytes()[:position])
        return part

    def assert_sound(self) -> None:
        """What holds of every warehouse at rest: the books balance and no record is there twice,
        left out or joined to two.
        """
        assert [row for row in self.sql("select * from reconciliation") if row[-1]] == []
        doubled = (
            "select acct_file_id, position, count(*) from acct group by acct_file_id, position"
            " having count(*) > 1"
        )
        assert self.sql(doubled) == []
        assert self.value("pragma integrity_check") == "ok"
        assert self.sql("pragma foreign_key_check") == []
        lives = self.sql(
            "select pid, start_ns, start_ns + elapsed_ns, id from process where origin <> 3 order"
            " by pid, start_ns"
        )
        overlapping = [
            (one, other)
            for one, other in pairwise(lives)
            if one[0] == other[0] and (one[2] is None or one[2] > other[1])
        ]
        assert overlapping == []

    def close(self) -> None:
        """End what still runs."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


class Workload:
    """A native program that waits for a line on stdin before it begins, and prints lines of numbers
    about what it did.
    """

    def __init__(self, program: Path | str, *arguments: object, **options: Any) -> None:
        command: Sequence[str] = [str(program), *map(str, arguments)]
        self.process: subprocess.Popen[str] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
        )
        self.pid = self.process.pid

    def line(self) -> list[int]:
        """The next line, which is numbers."""
        assert self.process.stdout is not None
        return [int(word) for word in self.process.stdout.readline().split()]

    def has_printed(self) -> bool:
        """Whether a line waits to be read."""
        assert self.process.stdout is not None
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def go(self) -> None:
        """Let it begin, or go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def rest(self) -> list[str]:
        """Wait for its end; the rest of what it prints."""
        output, _ = self.process.communicate(timeout=2 * PATIENCE_S)
        assert self.process.returncode == 0
        return output.splitlines()

    def close(self) -> None:
        """End it, if that is still needed."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def workload(program: Path | str, *arguments: object, **options: Any) -> Iterator[Workload]:
    """A Workload that is gone afterwards."""
    made = Workload(program, *arguments, **options)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def ended_afterwards(*leaders: Workload) -> Iterator[None]:
    """The whole process groups of these, which lead them, are gone afterwards."""
    try:
        yield
    finally:
        for one in leaders:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    """The living children of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
