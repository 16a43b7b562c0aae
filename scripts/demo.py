"""`make run`: account a real job on this host and show what it cost, with the commands that anyone
would type; leave the host as it was.

As root where the kernel can do it, all of it for real. Elsewhere: what is missing, and the reports
on a recorded accounting file. KEEP=1 keeps the state folder with the warehouse in it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from elsa.control.client import Client
from elsa.errors import ElsaError
from elsa.host import checks
from elsa.kernel import accounting

REPOSITORY = Path(__file__).parent.parent
SAMPLE = REPOSITORY / "tests" / "data" / "sample.pacct"
WORKLOAD = REPOSITORY / "scripts" / "workload.sh"
ELSA = Path(sys.executable).with_name("elsa")
# Without these the real thing cannot be shown; the rest of the checks is about an installed ELSA.
ESSENTIAL = ("kernel", "privileges", "namespaces", "connector")
PATIENCE_S = 20.0


class DemoError(Exception):
    """The demonstration cannot go on, in one sentence."""


def main() -> int:
    """Run the demonstration; the exit code."""
    # Whatever ends us, the clean-up below runs: a TERM or HUP becomes an exception like Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    try:
        with ExitStack() as stack:
            state = stack.enter_context(state_folder())
            if missing := what_is_missing():
                recorded(state, missing)
            else:
                real(state, stack)
    except (DemoError, ElsaError) as error:
        say(f"\nThe demonstration stopped: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nStopped; everything is as it was.")
        return 130
    return 0


def what_is_missing() -> list[checks.Result]:
    """The checks without which a real job cannot be accounted on this host."""
    if os.geteuid() != 0:
        return [
            checks.Result(
                "privileges",
                checks.Level.FAIL,
                "you are not root",
                "run it as root to account a real job",
            )
        ]
    # A privilege that is not held is only a warning to ELSA, but switching accounting on is ours to
    # do here.
    bad = {"privileges": (checks.Level.WARN, checks.Level.FAIL)}
    results = [result for result in checks.run(checks.Place()) if result.name in ESSENTIAL]
    return [
        result for result in results if result.status in bad.get(result.name, (checks.Level.FAIL,))
    ]


def real(state: Path, stack: ExitStack) -> None:
    """A real job from its start to its report."""
    say("A real job, accounted on this host.\n")
    settle(db=state / "elsa.db", socket=state / "jobd.sock")
    elsa("db", "upgrade")
    file = stack.enter_context(accounting_to(state / "pacct"))
    client = stack.enter_context(collector(state))

    stack.callback(end_members, client)
    elsa("job", "run", "--name", "demo", "--", WORKLOAD)
    say("\nThe command has ended; a daemon that it left behind works for a moment more.")
    wait_until("the job's last process ended", lambda: not client.request("list")["jobs"])
    elsa("ingest", file)
    elsa("report", "jobs")
    elsa("report", "job", "demo")
    elsa("report", "commands", "--limit", "12")
    prove(state / "elsa.db")


def recorded(state: Path, missing: list[checks.Result]) -> None:
    """The reports on a recorded accounting file, after a word on why not on this host."""
    say("A real job cannot be accounted here:")
    for result in missing:
        say(f"  {result.name}: {result.found}" + (f" -> {result.mend}" if result.mend else ""))
    say("\nSo these are the reports on an accounting file that was recorded elsewhere.\n")
    settle(db=state / "elsa.db", socket=state / "jobd.sock")
    elsa("db", "upgrade")
    elsa("ingest", SAMPLE)
    elsa("report", "commands", "--limit", "12")
    elsa("report", "users")
    prove(state / "elsa.db")


def settle(**settings: Path) -> None:
    """Set ELSA's settings for every command that follows, as a user would in a shell."""
    variables = {f"ELSA_{key.upper()}": str(value) for key, value in settings.items()}
    os.environ.update(variables)
    say("$ export " + " ".join(f"{name}={value}" for name, value in variables.items()))


@contextmanager
def state_folder() -> Iterator[Path]:
    """A folder of our own for warehouse, socket and accounting file."""
    folder = Path(tempfile.mkdtemp(prefix="elsa-demo-"))
    try:
        yield folder
    finally:
        if os.environ.get("KEEP"):
            say(f"\nKept: {folder}")
        else:
            shutil.rmtree(folder)


@contextmanager
def accounting_to(file: Path) -> Iterator[Path]:
    """Accounting switched on for as long as this lasts; where it is on already it is left alone,
    with the file that it uses.
    """
    if already := accounting.canary():
        say(f"\nAccounting is on already and stays on; its records go to {already}.")
        yield already
        return
    accounting.switch_on(file)
    try:
        say(f"\nAccounting was off; it is on for the demonstration, into {file}.")
        yield file
    finally:
        accounting.switch_off()
        say("\nAccounting is off again.")


@contextmanager
def collector(state: Path) -> Iterator[Client]:
    """A jobd that answers, ended and waited for afterwards. In a session of its own, so that Ctrl-C
    reaches it by way of us only.
    """
    command: list[str | Path] = [ELSA, "jobd"]
    show(command, "&")
    log = state / "jobd.log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=output, start_new_session=True
        )
    client = Client(state / "jobd.sock")
    try:
        wait_until("jobd answers", lambda: answers(client, daemon, log))
        yield client
    finally:
        daemon.terminate()
        try:
            daemon.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def answers(client: Client, daemon: subprocess.Popen[bytes], log: Path) -> bool:
    """Whether jobd is ready; DemoError with its own words if it gave up."""
    if daemon.poll() is not None:
        raise DemoError(f"jobd ended: {log.read_text(errors='replace').strip()}")
    with suppress(ElsaError):
        client.request("status")
        return True
    return False


def end_members(client: Client) -> None:
    """End what still runs of the job; nothing does, unless the demonstration was interrupted."""
    with suppress(ElsaError):
        for job in client.request("list")["jobs"]:
            for member in client.request("show", job=job["id"])["members"]:
                with suppress(ProcessLookupError):
                    os.kill(member["pid"], signal.SIGTERM)


def wait_until(what: str, holds: Callable[[], object]) -> None:
    """Wait for something that will come true soon."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise DemoError(f"waited {PATIENCE_S:.0f} s in vain until {what}")
        time.sleep(0.1)


def prove(db: Path) -> None:
    """The sums agree: jobs and what is in no job add up to all that the kernel wrote, to the last
    tick.
    """
    say("\nThe reconciliation (select * from reconciliation):\n")
    with closing(sqlite3.connect(db)) as connection:
        cursor = connection.execute("select * from reconciliation")
        rows = [[column[0] for column in cursor.description], *map(list, cursor)]
    for row in rows:
        say("  " + "".join(f"{'-' if cell is None else cell:>14}" for cell in row))
    if any(row[-1] for row in rows[1:]):
        raise DemoError("the sums do not agree")


def elsa(*arguments: str | Path) -> None:
    """Show and run one elsa command; DemoError if it fails."""
    command = [ELSA, *arguments]
    show(command)
    code = subprocess.run(command, check=False).returncode
    if code:
        raise DemoError(f"elsa {arguments[0]} ended with {code}")


def show(command: list[str | Path], suffix: str = "") -> None:
    """The command as a user would type it."""
    words = ["elsa", *(str(word).replace(f"{REPOSITORY}/", "") for word in command[1:])]
    say(f"\n$ {shlex.join(words)} {suffix}".rstrip())


def say(text: str) -> None:
    """Print at once, so that our lines and those of the commands stay in order."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
