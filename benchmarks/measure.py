"""What the benchmarks share: runs side by side, medians with their extremes, ratios against a
stated reference, a table and JSON.

Machines are noisy and no two are alike, so a figure counts only beside its reference, run in turns
with it in the same minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROUNDS = 5
LOOK_S = 0.01
NATIVE = Path(__file__).parent / "native"


class Sample(NamedTuple):
    """One run of a program."""

    wall_s: float
    cpu_s: float
    peak_mib: float


class Table(NamedTuple):
    """Figures of several candidates; one of them is what the others are compared with."""

    title: str
    unit: str
    reference: str
    figures: Mapping[str, Sequence[float]]


def run(command: Sequence[str | Path], **options: Any) -> Sample:  # noqa: ANN401
    """Run a program to its end, its output thrown away; RuntimeError if it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.DEVNULL, **options
    )
    peak_kib = 0
    while True:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        peak_kib = max(peak_kib, peak(process.pid))
        time.sleep(LOOK_S)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    return Sample(wall_s, used.ru_utime + used.ru_stime, peak_kib / 1024)


def peak(pid: int) -> int:
    """The most memory that a process ever had resident, in KiB; 0 when it has ended.

    ru_maxrss would not do: it begins with what the parent had.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    return next(
        (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0
    )


def in_turns(
    candidates: Mapping[str, Callable[[], Sample]], rounds: int = ROUNDS
) -> dict[str, list[Sample]]:
    """Run each candidate in every round, after one round that does not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, candidate in candidates.items():
            print(
                f"\r\033[K{'warming up' if not number else f'round {number} of {rounds}'}: {name}",
                end="",
                file=sys.stderr,
                flush=True,
            )
            sample = candidate()
            if number:
                samples[name].append(sample)
    print("\r\033[K", end="", file=sys.stderr, flush=True)
    return samples


def tables(
    title: str, reference: str, samples: Mapping[str, Sequence[Sample]], *fields: str
) -> list[Table]:
    """A table for each field of the samples."""
    units = {"wall_s": "wall s", "cpu_s": "CPU s", "peak_mib": "peak MiB"}
    return [
        Table(
            title,
            units[field],
            reference,
            {name: [getattr(one, field) for one in some] for name, some in samples.items()},
        )
        for field in fields
    ]


def compiled(name: str, folder: Path, *flags: str) -> Path:
    """A program of native/, built into a folder."""
    program = folder / name
    subprocess.run(
        [
            "cc",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-o",
            str(program),
            str(NATIVE / f"{name}.c"),
            *flags,
        ],
        check=True,
    )
    return program


def elsa(*words: str) -> list[str]:
    """The command line of ELSA, of this source tree."""
    return [sys.executable, "-c", "from elsa.cli.entry import elsa; elsa()", *words]


def lines(table: Table) -> list[str]:
    """A table as text: median, least, most, and how many times the reference's median it is."""
    width = max(map(len, table.figures))
    base = median(table.figures[table.reference])
    head = f"{table.title} [{table.unit}]"
    rows = [head, f"  {'':{width}}  {'median':>10} {'min':>10} {'max':>10} {'ratio':>7}"]
    for name, figures in table.figures.items():
        ratio = f"{median(figures) / base:.2f}" if base else "-"
        rows.append(
            f"  {name:{width}}  {median(figures):10.3f} {min(figures):10.3f} {max(figures):10.3f}"
            f" {ratio:>7}"
        )
    return rows


def machine() -> str:
    """What the figures were measured on."""
    return (
        f"{os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, Python"
        f" {platform.python_version()}"
    )


def main(
    measure: Callable[[argparse.Namespace], list[Table]], parser: argparse.ArgumentParser
) -> None:
    """Parse the options, measure, and print the tables, or with --json everything as JSON."""
    parser.add_argument("--json", action="store_true", help="print JSON, with every sample")
    parser.add_argument(
        "--rounds",
        type=int,
        default=ROUNDS,
        metavar="N",
        help=f"how often to measure each ({ROUNDS})",
    )
    options = parser.parse_args()
    measured = measure(options)
    if options.json:
        print(
            json.dumps(
                {
                    "machine": machine(),
                    "date": time.strftime("%F"),
                    "tables": [table._asdict() for table in measured],
                },
                indent=2,
            )
        )
        return
    print(f"{machine()}, {time.strftime('%F')}")
    for table in measured:
        print("\n".join(lines(table)))
