"""What hearing every process costs: jobd against a C listener that only decodes, forkstat, and
nobody listening. Needs root.

    benchmarks/collector.py [--processes N] [--minutes N] [--json]

The workloads start processes as fast as the machine can on every core: fork+exit, fork+exec+exit of
/bin/true, and a small file that is compiled again and again (three processes each). For each
listener: how long the workload took (its slow-down), the CPU time of the listener per million
events, its memory and what it lost. jobd hears events and taskstats and writes both into a
warehouse; "no automatic jobs" is jobd with auto_jobs = false, "events only" with taskstats = false
as well.

The last whole runs; docs/performance.md has later figures:

    2 cores, Linux 6.18.44, Python 3.11.7, 2026-11-23
    fork+exit, 80,000 events on 2 cores [s, slow-down]
                             median        min        max   ratio
      nobody listens          2.434      2.377      2.720    1.00
      C listener              2.576      2.540      2.858    1.06
      forkstat                3.976      3.860      4.547    1.63
      jobd                    3.291      3.238      3.489    1.35
      jobd, events only       3.021      2.879      3.339    1.24
    fork+exit, 80,000 events on 2 cores [CPU us/event]
                             median        min        max   ratio
      C listener              0.750      0.625      0.750    1.00
      forkstat               16.875     16.500     18.500   22.50
      jobd                   11.125     11.000     11.750   14.83
      jobd, events only       6.375      6.250      6.625    8.50
    fork+exec+exit, 12,000 events on 2 cores [s, slow-down]
                             median        min        max   ratio
      nobody listens          1.115      1.091      1.244    1.00
      C listener              1.274      1.134      1.394    1.14
      forkstat                1.614      1.403      1.716    1.45
      jobd                    1.313      1.189      1.360    1.18
      jobd, events only       1.241      1.135      1.280    1.11
    compiling, 1,800 events on 2 cores [s, slow-down]
                             median        min        max   ratio
      nobody listens          4.544      4.082      5.485    1.00
      C listener              4.472      4.117      5.259    0.98
      forkstat                4.564      4.205      5.975    1.00
      jobd                    4.643      4.521      5.162    1.02
      jobd, events only       4.704      4.213      5.846    1.04
    10 minutes of fork+exit
      processes                            6,320,000
      processes/s                             10,510
      s until all was stored, after the end    0.041
      events lost                                  0
      CPU us/event                            16.176
      peak MiB                                59.086

    2026-11-30, on a machine that other programs kept busy (load 9 to 10)
    3 minutes of fork+exit
      processes                              800,000
      processes/s                              4,207
      s until all was stored, after the end    0.081
      events lost                                  0
      CPU us/event                            19.169
      peak MiB                                63.363
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure
from benchmarks.measure import Table
from tests.support.elsa_host import Host
from tests.support.peers import program

PROCESSES = 40_000
# An exec costs some twenty times as much as a fork.
EXECS = 4_000
NOBODY, BARE, FORKSTAT, JOBD, BY_HAND, EVENTS_ONLY = (
    "nobody listens",
    "C listener",
    "forkstat",
    "jobd",
    "jobd, no automatic jobs",
    "jobd, events only",
)
HZ = os.sysconf("SC_CLK_TCK")


class Run(NamedTuple):
    """One workload under one listener."""

    wall_s: float
    cpu_s: float
    """CPU time of the listener, until it had printed or stored everything."""
    peak_mib: float
    lost: int


class Listener(NamedTuple):
    """Something that listens."""

    pid: int | None
    settle: Callable[[], int]
    """Wait until it has done all it had to; what it lost."""


def cpu_s(pid: int | None) -> float:
    """CPU time of a process so far, with all its threads; 0 if there is no process."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / HZ


def idle(pid: int) -> int:
    """Wait until a process uses no CPU time any more; it loses nothing that is known."""
    before = -1.0
    while (now := cpu_s(pid)) > before:
        before = now
        time.sleep(0.3)
    return 0


@contextmanager
def listener(name: str, folder: Path, listen: Path) -> Iterator[Listener]:
    """Start one and end it."""
    if name == NOBODY:
        yield Listener(None, lambda: 0)
    elif name in (BARE, FORKSTAT):
        command = (
            [str(listen)] if name == BARE else [str(program("forkstat")), "-e", "fork,exec,exit"]
        )
        with (
            (folder / "told").open("wb") as told,
            subprocess.Popen(command, stdout=told) as process,
        ):
            time.sleep(0.5)
            yield Listener(process.pid, partial(idle, process.pid))
            process.send_signal(signal.SIGTERM)
    else:
        with ExitStack() as stack:
            host = Host(
                Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder))), folder / "pacct"
            )
            stack.callback(host.close)
            host.start(taskstats=name != EVENTS_ONLY, auto_jobs=name == JOBD)
            assert host.jobd is not None

            def settle() -> int:
                host.request("sync")
                return int(host.request("status")["lost"])

            yield Listener(host.jobd.pid, settle)


