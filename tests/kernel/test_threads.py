"""Processes of many threads: each is one incarnation with one end, whatever the order in which its
threads end.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.elsa_host import Host, Workload, wait_until, workload

pytestmark = pytest.mark.kernel

# Mode and threads, wait status of the process, status of its leader where that is another one.
CASES = {
    ("leader-first", 5): (0, None),
    ("group-exit", 5): (6 << 8, 0),
    ("other-exec", 5): (5 << 8, None),
    ("killed", 5): (9, 0),
    ("code", 1): (0, None),
    ("many", 500): (4 << 8, None),
    ("storm", 3000): (3 << 8, None),
    ("forking", 20): (2 << 8, 0),
    ("old", 50): (7 << 8, 0),
}


def start_all(
    native: Callable[[str], Path], stack: ExitStack, *modes: tuple[str, int]
) -> list[Workload]:
    started = [stack.enter_context(workload(native("threads"), *mode)) for mode in modes]
    assert [one.line() for one in started] == [[one.pid] for one in started]
    return started


def end(one: Workload) -> int:
    """Let it run to its end; its wait status."""
    one.go()
    code = one.process.wait(20)
    return -code if code < 0 else code << 8


@pytest.mark.parametrize("known", [True, False], ids=["heard-from-birth", "found-alive"])
def test_threads_are_one_process_with_one_end(
    host: Host, native: Callable[[str], Path], known: bool
) -> None:
    with ExitStack() as stack:
        if known:
            host.start()
        started = start_all(native, stack, *CASES)
        if not known:
            host.start()
        job = host.create("threads", *(one.pid for one in started))
        statuses = [end(one) for one in started]
        assert statuses == [status for status, _ in CASES.values()]
        wait_until("their ends are known", lambda: host.request("show", job=job)["living"] == 0)
    host.ingest()
    rows = {
        pid: rest
        for pid, *rest in host.sql(
            """select p.pid, p.origin, p.end_source, p.exit_status, p.leader_status, a.exitcode,
               a.join_outcome
               from all_memberships as m join process as p on p.id = m.process_id
               left join acct as a on a.process_id = p.id where m.job_id = ? and m.how = 1""",
            job,
        )
    }
    for one, ((mode, _), (status, leader)) in zip(started, CASES.items(), strict=True):
        recorded = status if leader is None else leader
        assert rows[one.pid] == [1 if known else 2, 1, status, leader, recorded, 1], mode
        assert host.value("select count(*) from process where pid = ?", one.pid) == 1, mode
    forking = started[[mode for mode, _ in CASES].index("forking")]
    children = (
        "select count(*) from job_process_usage where job_id = ? and ppid = ? and exit_code = 8 and"
        " record = 'exact'"
    )
    assert host.value(children, job, forking.pid) == 20
    assert (
        host.value("select count(*) from all_memberships where job_id = ?", job) == len(CASES) + 20
    )
    host.assert_sound()


def test_threads_that_begin_and_end_while_jobd_begins_are_not_counted_wrong(
    host: Host, native: Callable[[str], Path]
) -> None:
    """The count of threads of a process that was found is not sure: an exit on its way could end it
    in our books while it still runs.
    """
    with ExitStack() as stack:
        storms = start_all(native, stack, *[("storm", 40_000)] * 2)
        for one in storms:
            one.go()
        host.start()
        job = host.create("busy", *(one.pid for one in storms))
        assert [one.process.wait(60) for one in storms] == [3, 3]
        wait_until("their ends are known", lambda: host.request("show", job=job)["living"] == 0)
    assert host.stop() == 0
    ends = host.sql(
        "select pid, origin, end_source, exit_status from process where pid in (?, ?)",
        *(one.pid for one in storms),
    )
    assert sorted(ends) == sorted((one.pid, 2, 1, 3 << 8) for one in storms)


# Mode, microseconds, and whether the kernel's own order always decides.
ENDINGS = [
    ("pair", 20_000, True),
    ("pair", 0, False),
    ("three", 1000, True),
    ("wait", 0, False),
    ("abort", 1000, True),
    ("race", 0, False),
]
TIMES = 30


def test_a_wait_status_is_the_true_one_or_unknown_whichever_thread_ends_first(
    host: Host, native: Callable[[str], Path]
) -> None:
    host.start()
    program = str(native("exits"))
    true: dict[int, tuple[str, int, bool]] = {}
    for mode, us, sure in ENDINGS:
        for _ in range(TIMES):
            pid = os.posix_spawn(program, [program, mode, str(us)], {})
            true[pid] = f"{mode} {us}", os.waitpid(pid, 0)[1], sure
    host.ingest()
    rows = host.sql(
        "select pid, exit_status, record, killed from process_usage where command = 'exits' and"
        " state = 'ended'"
    )
    assert {row[0] for row in rows} == set(true)
    assert {row[2] for row in rows} == {"exact"}, "the record has the code of the leader"
    wrong = [
        (true[pid], told)
        for pid, told, _, killed in rows
        if told is not None and (told, killed) != (true[pid][1], told & 127 > 0)
    ]
    assert wrong == []
    unknown = Counter(true[pid][0] for pid, told, *_ in rows if told is None)
    assert [mode for pid, (mode, _, sure) in true.items() if sure and mode in unknown] == []
    assert unknown["wait 0"] < TIMES // 4, "threads that are waited for are no riddle"


@pytest.mark.parametrize("taskstats", ["on", "off"])
def test_the_command_of_a_job_ends_as_who_waited_for_it_saw_it(
    host: Host, native: Callable[[str], Path], taskstats: str
) -> None:
    """Whatever its threads and its record say; the report says the same."""
    host.start(taskstats=taskstats)
    true = {}
    for mode, us in (("pair", 0), ("pair", 20_000), ("race", 0), ("abort", 0), ("wait", 0)):
        done = host.run("job", "run", "--name", f"{mode} {us}", "--", native("exits"), mode, us)
        true[f"{mode} {us}"] = -done.returncode if done.returncode < 0 else done.returncode << 8
    host.ingest()
    assert dict(host.sql("select name, exit_status from job_usage")) == true
    assert true["pair 20000"] == 0
