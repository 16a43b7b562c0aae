"""Where the programs are that tests compare ELSA with: GNU acct, forkstat, GNU time."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from elsa.decode.acct import AcctRecord
from elsa.decode.comm import unescape_comm

_BUILD = Path(__file__).resolve().parent.parent / "build" / "peers"


def program(name: str) -> str | None:
    """The path of a peer's program: under ELSA_PEERS, under build/peers, or on PATH; None if it is nowhere."""
    named = os.environ.get("ELSA_PEERS")
    for root in ([Path(named)] if named else []) + [_BUILD]:
        for folder in (root, root / "usr/sbin", root / "usr/bin", root / "sbin", root / "bin"):
            if os.access(folder / name, os.X_OK) and (folder / name).is_file():
                return str(folder / name)
    # Daemons' tools are in sbin, which is not on every user's PATH.
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")))


def peer(name: str) -> str:
    """The same; where it is nowhere the test skips with the reason."""
    found = program(name)
    if found is None:
        pytest.skip(f"{name} is not installed: `make test` fetches it, or name a folder in ELSA_PEERS")
    return found


def dump_acct(path: Path) -> list[bytes]:
    """What dump-acct says of each record, but for the terminal and the date, whose words depend on the host."""
    done = subprocess.run([peer("dump-acct"), str(path)], capture_output=True, check=True)
    return [line.rsplit(b"|", 2)[0] for line in done.stdout.splitlines()]


def as_dump_acct(record: AcctRecord) -> bytes:
    """The same of one of our records: dump-acct writes the name's bytes as they are."""
    flags = "".join(letter if record.flag & bit else " " for letter, bit in (("S", 2), ("F", 1), ("C", 4), ("D", 8), ("X", 16)))
    ticks = "|".join(f"{value:9.2f}" for value in (record.utime, record.stime, record.etime))
    rest = f"|v3|{ticks}|{record.uid:6}|{record.gid:6}|{record.mem:9.2f}|{record.io:9.2f}|{record.pid:8}|{record.ppid:8}|{flags}"
    return unescape_comm(record.comm).ljust(16) + f"{rest}|{record.exitcode >> 8:8}".encode()
