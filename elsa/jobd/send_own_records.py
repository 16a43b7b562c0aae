"""Sends a user the warehouse of his own processes and jobs. jobd runs this module as a program
(elsa/jobd/helper_programs.py) whose stdout is the connection to the user's program: a line of the
protocol with the number of bytes, then the SQLite file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

from elsa.control import protocol
from elsa.control.client import Client
from elsa.errors import ElsaError
from elsa.store import own_records

# A client that does not read for so long is left alone.
PATIENCE_S = 10.0


def order(db: Path, socket_: Path, uid: int, since_ns: int | None) -> str:
    """What the program is to do, as it reads it from stdin."""
    return json.dumps({"db": str(db), "socket": str(socket_), "uid": uid, "since_ns": since_ns})


def main() -> None:
    """Carry out the order on stdin."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # If memory is short, the kernel should kill this program rather than jobd.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    asked = json.loads(sys.stdin.read())
    data = b""
    try:
        # So that all that happened before the request is in the warehouse.
        Client(Path(asked["socket"])).request("sync")
        data = own_records.copy(Path(asked["db"]), asked["uid"], asked["since_ns"])
        line = protocol.encode_reply({"bytes": len(data)})
    except ElsaError as error:
        line = protocol.encode_reply(error)
    with socket.socket(fileno=os.dup(sys.stdout.fileno())) as connection:
        connection.settimeout(PATIENCE_S)
        with contextlib.suppress(OSError):
            connection.sendall(line)
            for start in range(0, len(data), 1 << 20):
                connection.sendall(data[start : start + (1 << 20)])
