"""What the members of a job used, added up. Pure.

CPU time has two sources. `run_ns` of taskstats is measured, except for the last slice of each
thread, at most a tick: for a tree of very short processes it is far too low. wait4's rusage of the
command and its descendants is complete, but covers only processes that were waited for. Neither is
more than the truth, and a process that ended after the command is not in the command's rusage. So
the total is the larger of two sums: taskstats alone, or rusage plus the processes that ended after
the command. For these, sampled ticks fill in what was not measured. What is still missing is less
than a tick for each thread.

Peak memory has two sources as well. taskstats reports that of the last program that a process
executed, since the kernel forgets the peak at every exec. wait4 reports the largest peak of all
processes that were waited for, whatever they executed, but not which process had it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from elsa.measures import LONGEST_TICK_NS
from elsa.state.codes import LARGEST, MEASURED
from elsa.units import SECOND_NS

# Events of two CPUs may disagree about the time by 0.2 ms (178 us were seen).
AFTER_NS = 1_000_000
# How many commands a cost report lists.
MOST_COMMANDS = 5
# The kernel counts resident pages per CPU, so the two sources of one peak may differ by this much.
PAGES_KIB = 1024


class Usage(NamedTuple):
    """What one or several processes used, as reports show it; None is unknown."""

    processes: int
    cpu_s: float | None
    peak_rss_kib: int | None
    """The largest, not the sum."""
    read_chars: int | None
    write_chars: int | None
    read_bytes: int | None
    write_bytes: int | None

    @property
    def io(self) -> tuple[int | None, ...]:
        """Characters and bytes, in the order of the fields."""
        return self.read_chars, self.write_chars, self.read_bytes, self.write_bytes

    def plus(self, other: Usage) -> Usage:
        """The sum of both. Of peaks, the known one is a lower bound."""
        peaks = [peak for peak in (self.peak_rss_kib, other.peak_rss_kib) if peak is not None]
        cpu_s = None
        if self.cpu_s is not None and other.cpu_s is not None:
            cpu_s = self.cpu_s + other.cpu_s
        io = (
            None if mine is None or theirs is None else mine + theirs
            for mine, theirs in zip(self.io, other.io, strict=True)
        )
        return Usage(self.processes + other.processes, cpu_s, max(peaks, default=None), *io)

    def since(self, before: Usage | None) -> Usage:
        """The same without what was used before; peaks cannot be divided."""
        if before is None:
            return self
        cpu_s = self.cpu_s
        if cpu_s is not None and before.cpu_s is not None:
            cpu_s = max(cpu_s - before.cpu_s, 0.0)
        io = (
            None if now is None or earlier is None else max(now - earlier, 0)
            for now, earlier in zip(self.io, before.io, strict=True)
        )
        return Usage(self.processes, cpu_s, self.peak_rss_kib, *io)


NOTHING = Usage(0, 0.0, 0, 0, 0, 0, 0)
"""The usage of no process."""


class JobPeak(NamedTuple):
    """The most memory of all members together at one moment."""

    kib: int
    by: str
    """How it is known: as in column job_peak_by."""

    def at_least(self, largest_kib: int | None) -> JobPeak:
        """The same, or the peak of the largest member if that is more."""
        if largest_kib is not None and largest_kib > self.kib:
            return JobPeak(largest_kib, LARGEST)
        return self


@dataclass
class TaskstatsSum:
    """What taskstats reported of one process that ended, or the sum over several."""

    threads: int = 0
    complete: int = 0
    """Processes with the statistics of all their threads."""
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
    with_usage: int = 1
    """Processes of which there are statistics."""
    processes: int = 1

    def add(self, other: TaskstatsSum) -> None:
        """Add further processes."""
        self.threads += other.threads
        self.complete += other.complete
        self.run_ns += other.run_ns
        self.utime_us += other.utime_us
        self.stime_us += other.stime_us
        self.read_chars += other.read_chars
        self.write_chars += other.write_chars
        self.read_bytes += other.read_bytes
        self.write_bytes += other.write_bytes
        self.cancelled_write_bytes += other.cancelled_write_bytes
        self.rss_kib = max(self.rss_kib, other.rss_kib)
        self.with_usage += other.with_usage
        self.processes += other.processes

    def subtract_cpu(self, cpu_ns: int) -> None:
        """Remove CPU time that was ELSA's own, from before the process became the command."""
        utime_us = self.utime_us - max(cpu_ns // 1000 - self.stime_us, 0)
        self.stime_us = max(self.stime_us - cpu_ns // 1000, 0)
        self.utime_us = max(utime_us, 0)
        self.run_ns = max(self.run_ns - cpu_ns, 0)

    def known(self, name: str) -> int | None:
        """One of the figures; None if there are no statistics of any of these processes."""
        value: int = getattr(self, name)
        return value if self.with_usage else None

    def sampled_ns(self, tick_ns: int) -> int:
        """By how much the sampled ticks exceed what was measured, but at most what may be missing:
        the last tick of each thread.
        """
        ticks_ns = (self.utime_us + self.stime_us) * 1000
        return max(min(ticks_ns - self.run_ns, self.threads * tick_ns), 0)

    def cpu_s(self, tick_ns: int) -> float:
        """Seconds on a CPU: what was measured, and what was sampled besides."""
        return (self.run_ns + self.sampled_ns(tick_ns)) / SECOND_NS

    def split(self, cpu_s: float) -> tuple[float, float]:
        """Divide CPU time into user and system mode, in the proportion of the ticks; all is user
        time where no tick came (as the kernel has it).
        """
        ticks = self.utime_us + self.stime_us
        user_s = cpu_s * self.utime_us / ticks if ticks else cpu_s
        return user_s, cpu_s - user_s


TASKSTATS_COLUMNS = tuple(
    each.name for each in fields(TaskstatsSum) if each.name not in ("with_usage", "processes")
)
"""Columns of the table `usage`, in the order in which TaskstatsSum takes them."""


def _no_process() -> TaskstatsSum:
    return TaskstatsSum(with_usage=0, processes=0)


class Member(NamedTuple):
    """A process that was in the job."""

    command: str | None
    end_ns: int | None
    """Monotonic; None while it runs."""
    used: TaskstatsSum | None
    """None where no statistics were received."""


class Waited(NamedTuple):
    """What wait4(2) reported of the command and of all descendants that were waited for."""

    user_s: float
    system_s: float
    rss_kib: int | None
    """The largest peak; None if it may be that of our own child before it became the command."""

    def without(self, cpu_ns: int, rss_kib: int) -> Waited:
        """The same without what our own child used before it became the command."""
        whole_s = self.user_s + self.system_s
        left = max(1 - cpu_ns / SECOND_NS / whole_s, 0) if whole_s else 1
        known = self.rss_kib is not None and self.rss_kib > rss_kib + PAGES_KIB
        return Waited(self.user_s * left, self.system_s * left, self.rss_kib if known else None)


class CommandCost(NamedTuple):
    """What all processes of one command name used."""

    command: str
    used: TaskstatsSum
    cpu_s: float | None


@dataclass
class JobTotals:
    """Members, added up one by one; nothing is kept of each."""

    tick_ns: int | None = None
    """The kernel's tick; None where it is not known."""
    all: TaskstatsSum = field(default_factory=_no_process)
    late: TaskstatsSum = field(default_factory=_no_process)
    """Members that ended after the command."""
    by_command: dict[str, TaskstatsSum] = field(default_factory=dict)
    running: int = 0
    unknown: int = 0
    """Members that ended without statistics."""
    partial: int = 0
    """Members with statistics of only some of their threads."""
    end_ns: int = 0
    """The last end."""
    largest: str = ""
    """The command of the process with the largest peak of memory."""
    whole: JobPeak | None = None
    """What readings of all members showed; None where there was no reading."""

    def add(self, member: Member, command_ended_ns: int | None) -> None:
        """Add a member; `command_ended_ns` is None as long as the command itself runs."""
        name = member.command or "?"
        used = member.used if member.used is not None else TaskstatsSum(with_usage=0)
        if used.rss_kib > self.all.rss_kib:
            self.largest = name
        self.all.add(used)
        self.by_command.setdefault(name, _no_process()).add(used)
        if member.end_ns is None:
            self.running += 1
            return
        self.end_ns = max(self.end_ns, member.end_ns)
        self.unknown += not used.with_usage
        self.partial += used.with_usage - used.complete
        if command_ended_ns is not None and member.end_ns > command_ended_ns + AFTER_NS:
            self.late.add(used)

    def so_far(self) -> Usage:
        """CPU time and peak of the members that have ended, without what only wait4 reports."""
        used = self.all
        return Usage(used.processes, used.cpu_s(self._tick_ns), used.rss_kib, *(None,) * 4)

    def cpu(self, waited: Waited) -> tuple[float, float]:
        """User and system CPU time in seconds: see the top of this file."""
        measured = self.all.split(self.all.run_ns / SECOND_NS)
        user_s, system_s = self.late.split(self.late.cpu_s(self._tick_ns))
        return max(measured, (waited.user_s + user_s, waited.system_s + system_s), key=sum)

    def sampled_s(self, waited: Waited) -> float:
        """How much of `cpu` is sampled: where it rests on wait4, the samples of the members that
        ended after the command.
        """
        sampled_s = self.late.sampled_ns(self._tick_ns) / SECOND_NS
        return sampled_s if sum(self.cpu(waited)) > self.all.run_ns / SECOND_NS else 0.0

    def more_s(self, waited: Waited) -> float | None:
        """How much more may have been used at most; None where statistics of threads are
        missing.
        """
        if self.unknown or self.partial:
            return None
        most_s = (self.all.run_ns + self.all.threads * self._tick_ns) / SECOND_NS
        return max(most_s - sum(self.cpu(waited)), 0.0)

    @property
    def _tick_ns(self) -> int:
        return self.tick_ns or LONGEST_TICK_NS

    def peak(self, waited: Waited) -> tuple[int | None, str | None]:
        """The largest peak in KiB and the command that had it; None where that is unknown."""
        reported = self.all.known("rss_kib")
        if waited.rss_kib is not None and (
            reported is None or waited.rss_kib > reported + PAGES_KIB
        ):
            return waited.rss_kib, None
        return reported, self.largest or None

    def job_peak(self, waited: Waited, measured_bytes: int | None) -> JobPeak | None:
        """The peak of all together: `measured_bytes` by their control group, else by readings; a
        lower bound where the largest member alone had more.
        """
        largest_kib, _ = self.peak(waited)
        whole = self.whole
        if measured_bytes is not None:
            whole = JobPeak((measured_bytes + 1023) // 1024, MEASURED)
        if whole is not None:
            return whole.at_least(largest_kib)
        return None if largest_kib is None else JobPeak(largest_kib, LARGEST)

    def most_cpu(self, total_s: float) -> Iterator[CommandCost]:
        """The commands that used most CPU time; those that used none at the end.

        What is sampled is an estimate, so together they must not have more of it than the whole.
        """
        sampled_s = self._sampled_of_commands_s
        share = self.divided_s(total_s) / sampled_s if sampled_s else 0
        costs = {
            name: (used.run_ns + share * used.sampled_ns(self._tick_ns)) / SECOND_NS
            for name, used in self.by_command.items()
        }
        by_cost = sorted(
            self.by_command.items(), key=lambda item: (-costs[item[0]], -item[1].processes, item[0])
        )
        return (
            CommandCost(name, used, costs[name] if used.with_usage else None)
            for name, used in by_cost[:MOST_COMMANDS]
        )

    def divided_s(self, total_s: float) -> float:
        """How much of the whole is divided among the commands by samples."""
        return min(max(total_s - self.all.run_ns / SECOND_NS, 0.0), self._sampled_of_commands_s)

    @property
    def _sampled_of_commands_s(self) -> float:
        return sum(used.sampled_ns(self._tick_ns) for used in self.by_command.values()) / SECOND_NS
