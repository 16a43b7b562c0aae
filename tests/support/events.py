"""Short words for process events, as the kernel sends them."""

from __future__ import annotations

from elsa.decode import events as ev
from elsa.decode.events import Event

INIT = 1


def event(what: int, time_ns: int, *words: int, seq: int = 0, cpu: int = 0) -> Event:
    """Any event; the words that are not given are 0."""
    return Event._make((seq, what, cpu, time_ns, *words, *[0] * (6 - len(words))))


def fork(time_ns: int, parent: int, pid: int) -> Event:
    """A new process."""
    return event(ev.FORK, time_ns, parent, parent, pid, pid)


def clone(time_ns: int, tgid: int, tid: int) -> Event:
    """A new thread; the event names the parent of the process."""
    return event(ev.FORK, time_ns, INIT, INIT, tid, tgid)


def execed(time_ns: int, tgid: int) -> Event:
    """An exec; whichever thread called it is the leader by now."""
    return event(ev.EXEC, time_ns, tgid, tgid)


def exited(
    time_ns: int, tgid: int, code: int = 0, *, tid: int | None = None, parent: int = INIT
) -> Event:
    """The end of a thread, by default the leader. `parent` is 0 once it has been reaped, and for
    all but the leader.
    """
    parent = parent if tid in (None, tgid) else 0
    return event(ev.EXIT, time_ns, tid or tgid, tgid, code, 17, parent, parent)
