"""`elsa run`: run a command and print what it cost, with everything that it started. With jobd's
help, or without.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elsa import config
from elsa.cli import options
from elsa.cli.main import CONTEXT, Command
from elsa.config import Config
from elsa.control.client import Client
from elsa.errors import ElsaError, InputMissingError, UnavailableError, UsageError
from elsa.host.proc_scan import used_so_far
from elsa.jobd.redaction import configured
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs
from elsa.kernel.safe_paths import same_file
from elsa.run import live_usage
from elsa.run.cost_report import Bill
from elsa.run.jobd_usage import WithJobd
from elsa.run.launch import end_like, launch, title_of
from elsa.run.usage_sums import Tally, Waited

if TYPE_CHECKING:
    from elsa.run.own_collector import OwnCollector

    Accountant = OwnCollector | WithJobd

# How long a jobd of our own may take to begin.
PATIENCE_S = 20.0


@click.command(cls=Command, context_settings={**CONTEXT, "allow_interspersed_args": False})
@click.option(
    "--no-wait",
    is_flag=True,
    help="Print the bill when COMMAND itself has ended, whatever it left running.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the bill.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write the bill there, - for stdout.  [default: stderr]",
)
@click.option("--append", "-a", is_flag=True, help="Append to the output file.")
@click.option("--name", help="Name of the job.  [default: name of the command]")
@options.tags
@options.socket
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Keep the accounting in this warehouse, made if it is missing.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    no_wait: bool,
    form: str,
    output: Path | None,
    append: bool,
    name: str | None,
    tags: dict[str, str],
    socket: Path | None,
    db: Path | None,
    command: Sequence[str],
) -> None:
    """Run COMMAND and print what it cost, with every process that it started, daemons included.

    The bill comes when the last of them has ended; Ctrl-C while waiting for that prints what is known so far. Signals are passed on to
    the command and its exit status is passed back, as `elsa job run` does. Where jobd answers, the command becomes a job of its;
    elsewhere this needs root, hears the kernel itself for as long as it takes, and changes nothing on the host.

    \b
    Examples:
      elsa run -- make -j8
      elsa run --format json --output bill.json -- ./nightly.sh
      elsa run --format json -o - -- make -s all | jq .cpu_s
      elsa run --no-wait -- ./start-server
      elsa run --db ./elsa.db -- make -j8         keep it for elsa report
    """
    settings = config.load({"socket": socket})
    title = name if name is not None else title_of(command)
    shown = configured(settings)(command) if settings.cmdlines else command[:1]
    with contextlib.ExitStack() as stack:
        out = _output(output, append, stack)
        accountant = _accountant(settings, db, title, tags, stack)
        enough = stack.enter_context(_patience())
        status, write_bill = _account(accountant, command, shown, enough, wait=not no_wait)
        try:
            bill = write_bill()
            text = bill.json() if form == "json" else bill.text()
            if out is None:
                click.echo(text, nl=False, err=True)
            else:
                out.write(text.encode())
        except (ElsaError, OSError) as error:
            with contextlib.suppress(
                OSError
            ):  # the command has run: neither this nor a closed stderr may change its exit status
                click.echo(f"elsa: no bill: {error}", err=True)
    end_like(status)


def _output(path: Path | None, append: bool, stack: contextlib.ExitStack) -> FileIO | None:
    """Opened before anything is run, so that a bill is not computed in vain; without a buffer,
    whose rest could fail later.
    """
    if path is None:
        if append:
            raise UsageError("--append needs --output FILE")
        return None
    try:
        if path == Path("-"):
            return FileIO(1, "wb", closefd=False)
        return stack.enter_context(path.open("ab" if append else "wb", buffering=0))
    except OSError as error:
        raise InputMissingError(f"{path}: {error.strerror}") from None


def _accountant(
    settings: Config, db: Path | None, title: str, tags: dict[str, str], stack: contextlib.ExitStack
) -> Accountant:
    """Who does the accounting: the jobd that answers, one of our own for the warehouse that was
    named, or we ourselves.
    """
    client = Client(settings.socket)
    try:
        theirs = client.warehouse()
    except UnavailableError:
        theirs = None
    if db is not None and (theirs is None or not same_file(db, theirs)):
        client = stack.enter_context(_jobd_of_our_own(db))
        theirs = db
    accountant: Accountant
    if theirs is None:
        from elsa.run.own_collector import (
            OwnCollector,  # what it needs takes a third of a second to import
        )

        accountant = OwnCollector(settings)
    else:
        accountant = WithJobd(client, theirs, title, tags)
    stack.callback(accountant.close)
    return accountant


@contextlib.contextmanager
def _jobd_of_our_own(db: Path) -> Iterator[Client]:
    """A whole jobd for the time of this command, out of the reach of the terminal's signals."""
    if not db.exists():
        from elsa.store.upgrade import upgrade

        upgrade(db)
    folder = Path(tempfile.mkdtemp(prefix="elsa-run-"))
    client, log = Client(folder / "jobd.sock"), folder / "log"
    program = [sys.executable, "-c", "from elsa.cli.main import elsa_jobd; elsa_jobd()"]
    try:
        with log.open("wb") as stderr:
            jobd = subprocess.Popen(
                [*program, "--db", os.fspath(db.absolute()), "--socket", os.fspath(client.path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        try:
            _await(jobd, client, log)
            yield client
        finally:
            jobd.terminate()
            jobd.wait()
    finally:
        shutil.rmtree(folder)


def _await(jobd: subprocess.Popen[bytes], client: Client, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(UnavailableError):
            client.request("status")
            return
        if jobd.poll() is not None or time.monotonic() > deadline:
            last = (log.read_text(errors="replace").splitlines() or ["jobd does not answer"])[-1]
            failure = ElsaError(last.removeprefix("elsa-jobd: "))
            failure.exit_code = jobd.returncode or failure.exit_code
            raise failure
        time.sleep(0.02)


def _account(
    accountant: Accountant,
    command: Sequence[str],
    shown: Sequence[str],
    enough: Callable[[], bool],
    *,
    wait: bool,
) -> tuple[int, Callable[[], Bill]]:
    """Run the command; its wait status, and what makes the bill (and waits for the others before,
    until it is enough).
    """
    began = [0, 0, 0]

    def register(pid: int) -> None:
        if enough():
            raise KeyboardInterrupt
        accountant.register(pid)
        accountant.ours_ns, began[2] = used_so_far(Procfs(), pid)
        began[:2] = clocks.monotonic_ns(), clocks.realtime_ns()

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    status = launch(command, register)
    ended_ns = clocks.monotonic_ns()
    accountant.ended(status)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    waited = Waited(
        after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime, after.ru_maxrss
    )

    def write() -> Bill:
        own = waited.without(
            accountant.ours_ns, max(began[2], before.ru_maxrss)
        )  # the largest of all children, the canary too
        bill = Bill(
            shown,
            status,
            began[1],
            ended_ns - began[0],
            ended_ns - began[0],
            own,
            job=accountant.job,
        )
        try:
            if wait:
                accountant.wait(enough)
            tally = accountant.tally()
        except ElsaError as error:
            bill.notes.append(f"only what the command waited for is known: {error}")
            return bill
        bill.tally, bill.lost = tally, accountant.lost()
        if tally.running:
            offsets = clocks.offsets()
            so_far = live_usage.total(
                live_usage.running(Procfs(), member, offsets) for member in accountant.living()
            )
            bill.so_far = so_far if so_far.processes else None
        bill.notes += accountant.notes
        bill.wall_ns = _last_end(tally, ended_ns) - began[0]
        return bill

    return status, write


def _last_end(tally: Tally, command_ended_ns: int) -> int:
    return clocks.monotonic_ns() if tally.running else max(tally.end_ns, command_ended_ns)


@contextlib.contextmanager
def _patience() -> Iterator[Callable[[], bool]]:
    """A question whether it is enough: INT, TERM and HUP end the waiting, and not us (unless they
    were ignored before).
    """
    came: list[int] = []
    caught = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in caught
    }
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
