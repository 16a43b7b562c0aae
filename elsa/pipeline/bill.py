"""What a command with all that it started cost: members are added up, and the sum becomes a bill for people or programs. Pure.

CPU time has two witnesses. `run_ns` of taskstats is exact but for the last slice of each thread, up to a tick, so a tree of very short
processes would look cheap. What the command itself and its descendants were waited for with (wait4's rusage) lacks nothing, but knows
none that were not waited for. Each is at least what the truth is, and nobody who ended after the command is in its rusage: so the bill
is the larger of the first alone, and the second with those added who came after.
"""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SECOND = 1_000_000_000
# Events of two CPUs may disagree about the time by 0.2 ms (178 us were seen).
AFTER_NS = 1_000_000
# The longest tick that a kernel has (CONFIG_HZ=100).
TICK_NS = 10_000_000
COSTLIEST = 5
# Characters of a command line that are shown.
LONGEST = 120


class Used(NamedTuple):
    """What taskstats told of a process that ended, in the order in which warehouse and collector give it."""

    threads: int
    complete: int
    run_ns: int
    utime_us: int
    stime_us: int
    read_chars: int
    write_chars: int
    read_bytes: int
    write_bytes: int
    cancelled_write_bytes: int
    rss_kib: int


class Member(NamedTuple):
    """A process that was in the job."""

    command: str | None
    end_ns: int | None
    """Monotonic; None while it runs."""
    used: Used | None


class Waited(NamedTuple):
    """What wait4(2) told of the command and of all descendants that were waited for."""

    user_s: float
    system_s: float
    rss_kib: int


@dataclass
class Sum:
    """The sum over some processes."""

    processes: int = 0
    threads: int = 0
    run_ns: int = 0
    utime_us: int = 0
    stime_us: int = 0
    read_chars: int = 0
    write_chars: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    cancelled_write_bytes: int = 0
    rss_kib: int = 0
    """The largest, not the sum."""

    def add(self, used: Used | None) -> None:
        """One process more."""
        self.processes += 1
        if used is None:
            return
        self.threads += used.threads
        self.run_ns += used.run_ns
        self.utime_us += used.utime_us
        self.stime_us += used.stime_us
        self.read_chars += used.read_chars
        self.write_chars += used.write_chars
        self.read_bytes += used.read_bytes
        self.write_bytes += used.write_bytes
        self.cancelled_write_bytes += used.cancelled_write_bytes
        self.rss_kib = max(self.rss_kib, used.rss_kib)

    @property
    def cpu_s(self) -> float:
        """Seconds on a CPU: what was counted, and of what each thread may lack, the last tick, as much as the sampled ticks make likely."""
        ticks_ns = (self.utime_us + self.stime_us) * 1000
        return max(self.run_ns, min(ticks_ns, self.run_ns + self.threads * TICK_NS)) / SECOND

    def split(self, cpu_s: float) -> tuple[float, float]:
        """So much CPU time in user and system mode, in the proportion of the ticks; all user where no tick came (as the kernel has it)."""
        ticks = self.utime_us + self.stime_us
        user_s = cpu_s * self.utime_us / ticks if ticks else cpu_s
        return user_s, cpu_s - user_s


@dataclass
class Tally:
    """Members, added up one by one; nothing is kept of each."""

    all: Sum = field(default_factory=Sum)
    late: Sum = field(default_factory=Sum)
    """Those who ended after the command."""
    by_command: dict[str, Sum] = field(default_factory=dict)
    running: int = 0
    unknown: int = 0
    """Members that ended without statistics."""
    partial: int = 0
    """Members of some of whose threads the statistics are missing."""
    end_ns: int = 0
    """The last end."""
    largest: str = ""
    """The command of the process with the largest peak of memory."""

    def add(self, member: Member, command_ended_ns: int | None) -> None:
        """One member more; `command_ended_ns` is None as long as the command itself runs."""
        used, name = member.used, member.command or "?"
        if used is not None and used.rss_kib > self.all.rss_kib:
            self.largest = name
        self.all.add(used)
        self.by_command.setdefault(name, Sum()).add(used)
        if member.end_ns is None:
            self.running += 1
            return
        self.end_ns = max(self.end_ns, member.end_ns)
        if used is None:
            self.unknown += 1
        else:
            self.partial += not used.complete
        if command_ended_ns is not None and member.end_ns > command_ended_ns + AFTER_NS:
            self.late.add(used)

    def cpu(self, waited: Waited) -> tuple[float, float]:
        """User and system CPU time in seconds: see the top of this file."""
        heard = self.all.split(self.all.run_ns / SECOND)
        user_s, system_s = self.late.split(self.late.cpu_s)
        return max(heard, (waited.user_s + user_s, waited.system_s + system_s), key=sum)

    def costliest(self) -> Iterator[tuple[str, Sum]]:
        """The commands that cost most CPU time, those that cost none at the end."""
        by_cost = sorted(self.by_command.items(), key=lambda item: (-item[1].cpu_s, -item[1].processes, item[0]))
        return iter(by_cost[:COSTLIEST])


