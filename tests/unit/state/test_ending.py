"""Which of its threads' codes is the wait status of a process: the one that the kernel's own order
tells, or none.
"""

from __future__ import annotations

import pytest

from elsa.state.ending import (
    APART_NS,
    FORK_LAG_NS,
    MOST_KEPT,
    OVERTAKEN_NS,
    PLAIN_APART_NS,
    ThreadEnd,
    ThreadEnds,
    ThreadExits,
    wait_status,
)

SECOND = 1_000_000_000
START = 7 * SECOND
SEVEN, NONE = 0x0700, 0


def ends(*told: tuple[int, int, bool]) -> list[ThreadEnd]:
    """Threads by code, microseconds since the start, and whether another one ended it."""
    return [ThreadEnd(100 + place, *one) for place, one in enumerate(told)]


def heard(*told: tuple[int, int, int, int]) -> ThreadExits:
    """Exit events: thread, code, CPU, time."""
    exits = ThreadExits()
    for one in told:
        exits.note(*one)
    return exits


def exits(threads: list[ThreadEnd], *cpus: int) -> ThreadExits:
    """The exit events of these threads, on these CPUs."""
    return heard(
        *(
            (end.tid, end.code, cpu, START + end.at_us * 1000)
            for end, cpu in zip(threads, cpus or range(9), strict=False)
        )
    )


def wait(
    threads: list[ThreadEnd],
    exits: ThreadExits,
    exec_ns: int | None = None,
    *,
    complete: bool = True,
) -> int | None:
    return wait_status(
        ThreadEnds(threads, [end.tid for end in threads], complete), exits, START, exec_ns
    )


def status(
    threads: list[ThreadEnd], *cpus: int, exec_ns: int | None = None, complete: bool = True
) -> int | None:
    return wait(threads, exits(threads, *cpus), exec_ns, complete=complete)


def apart(code: int, last: int, apart_ns: int) -> list[ThreadEnd]:
    return ends((code, 1000, False), (last, 1000 + apart_ns // 1000, False))


@pytest.mark.parametrize("complete", [True, False])
def test_a_thread_that_another_thread_ended_has_the_code_of_the_process(complete: bool) -> None:
    """exit_group(0) just after the leader ended with 7, while a third thread slept; its message
    comes first or last.
    """
    for told in (
        [(SEVEN, 9, False), (NONE, 9, False), (NONE, 9, True)],
        [(NONE, 9, True), (NONE, 9, False), (SEVEN, 9, False)],
    ):
        assert status(ends(*told), 0, 1, 2, complete=complete) == NONE


def test_a_core_dump_is_known_from_the_thread_that_died() -> None:
    assert status(ends((0, 5, False), (0x86, 9, True), (0x06, 9, True))) == 0x86


def test_without_such_a_thread_the_last_message_decides() -> None:
    """20 ms later, as in any program whose threads end one after the other."""
    assert status(apart(SEVEN, NONE, 20_000_000)) == NONE
    assert status(apart(NONE, SEVEN, 20_000_000)) == SEVEN


@pytest.mark.parametrize(
    ("code", "last", "limit_ns"),
    [(SEVEN, NONE, APART_NS), (SEVEN, 0x0500, APART_NS), (NONE, SEVEN, PLAIN_APART_NS)],
)
def test_messages_of_two_cpus_that_are_near_each_other_tell_nothing(
    code: int, last: int, limit_ns: int
) -> None:
    assert status(apart(code, last, limit_ns - 1000), 0, 1) is None
    assert status(apart(code, last, limit_ns - 1000), 1, 1) == last, "one CPU has one order"
    assert status(apart(code, last, limit_ns), 0, 1) == last


def test_a_thread_that_is_waited_for_ends_before_the_thread_that_waits() -> None:
    """pthread_join, then exit(7): whatever the order of the exit events."""
    threads = apart(NONE, SEVEN, 40_000)
    assert wait(threads, heard((101, SEVEN, 1, START), (100, NONE, 0, START + 1_000_000))) == SEVEN


def test_exits_on_one_cpu_are_in_order_though_other_threads_with_the_same_code_follow() -> None:
    """Many threads end by themselves one after the other; the order of their exit events is another
    one.
    """
    threads = apart(NONE, SEVEN, 20_000)
    told = heard((100, NONE, 1, START), (101, SEVEN, 1, START), (99, NONE, 0, START + 500_000))
    assert wait(threads, told) == SEVEN


def test_what_is_remembered_of_a_process_is_bounded() -> None:
    told = heard(*((tid, tid, 0, START) for tid in range(10 * MOST_KEPT)))
    assert (len(told.by_code), len(told.cpus)) == (MOST_KEPT, MOST_KEPT)


@pytest.mark.parametrize("missing", ["of a code", "of the last thread with a code"])
def test_where_a_message_was_lost_events_must_tell(missing: str) -> None:
    for apart_ns, true in ((20_000_000, None), (OVERTAKEN_NS + 1000, NONE)):
        first, last = apart(SEVEN, NONE, apart_ns)
        told = [last] if missing == "of a code" else [first._replace(tid=99), last]
        assert wait(told, exits([first, last]), complete=False) == true


def test_messages_that_were_lost_long_before_the_end_do_no_harm() -> None:
    """Of a process that was found with many threads, say."""
    assert status(apart(NONE, SEVEN, 40_000), complete=False) == SEVEN


def test_statistics_that_know_other_codes_than_the_events_are_not_believed() -> None:
    """An older kernel reports the code of the leader only."""
    threads = ends((NONE, 1, False), (NONE, 90_000, False))
    assert wait(threads, exits(apart(NONE, SEVEN, 90_000_000))) is None


def test_what_ended_before_another_program_was_executed_does_not_count() -> None:
    """The exec of one thread ends all others with 0."""
    threads = ends((NONE, 1000, True), (SEVEN, 500_000, False))
    after = heard((101, SEVEN, 0, START + SECOND // 2))
    assert wait(threads, after, START + SECOND // 4) == SEVEN


def test_near_an_exec_events_alone_decide_since_a_fork_event_may_be_late() -> None:
    threads = ends((NONE, 1000, True), (SEVEN, 2000, False), (0x0500, 2100, False))
    near = START + 1000 * 1000 - FORK_LAG_NS // 2
    assert wait(threads, heard((101, SEVEN, 0, START), (102, 0x0500, 1, START)), near) is None
    assert wait(threads, heard((101, SEVEN, 0, START)), near) == SEVEN


def test_of_nothing_follows_nothing() -> None:
    assert wait([], ThreadExits(), complete=False) is None
