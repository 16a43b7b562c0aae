"""Two unprivileged users who load jobd as much as they may, and a third who asks for its status;
for benchmarks/soak.py.

Each is a process that was forked and has become that user: what it needs is imported before, since
a checkout may stand where that user cannot read.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import mmap
import os
import random
import signal
import socket
import string
import struct
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.elsa_host import workload

USERS = (61_001, 61_002)
ASKER = 61_003
# Else it would measure how long it waits for a processor itself.
ASKER_NICE = -20
# More than a user or a process may have: the rest is refused.
JOBS, CONNECTIONS = 1200, 20
FORKS, EVERY = 3000, 20
ARGUMENT_BYTES = 100_000
ASK_EVERY_S = 0.5
_SECRETS = (
    "--password=",
    "API_KEY=",
    "token: ",
    "-u joe:",
    "https://a:b@h/",
    "'Authorization: Bearer ",
    '{"secret": "',
    "passwd = \\'",
)


def become(uid: int, what: Callable[[], object], nice: int = 0) -> int:
    """A child that does this as that user, until it is ended; its pid. It leads a process group, so
    that all of it can be ended.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setpgid(0, 0)
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        what()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def connected(path: Path) -> socket.socket | None:
    """A connection to jobd; None while there is no jobd."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    try:
        client.connect(os.fspath(path))
    except OSError:
        client.close()
        time.sleep(0.02)
        return None
    return client


def ask(path: Path, op: str, **fields: object) -> dict[str, Any] | None:
    """The whole reply of jobd, an error or not; None where there is no jobd, or it hung up."""
    client = connected(path)
    if client is None:
        return None
    with client, contextlib.suppress(OSError, ValueError):
        client.sendall(json.dumps({"elsa": 1, "op": op, **fields}).encode() + b"\n")
        gathered = bytearray()
        while not gathered.endswith(b"\n") and (piece := client.recv(1 << 16)):
            gathered += piece
        reply: dict[str, Any] = json.loads(gathered)
        return reply
    return None


def flood(path: Path) -> None:
    """More connections than one may have, each saying what costs most: long lines, half lines,
    large lists, and never reading.
    """
    chance = random.Random(os.getuid())  # noqa: S311 - no secret
    lines = [
        b'{"elsa":1,"op":"list","all":true}\n',
        b'{"elsa":1,"op":"status"}\n' * 500,
        b'{"elsa":1,"op":"add","job":"none","pids":['
        + b",".join(b"%d" % pid for pid in range(1, 4000))
        + b"]}\n",
        b"[" * 60_000 + b"\n",
        b'{"elsa":1,"op":"create","name":"' + b"x" * 60_000,
        b'{"elsa":1,"op":"sync"}\n' * 50,
        b"\n" * 3000,
        os.urandom(50_000),
    ]
    held: list[socket.socket] = []
    while True:
        client = connected(path)
        if client is None:
            continue
        held.append(client)
        client.settimeout(0.2)
        with contextlib.suppress(OSError):
            client.sendall(chance.choice(lines))
            if chance.random() < 0.5:
                client.recv(1 << 20)
        if len(held) > CONNECTIONS:
            held.pop(chance.randrange(len(held))).close()


def storms(path: Path, program: Path) -> None:
    """A process in as many jobs as it may be in, that forks and forks; then all of it again."""
    while True:
        with workload(program, 1, FORKS, EVERY) as storm:
            workers = storm.line()
            made: list[int] = []
            threads = [
                threading.Thread(target=_create, args=(path, workers, made)) for _ in range(12)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            storm.go()
            storm.rest()
        for job in made:
            ask(path, "close", job=job)


def _create(path: Path, pids: list[int], made: list[int]) -> None:
    """Jobs with these processes in them, until one is refused."""
    deadline = time.monotonic() + 20
    while len(made) < JOBS and time.monotonic() < deadline:
        reply = ask(path, "create", name="hostile", pids=pids)
        if reply is not None and not reply["ok"]:
            return
        if reply is not None:
            made.append(reply["job"]["id"])


def executes(program: str = "/bin/true") -> None:
    """Programs with long arguments that look like nothing but secrets, one after the other."""
    chance = random.Random(os.getuid())  # noqa: S311 - no secret
    while True:
        words: list[str] = []
        while sum(len(word) for word in words) < ARGUMENT_BYTES:
            secret = "".join(
                chance.choices(string.ascii_letters + "'\"\\ =:", k=chance.choice((8, 200, 16_000)))
            )
            words.append(chance.choice(_SECRETS) + secret)
        for shape in (["sh", "-c", " ".join(words)[:ARGUMENT_BYTES]], ["mysql", *words]):
            with contextlib.suppress(OSError):
                os.waitpid(os.posix_spawn(program, shape, {}), 0)


def defines(path: Path) -> None:
    """Look through the warehouse, and look again."""
    for pattern in itertools.cycle(("*", "[a-z]*", "*[0-9]*")):
        if ask(path, "define", name="all", commands=[pattern], dry_run=True) is None:
            time.sleep(0.02)


class Asker:
    """An unprivileged user who asks `status` twice a second, and measures how long answers take.

    Between `pause` and `resume` jobd does not run, so requests that touch that time do not count.
    """

    _ROW = struct.Struct("=4Q")  # outages started or ended, answers, longest in ns, missing answers

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        self._changes = memoryview(self._shared).cast("Q")
        self.pid = become(ASKER, self._run, ASKER_NICE)

    def pause(self) -> None:
        """There will be no jobd."""
        self._changes[0] += 1

    def resume(self) -> None:
        """There is one again."""
        self._changes[0] += 1

    def told(self) -> tuple[int, float, int]:
        """How many answers came, the longest time in seconds, and how many did not come."""
        _, answers, longest, missing = self._ROW.unpack_from(self._shared)
        return answers, longest / 1e9, missing

    def _run(self) -> None:
        shared = self._changes
        while True:
            change, began = shared[0], time.monotonic_ns()
            reply = ask(self._path, "status")
            took = time.monotonic_ns() - began
            if change % 2 == 0 and shared[0] == change:
                good = reply is not None and reply["ok"]
                shared[1 if good else 3] += 1
                shared[2] = max(shared[2], took)
            time.sleep(max(0.0, ASK_EVERY_S - took / 1e9))


def let_loose(path: Path, program: Path) -> list[int]:
    """Both users, with all they do; the pids of their groups' leaders."""
    deeds: tuple[Callable[[], object], ...] = (
        lambda: flood(path),
        lambda: storms(path, program),
        executes,
        lambda: defines(path),
    )
    return [become(uid, deed) for uid in USERS for deed in deeds]


def end(leaders: list[int]) -> None:
    """End them with all that they started, whatever group it is in by now."""
    for leader in leaders:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)
        os.waitpid(leader, 0)
