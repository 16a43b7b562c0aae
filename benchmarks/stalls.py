"""How long jobd keeps a user waiting while others do their worst: how it is (`status`), and a job
of his own (`create`). Needs root.

    benchmarks/stalls.py [--seconds N] [--only WORD] [--json]

Each attack runs for some seconds as users without any privilege, against a jobd of its own;
meanwhile another user asks for the status on a new connection every 50 ms, and a third makes and
closes a job. "nobody attacks" is the reference. What cannot be hidden from hearing, forks and
execs, also takes the CPUs from whoever asks: so the worst wait counts, and it is to stay below a
second.

The last run:

    2 cores, Linux 6.18.44, Python 3.11.7, 2026-11-29
    status asked by another user [ms]
                                    median        min        max   ratio
      nobody attacks                 1.366      0.514      8.789    1.00
      forks in 16 jobs               2.476      0.956     31.591    1.81
      execs, 16 KB of secrets        1.222      0.541     24.898    0.89
      execs, 128 KB of secrets       1.242      0.625     27.712    0.91
      connections of one             0.993      0.653     40.389    0.73
      connections of 40 uids       308.153    131.512    592.165  225.61
      sync                           2.345      0.761     19.371    1.72
      sync of 8 uids                12.095      1.132     46.231    8.86
      long lists                     1.972      0.572    220.793    1.44
      long lists of 8 uids           1.655      0.451     23.593    1.21
      nonsense of 8 uids            17.260      6.435     60.382   12.64
      define of 8 uids              74.043     40.838    152.972   54.21
      crowded jobs                   1.060      0.486     10.741    0.78
      a large job shown              1.023      0.422    137.473    0.75
    a job made and closed by another user [ms]
                                    median        min        max   ratio
      nobody attacks                 3.147      2.025     12.777    1.00
      forks in 16 jobs             191.286     54.791    561.428   60.79
      execs, 16 KB of secrets        8.340      3.443     65.183    2.65
      execs, 128 KB of secrets      10.180      3.057     60.193    3.24
      connections of one             4.840      1.581    124.329    1.54
      connections of 40 uids      1114.625    668.585   1282.220  354.22
      sync                          12.058      3.479     38.421    3.83
      sync of 8 uids                31.249     15.956    147.032    9.93
      long lists                     4.288      1.599    467.341    1.36
      long lists of 8 uids          19.582      4.647     65.857    6.22
      nonsense of 8 uids            77.465     38.615    117.721   24.62
      define of 8 uids             291.085    227.529    582.326   92.51
      crowded jobs                   5.731      2.299    117.170    1.82
      a large job shown              3.094      1.771   1052.710    0.98
    events lost: 0 under each
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure
from benchmarks.measure import Table
from elsa.control.client import Client
from elsa.errors import ElsaError
from tests.support.elsa_host import Host, compiled, workload

SECONDS = 6
STATUS_UID, CREATE_UID, HOSTILE_UID = 61_000, 61_001, 62_000
SLEEPERS = 3000
EVERY_S = 0.05
FAILED_MS = 60_000.0
NOBODY = "nobody attacks"


def request(op: str, **fields: object) -> bytes:
    """The line of a request."""
    return json.dumps({"elsa": 1, "op": op, **fields}).encode() + b"\n"


def ask(path: Path, op: str, **fields: object) -> dict[str, Any]:
    """What jobd answers, as any client asks it."""
    return Client(path).request(op, **fields)


def as_many_jobs_as_may_be(path: Path, **fields: object) -> int:
    """Jobs until one is refused; the newest."""
    job = 0
    with contextlib.suppress(ElsaError):
        while True:
            job = ask(path, "create", **fields)["job"]["id"]
    return job


# --- attacks: each runs until it is ended, as the user that it has become
# ----------------------------------------------------------


def forking(path: Path) -> None:
    """Processes in as many jobs as they may be in, which fork as fast as both cores can."""
    while True:
        with workload(path.parent / "storm", 2, 100_000, 20) as storm:
            as_many_jobs_as_may_be(path, name="hostile", pids=storm.line())
            storm.go()
            storm.rest()


def executing(_path: Path, size: int = 16_000) -> None:
    """Programs whose arguments are nothing but what looks like secrets."""
    words = ["password=abcdef"] * (size // 16)
    while True:
        os.waitpid(os.posix_spawn("/bin/true", ["mysql", *words], {}), 0)


def executing_much(path: Path) -> None:
    """The same with arguments of 128 KB."""
    executing(path, 128_000)


def connecting(path: Path) -> None:
    """Connections, as many as jobd takes and as fast as it takes them."""
    held: list[socket.socket] = []
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        with contextlib.suppress(OSError):
            client.connect(os.fspath(path))
            client.send(b'{"elsa":1,"op":"create","name":"' + b"x" * 50_000)
        held.append(client)
        if len(held) > 300:
            held.pop(0).close()


def flooding(path: Path, line: bytes) -> None:
    """One request again and again on every connection that one may have, the answers read late."""
    selector = selectors.DefaultSelector()
    count = max(1, 60_000 // len(line))
    while True:
        while len(selector.get_map() or ()) < 16:
            client = socket.socket(socket.AF_UNIX)
            with contextlib.suppress(OSError):
                client.connect(os.fspath(path))
                client.setblocking(False)
                selector.register(client, selectors.EVENT_READ)
                client.send(line * count)
        for key, _ in selector.select(0.01):
            assert isinstance(key.fileobj, socket.socket)
            try:
                gone = not key.fileobj.recv(4096)
            except BlockingIOError:
                continue
            except OSError:
                gone = True
            if gone:
                selector.unregister(key.fileobj)
                key.fileobj.close()
            else:
                with contextlib.suppress(OSError):
                    key.fileobj.send(line)


def syncing(path: Path) -> None:
    """Requests that everything be stored."""
    flooding(path, request("sync"))


def listing(path: Path) -> None:
    """Lists of as many jobs as one may have, with the longest tags."""
    tags = {f"k{n}": "ä" * 100 for n in range(18)}
    as_many_jobs_as_may_be(path, name="x" * 100, tags=tags)
    flooding(path, request("list", all=True))


def nesting(path: Path) -> None:
    """Lines as long as they may be that are all brackets."""
    flooding(path, b"[" * 60_000 + b"\n")


def defining(path: Path) -> None:
    """Jobs after the fact, of everything."""
    flooding(path, request("define", name="x", commands=["*" * 100] * 60, dry_run=True))


def crowding(path: Path) -> None:
    """Thousands of processes put into a job, looked at, and taken out again."""
    pids = [os.getpid(), *sleepers(SLEEPERS)]
    while True:
        with contextlib.suppress(ElsaError):
            job = ask(path, "create", name="crowd", pids=pids[:4000])["job"]["id"]
            ask(path, "show", job=job, limit=10_000)
            ask(path, "remove", job=job, pids=pids[:4000])
            ask(path, "add", job=job, pids=pids[:1], tree=True)
            ask(path, "close", job=job)


def watching(path: Path) -> None:
    """The members of a large job, shown again and again."""
    job = ask(path, "create", name="crowd", pids=sleepers(SLEEPERS))["job"]["id"]
    flooding(path, request("show", job=job, limit=10_000))


def sleepers(count: int) -> list[int]:
    """Children that do nothing."""
    pids = []
    for _ in range(count):
        pid = os.fork()
        if not pid:
            signal.pause()
            os._exit(0)
        pids.append(pid)
    return pids


class Attack(NamedTuple):
    """Who does what."""

    deed: Callable[[Path], None]
    users: int = 1
    each: int = 1


ATTACKS: dict[str, Attack | None] = {
    NOBODY: None,
    "forks in 16 jobs": Attack(forking),
    "execs, 16 KB of secrets": Attack(executing, each=2),
    "execs, 128 KB of secrets": Attack(executing_much, each=2),
    "connections of one": Attack(connecting, each=2),
    "connections of 40 uids": Attack(connecting, users=40),
    "sync": Attack(syncing),
    "sync of 8 uids": Attack(syncing, users=8),
    "long lists": Attack(listing),
    "long lists of 8 uids": Attack(listing, users=8),
    "nonsense of 8 uids": Attack(nesting, users=8),
    "define of 8 uids": Attack(defining, users=8),
    "crowded jobs": Attack(crowding),
    "a large job shown": Attack(watching),
}


# --- measuring


def become(uid: int, what: Callable[[], object]) -> int:
    """A child that does this as that user; its pid. It leads a process group, so that all of it can
    be ended.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setpgid(0, 0)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        what()
    finally:
        os._exit(1)