@dataclass
class Bill:
    """Everything that is to be said."""

    command: Sequence[str]
    status: int
    """The command's wait status."""
    began_at_ns: int
    """Real time."""
    wall_ns: int
    """From the moment in which the command was let go to the last end."""
    command_ns: int
    """To the end of the command itself."""
    waited: Waited
    tally: Tally | None = None
    """None: nothing is known but what was waited for."""
    job: tuple[int, str] | None = None
    """Id and name in jobd's warehouse."""
    lost: int = 0
    """Events and statistics that are known to be lost, of the whole host."""
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether all figures are those of all members."""
        return self.tally is not None and not (self.lost or self.tally.running or self.tally.unknown or self.tally.partial or self.notes)

    def words(self) -> list[str]:
        """What must be said beside the figures."""
        words = []
        tally = self.tally
        if tally is not None and tally.running:
            words.append(f"{_count(tally.running, 'process')} still running, and not in the figures")
        if tally is not None and tally.unknown:
            words.append(f"no figures of {_count(tally.unknown, 'process')}: no statistics of them came")
        if tally is not None and tally.partial:
            words.append(f"only some threads of {_count(tally.partial, 'process')} are in memory and I/O")
        if self.lost:
            words.append(f"{self.lost} events or statistics of this host were lost meanwhile: the figures are at least so much")
        return words + self.notes

    def as_object(self) -> dict[str, Any]:
        """What programs get; None is unknown."""
        user_s, system_s = self._cpu()
        wall_s = self.wall_ns / SECOND
        total = self.tally.all if self.tally is not None else None
        return {
            "command": list(self.command),
            "job_id": self.job[0] if self.job else None,
            "job_name": self.job[1] if self.job else None,
            "exit_code": self.status >> 8 & 0xFF if not self.status & 0x7F else None,
            "exit_signal": self.status & 0x7F,
            "began_at_ns": self.began_at_ns,
            "wall_s": wall_s,
            "command_s": self.command_ns / SECOND,
            "cpu_s": user_s + system_s,
            "user_s": user_s,
            "system_s": system_s,
            "cpus": (user_s + system_s) / wall_s if wall_s else None,
            "peak_rss_kib": total.rss_kib if total else self.waited.rss_kib,
            "peak_command": self.tally.largest if self.tally else None,
            **{name: getattr(total, name) if total else None for name in _PLAIN},
            "running": self.tally.running if self.tally else None,
            "unknown": self.tally.unknown if self.tally else None,
            "lost": self.lost,
            "complete": self.complete,
            "notes": self.words(),
            "commands": [_row(name, one) for name, one in self.tally.costliest()] if self.tally else [],
        }

    def _cpu(self) -> tuple[float, float]:
        return self.tally.cpu(self.waited) if self.tally is not None else (self.waited.user_s, self.waited.system_s)

    def json(self) -> str:
        """One line."""
        return json.dumps(self.as_object(), ensure_ascii=True) + "\n"

    def text(self) -> str:
        """Some lines for people."""
        told = self.as_object()
        least = "" if self.complete else "at least "
        name = f"job {self.job[0]} ({self.job[1]}): " if self.job else ""
        lines = [
            name + _short(shlex.join(self.command)),
            f"  wall         {told['wall_s']:.2f} s" + (f", the command itself {told['command_s']:.2f} s" if self._outlived() else ""),
            f"  CPU          {least}{told['cpu_s']:.2f} s: user {told['user_s']:.2f}, system {told['system_s']:.2f};"
            f" {told['cpus'] or 0:.2f} CPUs used",
            f"  peak memory  {least}{_size(told['peak_rss_kib'] * 1024)}, the largest single process"
            + (f" ({told['peak_command']})" if told["peak_command"] else ""),
        ]
        if self.tally is not None:
            total = self.tally.all
            cancelled = f" ({_size(total.cancelled_write_bytes)} of it deleted in time)" if total.cancelled_write_bytes else ""
            lines += [
                f"  storage      {least}{_size(total.read_bytes)} read, {_size(total.write_bytes)} written{cancelled}",
                f"  characters   {least}{_size(total.read_chars)} read, {_size(total.write_chars)} written",
                f"  processes    {least if self.lost else ''}{total.processes}, with {total.threads} threads",
            ]
        lines.append(f"  ended by     {_ending(self.status)}")
        lines += _table(told["commands"])
        lines += [f"  note: {word}" for word in self.words()]
        return "".join(map("{}\n".format, map(_printable, lines)))

    def _outlived(self) -> bool:
        return self.wall_ns - self.command_ns > SECOND // 100


_PLAIN = ("read_chars", "write_chars", "read_bytes", "write_bytes", "cancelled_write_bytes", "processes", "threads")


def _row(name: str, one: Sum) -> dict[str, Any]:
    figures = {key: getattr(one, key) for key in ("processes", "rss_kib", *_PLAIN[:4])}
    return {"command": name, "cpu_s": one.cpu_s, **figures}


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    lines = [f"  {'costliest':<16}{'procs':>7}{'CPU s':>10}{'peak':>12}{'chars read':>12}{'written':>12}"]
    for row in rows:
        sizes = (row["rss_kib"] * 1024, row["read_chars"], row["write_chars"])
        lines.append(f"  {row['command']:<16}{row['processes']:>7}{row['cpu_s']:>10.2f}" + "".join(f"{_size(size):>12}" for size in sizes))
    return lines


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _ending(status: int) -> str:
    number = status & 0x7F
    if not number:
        return f"exit status {status >> 8 & 0xFF}"
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 'es'}"


def _size(count: float) -> str:
    """Bytes in the largest unit of which there is at least one."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _printable(line: str) -> str:
    """Nothing in a name steers the terminal."""
    return "".join(character if character.isprintable() else "?" for character in line)
