"""Hand alerts to a command of the administrator: JSON on stdin, text in the environment. No shell
is involved, and no name of a job is ever part of a command line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from elsa.alert.findings import Alert
from elsa.errors import RetryError
from elsa.text import counted, printable

TIMEOUT_S = 60.0
# Alerts whose lines are in the text; the JSON has all.
MOST_LINES = 50
# Characters of a line, and of what the command printed.
LONGEST = 500


_NOUNS = {
    "gap": ("gap", "gaps"),
    "silence": ("jobd that does not run", "jobd that do not run"),
    "failed": ("failed job", "failed jobs"),
    "growth": ("job that used more than before", "jobs that used more than before"),
    "over budget": ("job over its budget", "jobs over their budget"),
    "unit": ("failed unit", "failed units"),
}


def summary(alerts: Sequence[Alert], host: str) -> str:
    """One line without any name that a user chose, fit for the subject of a mail."""
    kinds = Counter(alert.kind for alert in alerts)
    parts = [
        f"{kinds[kind]} {nouns[kinds[kind] > 1]}" for kind, nouns in _NOUNS.items() if kinds[kind]
    ]
    return f"elsa on {printable(host)}: {', '.join(parts)}"


def text(alerts: Sequence[Alert], host: str) -> str:
    """The summary, and a line for each alert."""
    lines = [alert.text[:LONGEST] for alert in alerts[:MOST_LINES]]
    if len(alerts) > MOST_LINES:
        lines.append(f"and {len(alerts) - MOST_LINES} more")
    return "".join(map("{}\n".format, (summary(alerts, host), "", *lines)))


def as_json(alerts: Sequence[Alert], host: str) -> str:
    """The text and the alerts in one object."""
    listed = [alert.as_object() for alert in alerts]
    return json.dumps({"host": host, "text": text(alerts, host), "alerts": listed}) + "\n"


def run(command: Sequence[str], alerts: Sequence[Alert], host: str) -> None:
    """Run the command. Raises RetryError if it fails, or takes too long."""
    environ = os.environ | {"ELSA_SUMMARY": summary(alerts, host), "ELSA_TEXT": text(alerts, host)}
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as printed:
        stdin.write(as_json(alerts, host).encode())
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                command, stdin=stdin, stdout=printed, stderr=printed, env=environ,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise _failed(command, alerts, error.strerror or str(error)) from None
        try:
            status = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            why = f"it took more than {TIMEOUT_S:g} s, and was killed"
            raise _failed(command, alerts, why) from None
        finally:
            with suppress(ProcessLookupError):
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if status:
            ended = f"exit status {status}" if status > 0 else f"signal {-status}"
            raise _failed(command, alerts, f"{ended}{_last_line(printed)}")


def _last_line(printed: IO[bytes]) -> str:
    size = printed.seek(0, os.SEEK_END)
    printed.seek(max(size - LONGEST, 0))
    lines = printed.read().decode("utf-8", "surrogateescape").split("\n")
    line = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {line}" if line else ""


def _failed(command: Sequence[str], alerts: Sequence[Alert], why: str) -> RetryError:
    number = counted(len(alerts), "alert")
    return RetryError(
        f"alert_command {printable(command[0])} failed: {why}; {number} will be reported next time"
    )