@contextmanager
def let_loose(path: Path, attack: Attack | None) -> Iterator[None]:
    """While it attacks."""
    uids = (
        [HOSTILE_UID + number for number in range(attack.users)] * attack.each
        if attack is not None
        else []
    )
    pids = [become(uid, lambda: attack.deed(path) if attack is not None else None) for uid in uids]
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def waits(path: Path, uid: int, seconds: float, turn: Callable[[Path], object]) -> list[float]:
    """How long each turn of a user took, in ms; one that failed counts as a minute."""
    reader, writer = os.pipe()

    def measured() -> None:
        taken = []
        until = time.monotonic() + seconds
        while (began := time.monotonic()) < until:
            try:
                turn(path)
                taken.append((time.monotonic() - began) * 1e3)
            except ElsaError:
                taken.append(FAILED_MS)
            time.sleep(EVERY_S)
        with os.fdopen(writer, "w") as stream:
            json.dump(taken, stream)

    become(uid, measured)
    os.close(writer)
    with os.fdopen(reader) as stream:
        return [float(one) for one in json.load(stream)]


def status(path: Path) -> None:
    """Ask how it is."""
    ask(path, "status")


def own_job(path: Path) -> None:
    """Make a job and close it."""
    ask(path, "close", job=ask(path, "create", name="mine")["job"]["id"])