def once(name: str, folder: Path, listen: Path, workload: list[str]) -> Run:
    """One workload under one listener."""
    with listener(name, folder, listen) as one:
        before = cpu_s(one.pid)
        began = time.perf_counter()
        subprocess.run(workload, check=True)
        wall_s = time.perf_counter() - began
        lost = one.settle()
        return Run(
            wall_s, cpu_s(one.pid) - before, measure.peak(one.pid) / 1024 if one.pid else 0.0, lost
        )


def endure(minutes: float) -> list[Table]:
    """As many processes as the machine can start on every core, for so long: what is lost, and what
    jobd needs.
    """
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as made_in:
        folder = Path(made_in)
        workload = [str(measure.compiled("spawn", folder)), str(workers), str(PROCESSES)]
        with listener(JOBD, folder, folder) as one:
            before, began, processes = cpu_s(one.pid), time.perf_counter(), 0
            while time.perf_counter() - began < minutes * 60:
                subprocess.run(workload, check=True)
                processes += workers * PROCESSES
            wall_s = time.perf_counter() - began
            lost = one.settle()
            figures = {
                "processes": processes,
                "processes/s": processes / wall_s,
                "s until all was stored, after the end": time.perf_counter() - began - wall_s,
                "events lost": lost,
                "CPU us/event": (cpu_s(one.pid) - before) * 1e6 / (2 * processes),
                "peak MiB": measure.peak(one.pid or 0) / 1024,
            }
    return [
        Table(
            f"{minutes:g} minutes of fork+exit",
            "",
            "processes",
            {name: [figure] for name, figure in figures.items()},
        )
    ]


def bench(options: argparse.Namespace) -> list[Table]:
    """Every workload under every listener, in turns; or with --minutes, jobd alone for so long."""
    if options.minutes:
        return endure(options.minutes)
    workers = os.cpu_count() or 1
    peers = [FORKSTAT] if program("forkstat") else []
    names = [NOBODY, BARE, *peers, JOBD, BY_HAND, EVENTS_ONLY]
    made: list[Table] = []
    with tempfile.TemporaryDirectory() as made_in:
        folder = Path(made_in)
        listen, spawn = measure.compiled("listen", folder), measure.compiled("spawn", folder)
        each, few = (
            options.processes // workers,
            max(options.processes * EXECS // PROCESSES // workers, 1),
        )
        compiler = [
            shutil.which("cc") or "cc",
            "-O2",
            "-c",
            "-o",
            "/dev/null",
            str(measure.NATIVE / "listen.c"),
        ]
        units = max(few // 20, 1)
        for what, events, workload in (
            ("fork+exit", 2 * each * workers, [str(spawn), str(workers), str(each)]),
            (
                "fork+exec+exit",
                3 * few * workers,
                [str(spawn), str(workers), str(few), "/bin/true"],
            ),
            ("compiling", 9 * units * workers, [str(spawn), str(workers), str(units), *compiler]),
        ):
            runs: dict[str, list[Run]] = {name: [] for name in names}
            for number in range(options.rounds + 1):
                for name in names:
                    run = once(name, folder, listen, workload)
                    if number:
                        runs[name].append(run)
            title = f"{what}, {events:,} events on {workers} cores"
            made += [
                Table(
                    title,
                    "events/s",
                    NOBODY,
                    {name: [events / run.wall_s for run in some] for name, some in runs.items()},
                ),
                Table(
                    title,
                    "s, slow-down",
                    NOBODY,
                    {name: [run.wall_s for run in some] for name, some in runs.items()},
                ),
                Table(
                    title,
                    "CPU us/event",
                    BARE,
                    {name: [run.cpu_s * 1e6 / events for run in runs[name]] for name in names[1:]},
                ),
                Table(
                    title,
                    "peak MiB",
                    BARE,
                    {name: [run.peak_mib for run in runs[name]] for name in names[1:]},
                ),
                Table(
                    title,
                    "events lost",
                    JOBD,
                    {
                        name: [run.lost for run in runs[name]]
                        for name in names
                        if name.startswith(JOBD)
                    },
                ),
            ]
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--processes",
        type=int,
        default=PROCESSES,
        metavar="N",
        help=f"how many processes to start ({PROCESSES:,})",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="only see whether jobd loses nothing in so many minutes at the maximum",
    )
    measure.main(bench, parser)
