"""Pids that come again and again: every record belongs to the right life, and every life to the
right job.

Each process names itself, so that who is who is known without what the joining goes by (pid, times,
exit code).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.elsa_host import Host, workload

pytestmark = pytest.mark.kernel

PID_MAX = Path("/proc/sys/kernel/pid_max")


@contextmanager
def few_pids(highest: int) -> Iterator[None]:
    """So few pids that they come round many times a second."""
    before = PID_MAX.read_text()
    try:
        PID_MAX.write_text(str(highest))
        yield
    finally:
        PID_MAX.write_text(before)


@pytest.mark.parametrize(
    ("count", "pid", "highest"),
    [(3000, 0, 1000), (3000, 30_000, None)],
    ids=["wrapping", "the-same-pid"],
)
def test_every_life_of_a_pid_keeps_its_record_and_its_job(
    host: Host, native: Callable[[str], Path], count: int, pid: int, highest: int | None
) -> None:
    host.start()
    with workload(native("reuse"), count, pid) as reuse:
        workers = reuse.line()
        jobs = {name: host.create(name, worker) for name, worker in zip("AB", workers, strict=True)}
        if highest:
            with few_pids(highest):
                reuse.go()
                printed = reuse.rest()
        else:
            reuse.go()
            printed = reuse.rest()
    host.ingest_all()

    truth = {name: tuple(map(int, rest)) for name, *rest in map(str.split, printed)}
    assert len(truth) == 2 * count + 2 * count // 10
    pids = [life[0] for life in truth.values()]
    assert len(set(pids)) < len(pids) / 3
    rows = host.sql(
        """select name.name, command.name, p.pid, p.exit_status, p.start_ns,
           p.start_ns + p.elapsed_ns, a.pid, a.exitcode, a.join_outcome
           from process as p join comm as name on name.id = p.comm_id
           left join acct as a on a.process_id = p.id
           left join comm as command on command.id = a.comm_id"""
    )
    seen = {row[0]: row[1:] for row in rows if row[0] in truth}
    assert seen.keys() == truth.keys()
    for name, (true_pid, status, begin_ns, end_ns) in truth.items():
        joined, life_pid, exit_status, start_ns, ended_ns, record_pid, exitcode, how = seen[name]
        assert (joined, how) == (name, 1), name
        assert (life_pid, record_pid, exit_status, exitcode) == (
            true_pid,
            true_pid,
            status,
            status,
        ), name
        assert start_ns < begin_ns < end_ns < ended_ns, name

    members = host.sql(
        """select j.name, n.name from all_memberships as m join job as j on j.id = m.job_id
           join process as p on p.id = m.process_id join comm as n on n.id = p.comm_id
           where m.since_ns = 0"""
    )
    assert sorted(members) == sorted((name[0].upper(), name) for name in truth)
    usage = {row["job_id"]: row for row in host.report("jobs")}
    for job in jobs.values():
        assert (usage[job]["processes"], usage[job]["uncertain"], usage[job]["gaps"]) == (
            count + count // 10 + 1,
            0,
            0,
        )
    host.assert_sound()