def under(attack: Attack | None, seconds: float) -> tuple[list[float], list[float], int]:
    """Waits for the status and for a job of one's own, and events lost."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        compiled("storm", folder)
        host = Host(folder, folder / "pacct")
        stack.callback(host.close)
        host.start()
        with let_loose(host.socket, attack):
            time.sleep(2)
            reader, writer = os.pipe()
            other = os.fork()
            if not other:
                with os.fdopen(writer, "w") as stream:
                    json.dump(waits(host.socket, CREATE_UID, seconds, own_job), stream)
                os._exit(0)
            os.close(writer)
            asked = waits(host.socket, STATUS_UID, seconds, status)
            with os.fdopen(reader) as stream:
                made = [float(one) for one in json.load(stream)]
            os.waitpid(other, 0)
        lost = int(host.request("status")["lost"])
        host.stop()
    return asked, made, lost


def run(options: argparse.Namespace) -> list[Table]:
    """Every attack, and what it made others wait."""
    asked: dict[str, list[float]] = {}
    made: dict[str, list[float]] = {}
    lost: dict[str, list[float]] = {}
    for name, attack in ATTACKS.items():
        if options.only and options.only not in name and name != NOBODY:
            continue
        print(f"\r\033[K{name}", end="", file=sys.stderr, flush=True)
        asked[name], made[name], gone = under(attack, options.seconds)
        lost[name] = [float(gone)]
    print("\r\033[K", end="", file=sys.stderr)
    return [
        Table("status asked by another user", "ms", NOBODY, asked),
        Table("a job made and closed by another user", "ms", NOBODY, made),
        Table("events lost", "events", NOBODY, lost),
    ]


if __name__ == "__main__":
    if os.geteuid():
        sys.exit("benchmarks/stalls.py: needs root")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        metavar="N",
        help=f"how long to ask under each attack ({SECONDS})",
    )
    parser.add_argument("--only", metavar="WORD", help="attacks whose name has this in it")
    measure.main(run, parser)
