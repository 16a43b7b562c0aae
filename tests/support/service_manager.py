"""What systemd does for a unit with a store of descriptors: it takes them from one program of the
unit, and passes them to the next.
"""

from __future__ import annotations

import array
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

# Becomes argv[2:], with the descriptors of argv[1] as 3, 4, ...
_EXECUTE = """
import fcntl, os, sys
numbers = sys.argv[1].split(",")
high = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 500) for number in numbers if number]
os.closerange(3, 500)
for place, number in enumerate(high, 3):
    os.dup2(number, place)
    os.close(number)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execvp(sys.argv[2], sys.argv[2:])
"""


class ServiceManager:
    """A notify socket, and by name the descriptors that were stored there."""

    def __init__(self) -> None:
        # In no folder, so that every user reaches it, as systemd's own.
        self.address = f"@elsa-test-{os.getpid()}"
        self.stored: dict[str, list[int]] = {}
        self.states: list[str] = []
        """What else was reported."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address.replace("@", "\0"))
        self._socket.settimeout(30)

    def run(self, command: Sequence[str], environ: dict[str, str]) -> int:
        """Run a program and take what it reports, to its end; its exit code."""
        environ = environ | {"NOTIFY_SOCKET": self.address}
        with subprocess.Popen(command, env=environ) as program:
            self.serve(lambda: program.poll() is not None)
        return program.returncode

    def serve(self, is_over: Callable[[], bool]) -> None:
        """Take messages until something is over and none is left."""
        while not is_over() or select.select([self._socket], [], [], 0)[0]:
            if select.select([self._socket], [], [], 0.05)[0]:
                self.take_message()

    def take_message(self) -> None:
        """Do what the next message says."""
        data, attached, flags, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(4 * 253))
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        descriptors = array.array("i", b"".join(content for _, _, content in attached)).tolist()
        fields = dict(line.split("=", 1) for line in data.decode().split("\n"))
        if "FDSTORE" in fields:
            # systemd would poll them, and drop those without a ring at once.
            assert fields["FDPOLL"] == "0"
            self.stored.setdefault(fields["FDNAME"], []).extend(descriptors)
            return
        for descriptor in descriptors:  # of a barrier
            os.close(descriptor)
        if "FDSTOREREMOVE" in fields:
            self._close(self.stored.pop(fields["FDNAME"], []))
        else:
            self.states.append(data.decode())

    def popen(
        self, command: Sequence[str], environ: dict[str, str], **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a program that gets what is stored, the last first."""
        passed = [(name, number) for name, numbers in self.stored.items() for number in numbers]
        passed.reverse()
        environ = environ | {
            "NOTIFY_SOCKET": self.address,
            "LISTEN_FDS": str(len(passed)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in passed),
        }
        numbers = [number for _, number in passed]
        words = [sys.executable, "-c", _EXECUTE, ",".join(map(str, numbers)), *command]
        return subprocess.Popen(words, env=environ, pass_fds=numbers, **options)

    def close(self) -> None:
        """Close everything."""
        for numbers in self.stored.values():
            self._close(numbers)
        self._socket.close()

    @staticmethod
    def _close(numbers: Sequence[int]) -> None:
        for number in numbers:
            os.close(number)
