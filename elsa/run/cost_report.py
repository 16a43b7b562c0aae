"""What a command with everything that it started cost: text for people, or an object for programs.
Pure.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from elsa import durations
from elsa.decode.cgroups import GroupCounters
from elsa.formats import signal_name, size
from elsa.measures import tick
from elsa.run.usage_sums import CommandCost, JobTotals, TaskstatsSum, Usage, Waited
from elsa.state.codes import LARGEST, MEASURED
from elsa.text import counted
from elsa.units import SECOND_NS

# Characters of a command line that are shown.
LONGEST = 120
UNKNOWN = "-"


@dataclass
class CostReport:
    """What `elsa run` prints."""

    command: Sequence[str]
    """Without secrets."""
    status: int
    """The command's wait status."""
    started_at_ns: int
    """Real time."""
    wall_ns: int
    """From the start of the command to the last end."""
    command_ns: int
    """To the end of the command itself."""
    waited: Waited
    totals: JobTotals | None = None
    """None: nothing is known except what was waited for."""
    job: tuple[int, str] | None = None
    """Id and name in jobd's warehouse."""
    so_far: Usage | None = None
    """What the members that still run have used, where that could be read. No other figure includes
    it.
    """
    group: GroupCounters | None = None
    """What the command's own control group counted; None where it had none."""
    killed: Sequence[str] = ()
    """Which limits of its budget were exceeded when the command was killed for that."""
    lost: int = 0
    """Events and statistics that are known to be lost, of the whole host."""
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether all figures are those of all members."""
        totals = self.totals
        if totals is None or totals.running or totals.unknown or totals.partial:
            return False
        return not (self.lost or self.notes)

    def all_notes(self) -> list[str]:
        """What a reader of the figures must know."""
        notes = []
        if self.totals is not None and self.totals.running:
            see = " (see `so far`)" if self.so_far else ""
            notes.append(
                f"{counted(self.totals.running, 'process')} still running, and not in the"
                f" figures{see}"
            )
        if self.totals is not None and self.totals.unknown:
            notes.append(
                f"no statistics of {counted(self.totals.unknown, 'process')} were received: CPU"
                " time is what wait4 reported"
            )
        if self.totals is not None and self.totals.partial:
            notes.append(
                "memory and I/O include only some threads of"
                f" {counted(self.totals.partial, 'process')}"
            )
        if self.lost:
            notes.append(
                f"{self.lost} events or statistics of this host were lost meanwhile: the figures"
                " are lower bounds"
            )
        return notes + self.notes

    def as_object(self) -> dict[str, Any]:
        """What programs get; None is unknown."""
        totals = self.totals
        if totals is None:
            user_s, system_s = self.waited.user_s, self.waited.system_s
            peak_kib, largest = self.waited.rss_kib, None
            used = TaskstatsSum(with_usage=0)
        else:
            user_s, system_s = totals.cpu(self.waited)
            peak_kib, largest = totals.peak(self.waited)
            used = totals.all
        job_peak = (totals or JobTotals()).job_peak(
            self.waited, self.group.memory_peak if self.group else None
        )
        cpu_s, wall_s = user_s + system_s, self.wall_ns / SECOND_NS
        job_id, job_name = self.job or (None, None)
        exited = not self.status & 0x7F
        return {
            "command": list(self.command),
            "job_id": job_id,
            "job_name": job_name,
            "exit_code": self.status >> 8 & 0xFF if exited else None,
            "exit_signal": self.status & 0x7F,
            "killed": list(self.killed),
            "started_at_ns": self.started_at_ns,
            "wall_s": wall_s,
            "command_s": self.command_ns / SECOND_NS,
            "cpu_s": cpu_s,
            "user_s": user_s,
            "system_s": system_s,
            "sampled_s": totals.sampled_s(self.waited) if totals else 0.0,
            "more_s": totals.more_s(self.waited) if totals and not self.lost else None,
            "cpus": cpu_s / wall_s if wall_s else None,
            "job_peak_kib": job_peak.kib if job_peak else None,
            "job_peak_by": job_peak.by if job_peak else None,
            "peak_rss_kib": peak_kib,
            "peak_command": largest,
            **{name: used.known(name) for name in _COUNTERS},
            "group": self.group._asdict() if self.group else None,
            "processes": used.processes if totals else None,
            "running": totals.running if totals else None,
            "so_far": self.so_far._asdict() if self.so_far else None,
            "unknown": totals.unknown if totals else None,
            "lost": self.lost,
            "complete": self.complete,
            "notes": self.all_notes(),
            "commands": [_row(cost) for cost in totals.most_cpu(cpu_s)] if totals else [],
        }

    def json(self) -> str:
        """One line."""
        return json.dumps(self.as_object(), ensure_ascii=True) + "\n"

    def markdown(self, budget: Sequence[str] = ()) -> str:
        """A table for the summary of a CI run, with lines on its budget."""
        values = self.as_object()
        least = "" if self.complete else "at least "
        peak = values["job_peak_kib"]
        which = "peak memory"
        if values["job_peak_by"] not in (None, LARGEST):
            which += f" of all together ({values['job_peak_by']})"
        rows = [
            ("wall", durations.text(values["wall_s"])),
            ("CPU", least + durations.text(values["cpu_s"])),
            (which, _size(peak and peak * 1024)),
            ("read from storage", _size(values["read_bytes"])),
            ("written to storage", _size(values["write_bytes"])),
            ("processes", UNKNOWN if values["processes"] is None else str(values["processes"])),
            ("ended by", _ending(self.status)),
            *(("killed", _in_markdown(why)) for why in self.killed),
            *(("budget", _in_markdown(line)) for line in budget),
        ]
        lines = [f"### {_in_markdown(self._title())}", "", "| | |", "|---|---:|"]
        lines += [f"| {name} | {value} |" for name, value in rows]
        if values["commands"]:
            lines += ["", "| most CPU | processes | CPU | peak |", "|---|---:|---:|---:|"]
        for row in values["commands"]:
            cpu = UNKNOWN if row["cpu_s"] is None else durations.text(row["cpu_s"])
            largest = _size(row["rss_kib"] and row["rss_kib"] * 1024)
            name = _in_markdown(row["command"])
            lines.append(f"| {name} | {row['processes']} | {cpu} | {largest} |")
        lines += ["", *(f"* {_in_markdown(note)}" for note in values["notes"])]
        return "".join(map("{}\n".format, map(_printable, lines)))

    def text(self) -> str:
        """Some lines for people."""
        values = self.as_object()
        least = "" if self.complete else "at least "
        wall = durations.text(values["wall_s"])
        if self.totals is None:
            wall = least + wall
        if self.wall_ns - self.command_ns > SECOND_NS // 100:
            wall += f", the command itself {durations.text(values['command_s'])}"
        cpu = (
            f"{least}{_cpu(values['cpu_s'], values['user_s'], values['system_s'])};"
            f" {values['cpus'] or 0:.2f} CPUs used"
        )
        lines = [
            self._title(),
            f"  wall         {wall}",
            f"  CPU          {cpu}",
            f"  measured     {self._measured(values)}",
            f"  peak memory  {self._peak(values)}",
        ]
        if self.group is not None:
            lines.append(f"  group        {_of_group(self.group)}")
        if self.totals is not None:
            lines += self._io(values, least)
            count = values["threads"]
            threads = f", with {counted(count, 'thread')}"
            if self.totals.all.with_usage < values["processes"]:
                threads = ""
            few = least if self.lost else ""
            lines.append(f"  processes    {few}{values['processes']}{threads}")
        if self.so_far:
            lines.append(f"  so far       {_so_far(self.so_far)}")
        lines.append(f"  ended by     {_ending(self.status)}")
        lines += [f"  killed       {why}" for why in self.killed]
        lines += _table(values["commands"])
        lines += [f"  note: {note}" for note in values["notes"]]
        return "".join(map("{}\n".format, map(_printable, lines)))

    def _title(self) -> str:
        title = _short(shlex.join(self.command))
        return f"job {self.job[0]} ({self.job[1]}): {title}" if self.job else title

    @staticmethod
    def _io(values: dict[str, Any], least: str) -> list[str]:
        """The lines about storage and about characters."""
        lines = []
        for name, kind in (("storage", "bytes"), ("characters", "chars")):
            read, written = values[f"read_{kind}"], values[f"write_{kind}"]
            line = f"{'' if read is None else least}{_size(read)} read, {_size(written)} written"
            cancelled = values["cancelled_write_bytes"]
            if kind == "bytes" and cancelled:
                line += f" ({_size(cancelled)} that waited to be written were deleted)"
            lines.append(f"  {name:<11}  {line}")
        return lines

    def _measured(self, values: dict[str, Any]) -> str:
        """What of the CPU time is measured and what sampled, with the bound."""
        sampled_s, more_s = values["sampled_s"], values["more_s"]
        sampled, divided = durations.text(sampled_s), ""
        text = f"{durations.text(values['cpu_s'] - sampled_s)} of that, {sampled} sampled; "
        if more_s is None or self.totals is None:
            text += "how much more was used is not known"
        else:
            less = f", or {sampled} less" if sampled_s else ""
            text += (
                f"up to {durations.at_most(more_s)} more was used{less}: less than a tick"
                f" ({tick(self.totals.tick_ns)}) per thread"
            )
        if self.totals and (divided_s := self.totals.divided_s(values["cpu_s"])):
            divided = f"; {durations.text(divided_s)} of the commands' is sampled"
        return text + divided

    def _peak(self, values: dict[str, Any]) -> str:
        by, parts = values["job_peak_by"], []
        if by not in (None, LARGEST, MEASURED):  # what is measured is in the line `group`
            parts.append(f"{_size(values['job_peak_kib'] * 1024)} of all together ({by})")
        if values["peak_rss_kib"] is not None:
            parts.append(self._largest(values))
        return "; ".join(parts) or UNKNOWN

    def _largest(self, values: dict[str, Any]) -> str:
        least = "" if self.complete else "at least "
        which = f" ({values['peak_command']})"
        if not values["peak_command"]:
            which = " that was waited for, which may have executed another program since"
        peak = _size(values["peak_rss_kib"] * 1024)
        return f"{least}{peak}, the largest single process{which}"


_COUNTERS = (
    "read_chars",
    "write_chars",
    "read_bytes",
    "write_bytes",
    "cancelled_write_bytes",
    "threads",
)


def _row(cost: CommandCost) -> dict[str, Any]:
    figures = {key: cost.used.known(key) for key in ("rss_kib", *_COUNTERS[:4])}
    return {
        "command": cost.command,
        "processes": cost.used.processes,
        "cpu_s": cost.cpu_s,
        **figures,
    }


def _of_group(counted: GroupCounters) -> str:
    """What the control group of the command counted: exact, whatever processes it had."""
    user_s, system_s = ((time_us or 0) / 1e6 for time_us in counted[:2])
    words = [f"CPU {_cpu(user_s + system_s, user_s, system_s, ' exactly')}"]
    if counted.memory_peak is not None:
        words.append(f"peak memory of all together {_size(counted.memory_peak)}")
    if counted.read_bytes is not None:
        read, written = _size(counted.read_bytes), _size(counted.write_bytes)
        words.append(f"storage {read} read, {written} written")
    return "; ".join(words)


def _cpu(cpu_s: float, user_s: float, system_s: float, how: str = "") -> str:
    whole, user, system = map(durations.text, (cpu_s, user_s, system_s))
    return f"{whole}{how}: user {user}, system {system}"


def _so_far(used: Usage) -> str:
    """What the members that still run have used."""
    peak = UNKNOWN if used.peak_rss_kib is None else _size(used.peak_rss_kib * 1024)
    return (
        f"{counted(used.processes, 'process')} still running: CPU"
        f" {durations.text(used.cpu_s or 0)}, peak memory {peak}; storage"
        f" {_size(used.read_bytes)} read, {_size(used.write_bytes)} written; characters"
        f" {_size(used.read_chars)} read, {_size(used.write_chars)} written"
    )


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    lines = [
        f"  {'most CPU':<16}{'procs':>7}{'CPU':>10}{'peak':>12}{'chars read':>12}"
        f"{'chars written':>15}"
    ]
    for row in rows:
        peak, read, written = map(
            _size, (row["rss_kib"] and row["rss_kib"] * 1024, row["read_chars"], row["write_chars"])
        )
        cpu = UNKNOWN if row["cpu_s"] is None else durations.text(row["cpu_s"])
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
    name = signal_name(number)
    return f"signal {number} ({name})" if name else f"signal {number}"


def _size(count: float | None) -> str:
    return UNKNOWN if count is None else size(count)


def _in_markdown(text: str) -> str:
    """Text in which nothing is markup; - and + are only at the start of a line."""
    return re.sub(r"([\\`*_\[\]<>#|~&]|^[-+])", r"\\\1", text)


def _printable(line: str) -> str:
    """Nothing in a name steers the terminal."""
    return "".join(character if character.isprintable() else "?" for character in line)
