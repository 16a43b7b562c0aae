"""Lengths of time as people write and read them: `7d` or `36 hours` for --since, `elsa db prune`
and the settings; `1h02m05s` in tables.
"""

from __future__ import annotations

import re

# One number with its unit; several make a length, as in 1h02m05s.
_PART = re.compile(r"(?:(an?)\s+|(\d{1,6}(?:\.\d{1,6})?)\s*)([a-z]+)\s*")
_AGO = re.compile(r"(?:now-|-|last |past )?(.+?)(?: ago)?")
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
# A month and a year have a fixed length here: `last month` and `2026-11` follow the calendar.
_UNITS = {
    ("ms", "msec", "millisecond", "milliseconds"): 0.001,
    ("s", "sec", "secs", "second", "seconds"): 1,
    ("m", "min", "mins", "minute", "minutes"): _MINUTE_S,
    ("h", "hr", "hrs", "hour", "hours"): _HOUR_S,
    ("d", "day", "days"): _DAY_S,
    ("w", "week", "weeks"): 7 * _DAY_S,
    ("month", "months"): 30 * _DAY_S,
    ("y", "year", "years"): 365 * _DAY_S,
}
_OF_WORD = {word: seconds for words, seconds in _UNITS.items() for word in words}


def seconds(written: str) -> float | None:
    """How many seconds a written length is, in lower case: 90s, 1.5 hours, a week, 1h02m05s; None
    if it is none.
    """
    length_s, place = 0.0, 0
    while place < len(written) or not place:
        match = _PART.match(written, place)
        if match is None or match[3] not in _OF_WORD:
            return None
        length_s += float(match[2] or 1) * _OF_WORD[match[3]]
        place = match.end()
    return length_s if not written[-1].isspace() else None


def age(written: str) -> float | None:
    """The same for how long ago something was: also -30d, now-30d, last 7 days, 30 days ago."""
    match = _AGO.fullmatch(written)
    return seconds(match[1]) if match else None


def text(length_s: float) -> str:
    """Seconds to the hundredth, which is the kernel's tick; from a minute on as 12m34s, 1h02m05s or
    2d03h04m.
    """
    if length_s < 0:
        return f"-{text(-length_s)}"
    if round(length_s, 2) < _MINUTE_S:
        return f"{length_s:.2f} s"
    minutes, second = divmod(round(length_s), _MINUTE_S)
    if minutes < 60:
        return f"{minutes}m{second:02}s"
    hours, minute = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minute:02}m{second:02}s"
    return f"{hours // 24}d{hours % 24:02}h{minute:02}m"


def at_most(length_s: float) -> str:
    """The same of what something is at most: not nothing, if it may be more than that."""
    return text(max(length_s, 0.01) if length_s > 0 else length_s)
