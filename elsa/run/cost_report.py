"""What a command with all that it started cost, in words and figures for people, or as an object
for programs. Pure.
"""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elsa.run.usage_sums import SECOND, Sum, Tally, Waited
from elsa.store.measures import tick

if TYPE_CHECKING:
    from elsa.run.live_usage import Figures

# Characters of a command line that are shown.
LONGEST = 120
UNKNOWN = "-"


@dataclass
class Bill:
    """Everything that is to be said."""

    command: Sequence[str]
    """Without secrets."""
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
    so_far: Figures | None = None
    """What the members that still run have used, where they could be looked at: in none of the
    other figures.
    """
    lost: int = 0
    """Events and statistics that are known to be lost, of the whole host."""
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether all figures are those of all members."""
        return self.tally is not None and not (
            self.lost
            or self.tally.running
            or self.tally.unknown
            or self.tally.partial
            or self.notes
        )

    def words(self) -> list[str]:
        """What must be said beside the figures."""
        words = []
        tally = self.tally
        if tally is not None and tally.running:
            but = ", but for what stands under `so far`" if self.so_far else ""
            words.append(
                f"{_count(tally.running, 'process')} still running, and not in the figures{but}"
            )
        if tally is not None and tally.unknown:
            words.append(
                f"no figures of {_count(tally.unknown, 'process')}: no statistics of them came; CPU"
                " time is what wait4 told"
            )
        if tally is not None and tally.partial:
            words.append(
                f"only some threads of {_count(tally.partial, 'process')} are in memory and I/O"
            )
        if self.lost:
            words.append(
                f"{self.lost} events or statistics of this host were lost meanwhile: the figures"
                " are at least so much"
            )
        return words + self.notes

    def as_object(self) -> dict[str, Any]:
        """What programs get; None is unknown."""
        user_s, system_s = self._cpu()
        wall_s = self.wall_ns / SECOND
        total = self.tally.all if self.tally is not None else Sum()
        peak_kib, largest = (
            self.tally.peak(self.waited) if self.tally is not None else (self.waited.rss_kib, None)
        )
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
            "sampled_s": self.tally.sampled_s(self.waited) if self.tally else 0.0,
            "more_s": self.tally.more_s(self.waited) if self.tally and not self.lost else None,
            "cpus": (user_s + system_s) / wall_s if wall_s else None,
            "peak_rss_kib": peak_kib,
            "peak_command": largest,
            **{name: total.figure(name) for name in _PLAIN},
            "processes": self.tally.all.processes if self.tally else None,
            "running": self.tally.running if self.tally else None,
            "so_far": self.so_far._asdict() if self.so_far else None,
            "unknown": self.tally.unknown if self.tally else None,
            "lost": self.lost,
            "complete": self.complete,
            "notes": self.words(),
            "commands": (
                [_row(*one) for one in self.tally.costliest(user_s + system_s)]
                if self.tally
                else []
            ),
        }

    def _cpu(self) -> tuple[float, float]:
        return (
            self.tally.cpu(self.waited)
            if self.tally is not None
            else (self.waited.user_s, self.waited.system_s)
        )

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
            f"  wall         {'' if self.tally is not None else least}{told['wall_s']:.2f} s"
            + (f", the command itself {told['command_s']:.2f} s" if self._outlived() else ""),
            (
                f"  CPU          {least}{told['cpu_s']:.2f} s: user {told['user_s']:.2f}, system"
                f" {told['system_s']:.2f}; {told['cpus'] or 0:.2f} CPUs used"
            ),
            f"  measured     {self._measured(told)}",
            f"  peak memory  {self._peak(told)}",
        ]
        if self.tally is not None:
            deleted = told["cancelled_write_bytes"]
            cancelled = (
                f" ({_size(deleted)} that waited to be written were deleted)" if deleted else ""
            )
            threads = (
                f", with {told['threads']} thread{'' if told['threads'] == 1 else 's'}"
                if self.tally.all.known == told["processes"]
                else ""
            )
            for name, kind in (("storage", "bytes"), ("characters", "chars")):
                read, written = told[f"read_{kind}"], told[f"write_{kind}"]
                more = cancelled if kind == "bytes" else ""
                lines.append(
                    f"  {name:<11}  {least if read is not None else ''}{_size(read)} read,"
                    f" {_size(written)} written{more}"
                )
            lines.append(f"  processes    {least if self.lost else ''}{told['processes']}{threads}")
        if self.so_far:
            lines.append(f"  so far       {_so_far(self.so_far)}")
        lines.append(f"  ended by     {_ending(self.status)}")
        lines += _table(told["commands"])
        lines += [f"  note: {word}" for word in self.words()]
        return "".join(map("{}\n".format, map(_printable, lines)))

    def _measured(self, told: dict[str, Any]) -> str:
        """What of the CPU time is measured and what sampled, with the bound."""
        sampled_s, more_s = told["sampled_s"], told["more_s"]
        words = f"{told['cpu_s'] - sampled_s:.2f} s of that, {sampled_s:.2f} s sampled; "
        if more_s is None or self.tally is None:
            words += "how much more was used is not known"
        else:
            less = f", or {sampled_s:.2f} s less" if sampled_s else ""
            words += (
                f"up to {more_s:.2f} s more was used{less}: less than a tick"
                f" ({tick(self.tally.tick_ns)}) per thread"
            )
        divided_s = self.tally.divided_s(told["cpu_s"]) if self.tally else 0.0
        return words + (f"; {divided_s:.2f} s of the commands' is sampled" if divided_s else "")

    def _peak(self, told: dict[str, Any]) -> str:
        if told["peak_rss_kib"] is None:
            return UNKNOWN
        whose = (
            f" ({told['peak_command']})"
            if told["peak_command"]
            else " that was waited for, which may have executed another program since"
        )
        return (
            f"{'' if self.complete else 'at least '}{_size(told['peak_rss_kib'] * 1024)}, the"
            f" largest single process{whose}"
        )

    def _outlived(self) -> bool:
        return self.wall_ns - self.command_ns > SECOND // 100


_PLAIN = (
    "read_chars",
    "write_chars",
    "read_bytes",
    "write_bytes",
    "cancelled_write_bytes",
    "threads",
)


def _row(name: str, one: Sum, cpu_s: float | None) -> dict[str, Any]:
    figures = {key: one.figure(key) for key in ("rss_kib", *_PLAIN[:4])}
    return {"command": name, "processes": one.processes, "cpu_s": cpu_s, **figures}


def _so_far(still: Figures) -> str:
    """What those that still run have used."""
    peak = UNKNOWN if still.peak_rss_kib is None else _size(still.peak_rss_kib * 1024)
    return (
        f"{_count(still.processes, 'process')} still running: CPU {still.cpu_s or 0:.2f} s, peak"
        f" memory {peak}; storage {_size(still.read_bytes)} read, {_size(still.write_bytes)}"
        f" written; characters {_size(still.read_chars)} read, {_size(still.write_chars)} written"
    )


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    lines = [
        f"  {'costliest':<16}{'procs':>7}{'CPU s':>10}{'peak':>12}{'chars read':>12}{'chars written':>15}"
    ]
    for row in rows:
        peak, read, written = map(
            _size, (row["rss_kib"] and row["rss_kib"] * 1024, row["read_chars"], row["write_chars"])
        )
        cpu = UNKNOWN if row["cpu_s"] is None else f"{row['cpu_s']:.2f}"
        lines.append(
            f"  {row['command']:<16}{row['processes']:>7}{cpu:>10}{peak:>12}{read:>12}{written:>15}"
        )
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


def _size(count: float | None) -> str:
    """Bytes in the largest unit of which there is at least one."""
    if count is None:
        return UNKNOWN
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _printable(line: str) -> str:
    """Nothing in a name steers the terminal."""
    return "".join(character if character.isprintable() else "?" for character in line)
