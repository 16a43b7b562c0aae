"""`elsa run`: run a command and print what it cost, with everything that it started. It uses jobd
where jobd answers, and else collects by itself.
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
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elsa import config, python_program
from elsa.cli import options
from elsa.cli.main import CONTEXT, Command
from elsa.config import Config
from elsa.control.client import Client
from elsa.errors import (
    EXIT_FAILURE,
    EXIT_KILLED,
    ElsaError,
    InputMissingError,
    UnavailableError,
    UsageError,
)
from elsa.host.proc_scan import used_so_far
from elsa.jobd.redaction import configured
from elsa.kernel import clocks
from elsa.kernel.procfs import Procfs
from elsa.kernel.safe_paths import same_file
from elsa.run import budget as budgets
from elsa.run import live_usage
from elsa.run.command_group import CommandGroup
from elsa.run.cost_report import CostReport
from elsa.run.launch import end_like, launch, title_of
from elsa.run.usage_sums import JobTotals, Waited
from elsa.run.watch_budget import BudgetWatch
from elsa.run.with_jobd import WithJobd

if TYPE_CHECKING:
    from elsa.run.own_collector import OwnCollector

    Accountant = OwnCollector | WithJobd

# How long a private jobd may take to start.
START_TIMEOUT_S = 20.0


@click.command(cls=Command, context_settings={**CONTEXT, "allow_interspersed_args": False})
@click.option(
    "--no-wait",
    is_flag=True,
    help="Print the report when COMMAND itself has ended, without waiting for others.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="Format of the report.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write the report to FILE, - for stdout.  [default: stderr]",
)
@click.option(
    "--budget",
    metavar="FIGURE=MOST",
    help=(
        "What COMMAND may cost with all that it starts: cpu=60s,wall=10m,peak=2G. If it costs more,"
        " say so, and exit with 1 if it ended with 0."
    ),
)
@click.option(
    "--kill",
    is_flag=True,
    help=(
        "As soon as it costs more than --budget, end it with all that it started (TERM, and KILL"
        " after 5 s), and exit with 124. Usage is read every 0.5 s, or less often where reading"
        " takes long; the wall time is exact."
    ),
)
@click.option("--append", "-a", is_flag=True, help="Append to the output file.")
@click.option("--name", help="Name of the job.  [default: name of the command]")
@options.tags
@options.socket
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Store the accounting in this warehouse, which is created if missing.",
)
@click.option(
    "--verbose", "-v", is_flag=True, help="Say why the command has no control group of its own."
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    no_wait: bool,
    form: str,
    output: Path | None,
    budget: str | None,
    kill: bool,
    append: bool,
    name: str | None,
    tags: dict[str, str],
    socket: Path | None,
    db: Path | None,
    verbose: bool,
    command: Sequence[str],
) -> None:
    """Run COMMAND and print what it cost, with every process that it started, daemons included.

    The report is printed when the last process has ended; Ctrl-C while waiting prints what is known
    so far. Signals are passed on to the command and its exit status is passed back, as `elsa job
    run` does. If jobd answers, the command becomes a job in its warehouse. If not, `elsa run` needs
    root, collects from the kernel itself while the command runs, and changes nothing on the host.
    As root, or if control groups are delegated to you, the command runs in a control group of its
    own, whose CPU time is exact.

    \b
    Examples:
      elsa run -- make -j8
      elsa run --format json --output cost.json -- ./nightly.sh
      elsa run --format json -o - -- make -s all | jq .cpu_s
      elsa run --no-wait -- ./start-server
      elsa run --budget cpu=60s,peak=2G -- ./nightly.sh
      elsa run --budget wall=10m,cpu=1h --kill -- ./tests.sh
      elsa run --format markdown -a -o "$GITHUB_STEP_SUMMARY" -- make test
      elsa run --db ./elsa.db -- make -j8         keep it for elsa report
    """
    limits = budgets.limits(budget) if budget is not None else []
    if kill and not limits:
        raise UsageError("--kill needs --budget, such as --budget wall=10m,cpu=60s")
    verdict = budgets.Verdict([], [])
    settings = config.load({"socket": socket})
    title = name if name is not None else title_of(command)
    shown = configured(settings)(command) if settings.cmdlines else command[:1]
    with contextlib.ExitStack() as stack:
        out = _output(output, append, stack)
        accountant = _accountant(settings, db, title, tags, stack)
        enough = stack.enter_context(_signals_end_waiting())
        group = stack.enter_context(command_group(verbose=verbose))
        watch = BudgetWatch(limits if kill else [], accountant, group)
        stack.callback(watch.finish)
        status, make_report = _account(
            accountant, group, watch, command, shown, enough, wait=not no_wait
        )
        try:
            report = make_report()
            verdict = budgets.judge(limits, report.as_object())
            on_budget = [*verdict.over, *verdict.unknown] or (
                [f"within {budget}"] if limits else []
            )
            forms: dict[str, Callable[[], str]] = {
                "json": report.json,
                "markdown": partial(report.markdown, on_budget),
            }
            text = forms.get(form, report.text)()
            if out is None:
                click.echo(text, nl=False, err=True)
            else:
                out.write(text.encode())
        except (ElsaError, OSError) as error:
            # The command has run: neither this nor a closed stderr may change its exit status.
            with contextlib.suppress(OSError):
                click.echo(f"elsa: no cost report: {error}", err=True)
        with contextlib.suppress(OSError):
            for line in (*verdict.over, *verdict.unknown):
                click.echo(f"elsa: {line}", err=True)
            if watch.killed:
                click.echo(f"elsa: killed: {'; '.join(watch.killed)}", err=True)
    if watch.killed:
        sys.exit(EXIT_KILLED)
    if verdict.over and not status:
        sys.exit(EXIT_FAILURE)
    end_like(status)


@contextlib.contextmanager
def command_group(*, verbose: bool = False) -> Iterator[CommandGroup]:
    """A control group for the command, which is removed afterwards if it is empty."""
    group = CommandGroup()
    try:
        yield group
    finally:
        group.close()
        if group.why_none and verbose:
            with contextlib.suppress(OSError):
                click.echo(f"elsa: no control group of its own: {group.why_none}", err=True)


def _output(path: Path | None, append: bool, stack: contextlib.ExitStack) -> FileIO | None:
    """The file of the report. It is opened before the command runs, so that a bad path is an error
    at once, and without a buffer, since flushing it could fail later.
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
    """What accounts the command: the jobd that answers, a private jobd for the warehouse of --db,
    or a collector in this process.
    """
    client = Client(settings.socket)
    try:
        warehouse = client.warehouse()
    except UnavailableError:
        warehouse = None
    if db is not None and (warehouse is None or not same_file(db, warehouse)):
        client = stack.enter_context(_private_jobd(db))
        warehouse = db
    accountant: Accountant
    if warehouse is None:
        # Imported here, since its imports take a third of a second.
        from elsa.run.own_collector import OwnCollector

        accountant = OwnCollector(settings)
    else:
        accountant = WithJobd(client, warehouse, title, tags)
    stack.callback(accountant.close)
    return accountant


