"""What the members of a job used, added up. Pure.

CPU time has two witnesses. `run_ns` of taskstats is measured but for the last slice of each thread,
up to a tick, so a tree of very short processes would look cheap. What the command itself and its
descendants were waited for with (wait4's rusage) lacks nothing, but knows none that were not waited
for. Neither is more than the truth, and nobody who ended after the command is in its rusage: so the
total is the larger of the first alone, and the second with those added who came after. For these,
sampled ticks fill in what was not measured. All that is lacking is less than a tick for each
thread.

Peak memory has two as well: taskstats tells that of the last program that a process executed, since
the kernel forgets the peak at every exec; wait4 tells the largest of all who were waited for,
whatever they executed, but not whose it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from elsa.store.measures import LONGEST_TICK_NS

SECOND = 1_000_000_000
# Events of two CPUs may disagree about the time by 0.2 ms (178 us were seen).
AFTER_NS = 1_000_000
COSTLIEST = 5
# The kernel counts resident pages per CPU, so that the same peak may differ by this much from one
# witness to the other.
PAGES_KIB = 1024


class Used(NamedTuple):
    """What taskstats told of a process that ended, in the order in which warehouse and collector
    give it.
    """

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

    def without(self, cpu_ns: int) -> Used:
        """The same with so much less CPU time, which was ours before the process became the
        command.
        """
        stime_us = max(self.stime_us - cpu_ns // 1000, 0)
        utime_us = max(self.utime_us - max(cpu_ns // 1000 - self.stime_us, 0), 0)
        return self._replace(
            run_ns=max(self.run_ns - cpu_ns, 0), utime_us=utime_us, stime_us=stime_us
        )


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
    rss_kib: int | None
    """The largest peak; None if it may be that of our own child before it became the command."""

    def without(self, cpu_ns: int, rss_kib: int) -> Waited:
        """The same without what our child used, which became the command: it was waited for as
        well.
        """
        whole_s = self.user_s + self.system_s
        left = max(1 - cpu_ns / SECOND / whole_s, 0) if whole_s else 1
        known = self.rss_kib is not None and self.rss_kib > rss_kib + PAGES_KIB
        return Waited(self.user_s * left, self.system_s * left, self.rss_kib if known else None)


@dataclass
class Sum:
    """The sum over some processes, as far as taskstats told of them."""

    processes: int = 0
    known: int = 0
    """Of so many the figures are."""
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
        self.known += 1
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

    def figure(self, name: str) -> int | None:
        """One of the figures; None if taskstats told of none of these processes."""
        value: int = getattr(self, name)
        return value if self.known else None

    def sampled_ns(self, tick_ns: int) -> int:
        """What the sampled ticks have more than was measured: at most what each thread may lack,
        the last tick.
        """
        ticks_ns = (self.utime_us + self.stime_us) * 1000
        return max(min(ticks_ns - self.run_ns, self.threads * tick_ns), 0)

    def cpu_s(self, tick_ns: int) -> float:
        """Seconds on a CPU: what was measured, and what was sampled besides."""
        return (self.run_ns + self.sampled_ns(tick_ns)) / SECOND

    def split(self, cpu_s: float) -> tuple[float, float]:
        """So much CPU time in user and system mode, in the proportion of the ticks; all user where
        no tick came (as the kernel has it).
        """
        ticks = self.utime_us + self.stime_us
        user_s = cpu_s * self.utime_us / ticks if ticks else cpu_s
        return user_s, cpu_s - user_s


@dataclass
class Tally:
    """Members, added up one by one; nothing is kept of each."""

    tick_ns: int | None = None
    """The kernel's tick; None where it is not known."""
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
        user_s, system_s = self.late.split(self.late.cpu_s(self._tick_ns))
        return max(heard, (waited.user_s + user_s, waited.system_s + system_s), key=sum)

    def sampled_s(self, waited: Waited) -> float:
        """How much of that is sampled: of those who ended after the command, if what was waited for
        counts.
        """
        sampled_s = self.late.sampled_ns(self._tick_ns) / SECOND
        return sampled_s if sum(self.cpu(waited)) > self.all.run_ns / SECOND else 0.0

    def more_s(self, waited: Waited) -> float | None:
        """How much more may have been used at most; None where not every thread was told of."""
        if self.unknown or self.partial:
            return None
        return max(
            (self.all.run_ns + self.all.threads * self._tick_ns) / SECOND - sum(self.cpu(waited)),
            0.0,
        )

    @property
    def _tick_ns(self) -> int:
        return self.tick_ns or LONGEST_TICK_NS

    def peak(self, waited: Waited) -> tuple[int | None, str | None]:
        """The largest peak in KiB and whose it was; None where that is unknown."""
        told = self.all.figure("rss_kib")
        if waited.rss_kib is not None and (told is None or waited.rss_kib > told + PAGES_KIB):
            return waited.rss_kib, None
        return told, self.largest or None

    def costliest(self, total_s: float) -> Iterator[tuple[str, Sum, float | None]]:
        """The commands that cost most CPU time, with it; those that cost none at the end.

        What is sampled is an estimate, so together they must not have more of it than the whole.
        """
        sampled_s = self._sampled_of_commands_s
        share = self.divided_s(total_s) / sampled_s if sampled_s else 0
        costs = {
            name: (one.run_ns + share * one.sampled_ns(self._tick_ns)) / SECOND
            for name, one in self.by_command.items()
        }
        by_cost = sorted(
            self.by_command.items(), key=lambda item: (-costs[item[0]], -item[1].processes, item[0])
        )
        return (
            (name, one, costs[name] if one.known else None) for name, one in by_cost[:COSTLIEST]
        )

    def divided_s(self, total_s: float) -> float:
        """How much of the whole is divided among the commands by samples."""
        return min(max(total_s - self.all.run_ns / SECOND, 0.0), self._sampled_of_commands_s)

    @property
    def _sampled_of_commands_s(self) -> float:
        return sum(one.sampled_ns(self._tick_ns) for one in self.by_command.values()) / SECOND
