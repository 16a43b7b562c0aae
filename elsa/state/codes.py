"""The codes that the warehouse's tables hold; the views show a word for each.

A test compares the `case` expressions of sql/ with these enumerations.
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
    """Its fork was received: start and parent are exact."""
    SNAPSHOT = 2
    """It was found alive in /proc: the start is exact to a clock tick, the parent is its parent at
    that moment.
    """
    ACCT = 3
    """It is known from an accounting record only: start and end are exact to a second, and the
    parent is set only if it is certain.
    """


class End(IntEnum):
    """How an incarnation's end became known (column process.end_source; NULL while it runs)."""

    EXIT = 1
    """Its last thread's exit was received."""
    VANISHED = 2
    """It was gone from /proc after a gap; the time is when that was noticed."""
    ACCT = 3
    """Its end is known from its accounting record."""
    REUSED = 4
    """Another process had its pid; the time is when that process started."""
    REBOOT = 5
    """The machine went down before its exit was received; the time is the last moment known of that
    boot.
    """


class How(IntEnum):
    """How an incarnation came into a job (column membership.how)."""

    ADDED = 1
    INHERITED = 2
    LAUNCHED = 3
    """It was started as the job's command; in an automatic job, by what is not in the job, and put
    into its control group before it executed anything.
    """
    INFERRED = 4
    """Its parentage was not received but inferred."""
    DEFINED = 5
    """It was recorded first, and selected later for a job that was defined after the fact."""
    MOVED = 6
    """It was moved into the control group of an automatic job."""
    SAMPLED = 7
    """An exec or exit of it was recorded in that control group; its way there was not."""
    PRESENT = 8
    """It was in that control group when jobd started to listen."""


# How the peak of a job is known (column job_peak_by), besides `sampled ...`: by its control group;
# or no reading showed as much as the largest process alone had.
MEASURED, LARGEST = "measured", "largest"


class MemoryBy(IntEnum):
    """How the memory of all members of a job together was read (columns job.memory_by and
    job_memory.memory_by).
    """

    PSS = 1
    """The sum of their proportional set sizes: what several share counts once."""
    RSS = 2
    """The sum of their resident set sizes: what several share counts for each, so it is an upper
    bound.
    """


class Join(IntEnum):
    """What became of an accounting record (column acct.join_outcome)."""

    PENDING = 0
    """Its process's events may still come."""
    EXACT = 1
    """Joined to an incarnation; nothing else fits."""
    UNCERTAIN = 2
    """Joined, but a known gap overlaps its time."""
    SELF = 3
    """Not an end of a process: the record that acct(2) writes about its own caller. Never counted.
    """
    OWN = 4
    """No other source knows the process; its incarnation was made from the record."""
    AMBIGUOUS = 5
    """It fits several incarnations equally well: counted, but joined to none."""


EDGE, OF_ALL, BEFORE_FIRST_RUN = 0, 1, 2
"""Of what a reading of usage is (column usage_reading.of_all): of a process that entered or left a
job, of all processes, or of what processes had used before jobd first ran in the boot.
"""
