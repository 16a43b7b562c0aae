"""The small numbers that stand in the big tables of the warehouse, and the words that the views
show for them.

A test holds the `case` expressions of sql/ to these tables.
"""

from __future__ import annotations

from enum import IntEnum


class EventKind(IntEnum):
    """What a stored kernel event was (column event.kind)."""

    FORK = 1
    EXEC = 2
    EXIT = 3


class Origin(IntEnum):
    """How an incarnation became known (column process.origin)."""

    FORK = 1
    """Its fork was heard: start and parent are exact."""
    SNAPSHOT = 2
    """It was found alive in /proc: start is exact to a clock tick, parent is the one at that
    moment.
    """
    ACCT = 3
    """Only an accounting record tells of it: start and end are known to the second, parent where
    certain.
    """


class End(IntEnum):
    """How the end of an incarnation became known (column process.end_source; NULL while it runs)."""

    EXIT = 1
    """Its last thread's exit was heard."""
    VANISHED = 2
    """It was gone from /proc after a gap; the time is when that was noticed."""
    ACCT = 3
    """Its accounting record tells."""
    REUSED = 4
    """Its pid was seen in the hands of another; the time is when that began."""
    REBOOT = 5
    """The machine went down before its end was heard; the time is the last moment known of that
    boot.
    """


class How(IntEnum):
    """How an incarnation came into a job (column membership.how)."""

    ADDED = 1
    INHERITED = 2
    LAUNCHED = 3
    INFERRED = 4
    """Its line to a member was not heard but concluded."""
    DEFINED = 5
    """It was recorded, and selected for a job that was defined after the fact."""
    MOVED = 6
    """It was moved into the control group of an automatic job."""
    SAMPLED = 7
    """An exec or exit of it was recorded in that control group; its way there was not."""
    PRESENT = 8
    """It was in that control group when jobd started to listen."""


class Join(IntEnum):
    """What became of an accounting record (column acct.join_outcome)."""

    PENDING = 0
    """Its events may still come."""
    EXACT = 1
    """Joined to an incarnation; nothing else fits."""
    UNCERTAIN = 2
    """Joined, but a known gap touches the time in question."""
    SELF = 3
    """Not an end of a process: the record that acct(2) writes about its own caller. Never counted.
    """
    OWN = 4
    """No witness but the record itself; its incarnation was made from it."""
    AMBIGUOUS = 5
    """Several pairings fit equally well: counted, but with no incarnation."""
