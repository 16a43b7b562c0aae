"""Values as people read them: times, sizes, how a process ended, tags."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime

from elsa.text import printable
from elsa.units import SECOND_NS


def local_time(value: str) -> str:
    """A time of a report, ISO 8601 with its zone, on this host's clock, to the second."""
    return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def local_time_ns(at_ns: int) -> str:
    """A real time on this host's clock, to the second."""
    return datetime.fromtimestamp(at_ns // SECOND_NS).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def utc_time(time_ns: int) -> str:
    """A real time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(time_ns // SECOND_NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def hundredths(value: float) -> str:
    """A figure to the hundredth."""
    return f"{value:.2f}"


def size(value: float) -> str:
    """Bytes in the largest unit of 1024 that leaves a whole number."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def exit_word(status: int) -> str:
    """A wait status: the exit code, or the signal that killed."""
    number = status & 0x7F
    if not number:
        return str(status >> 8 & 0xFF)
    return signal_name(number) or f"signal {number}"


def signal_name(number: int) -> str | None:
    """The name of a signal; None if it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return None


def tag_list(value: str) -> str:
    """A job's tags, from a json object."""
    return printable(" ".join(f"{key}={text}" for key, text in json.loads(value).items()))