@contextlib.contextmanager
def _private_jobd(db: Path) -> Iterator[Client]:
    """A jobd that runs as long as this command. The terminal's signals do not reach it."""
    if not db.exists():
        from elsa.store.upgrade import upgrade

        upgrade(db)
    folder = Path(tempfile.mkdtemp(prefix="elsa-run-"))
    client, log = Client(folder / "jobd.sock"), folder / "log"
    program = python_program.command("from elsa.cli.main import elsa_jobd; elsa_jobd()")
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
    deadline = time.monotonic() + START_TIMEOUT_S
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
    group: CommandGroup,
    watch: BudgetWatch,
    command: Sequence[str],
    shown: Sequence[str],
    enough: Callable[[], bool],
    *,
    wait: bool,
) -> tuple[int, Callable[[], CostReport]]:
    """Run the command. Returns its wait status, and a function that waits for the other processes,
    until `enough`, and makes the report.
    """
    started_ns = started_at_ns = own_rss_kib = 0

    def register(pid: int) -> None:
        nonlocal started_ns, started_at_ns, own_rss_kib
        if enough():
            raise KeyboardInterrupt
        group.add(pid)
        accountant.register(pid)
        accountant.ours_ns, own_rss_kib = used_so_far(Procfs(), pid)
        started_ns, started_at_ns = clocks.monotonic_ns(), clocks.realtime_ns()
        watch.start(pid)

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    status = launch(command, register)
    ended_ns = clocks.monotonic_ns()
    accountant.ended(status)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    waited = Waited(
        after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime, after.ru_maxrss
    )

    def make_report() -> CostReport:
        # The kernel's peak is the largest of all children, the canary included.
        own = waited.without(accountant.ours_ns, max(own_rss_kib, before.ru_maxrss))
        command_ns = ended_ns - started_ns
        report = CostReport(
            shown, status, started_at_ns, command_ns, command_ns, own, job=accountant.job
        )
        try:
            try:
                if wait:
                    accountant.wait(enough)
            finally:
                watch.finish()
                report.killed, report.notes = watch.killed, list(watch.notes)
            totals = accountant.totals()
        except ElsaError as error:
            report.notes.append(f"only what the command waited for is known: {error}")
            report.group = group.counters()
            return report
        report.group = group.counters()
        report.totals, report.lost = totals, accountant.lost()
        if totals.running:
            offsets = clocks.offsets()
            so_far = live_usage.total(
                live_usage.running(Procfs(), member, offsets) for member in accountant.living()
            )
            report.so_far = so_far if so_far.processes else None
        report.notes += [*accountant.notes, *group.kept()]
        report.wall_ns = _last_end(totals, ended_ns) - started_ns
        return report

    return status, make_report


def _last_end(totals: JobTotals, command_ended_ns: int) -> int:
    return clocks.monotonic_ns() if totals.running else max(totals.end_ns, command_ended_ns)


@contextlib.contextmanager
def _signals_end_waiting() -> Iterator[Callable[[], bool]]:
    """A function that says whether to stop waiting: INT, TERM and HUP end the waiting instead of
    this program, unless they were ignored before.
    """
    received: list[int] = []
    caught = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {
        number: signal.signal(number, lambda number, _frame: received.append(number))
        for number in caught
    }
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
