"""A hundred thousand processes: none lost, none wrong; and when jobd is made to lose some, it says
exactly how many, and nothing is wrong.

Each process names itself, so that who is who is known without what the joining goes by.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from elsa.kernel.connector import Connector
from tests.support.elsa_host import (
    Host,
    children_of,
    ended_afterwards,
    records,
    wait_until,
    workload,
)
from tests.support.truth import OF_THE_STORM, assert_no_record_is_joined_to_another_life

pytestmark = pytest.mark.kernel


def test_of_a_storm_nothing_is_lost_and_nothing_wrong(
    host: Host, native: Callable[[str], Path], record_property: Callable[[str, object], None]
) -> None:
    host.start()
    with workload(native("storm"), 2, 45_500, 20) as storm:
        storm.line()
        job = host.create("storm", storm.pid)
        began = time.monotonic()
        host.request("add", job=job, pids=[storm.pid], tree=True)
        storm.go()
        started, codes, lowest, highest = storm.line()
        took = time.monotonic() - began
        storm.rest()
    assert started >= 100_000
    host.request("sync")
    heard = time.monotonic() - began
    status = host.request("status")
    assert (status["lost"], status["gaps"]) == (0, 0)
    peak = host.rss_kib(peak=True)
    assert host.stop() == 0
    ingesting = time.monotonic()
    host.ingest_all()
    ingested = time.monotonic() - ingesting
    figures = {
        "processes": started,
        "processes_per_s": round(started / took),
        "events_per_s": round(status["events"] / heard),
        "jobd_peak_mib": peak >> 10,
        "records_per_s": round(
            status["events"] and host.value("select count(*) from acct") / ingested
        ),
    }
    for name, value in figures.items():
        record_property(name, value)
    print(figures)

    members = host.sql(
        f"""select count(*), sum(p.exit_status >> 8), min(p.pid), max(p.pid), count(a.id),
                   sum(a.exitcode >> 8), sum(a.join_outcome = 1),
                   sum(p.origin = 1 and p.end_source = 1), sum(a.comm_id = p.comm_id),
                   count(distinct p.comm_id)
            from all_memberships as m join process as p on p.id = m.process_id
            join comm as n on n.id = p.comm_id
            left join acct as a on a.process_id = p.id
            where m.job_id = ? and n.name {OF_THE_STORM}""",
        job,
    )
    assert members == [
        (started, codes, lowest, highest, started, codes, started, started, started, started)
    ]
    names = {
        name for (name,) in host.sql("select command from job_process_usage where job_id = ?", job)
    }
    mine = [record for record in records(host.pacct) if record.comm in names]
    assert len(mine) == started + 3
    usage = host.sql(
        "select processes, records, utime_ticks, stime_ticks, minflt, complete from job_usage where"
        " job_id = ?",
        job,
    )
    sums = [
        sum(column)
        for column in zip(
            *((record.utime, record.stime, record.minflt) for record in mine), strict=True
        )
    ]
    assert usage == [(started + 3, started + 3, *sums, 1)]
    assert_no_record_is_joined_to_another_life(host)
    host.assert_sound()


def test_what_an_overrun_loses_is_counted_and_mended_and_nothing_is_guessed(
    host: Host, native: Callable[[str], Path]
) -> None:
    """With the smallest buffer, and stopped in the middle of a storm, jobd must lose something."""
    stops = 3
    sleeper = "read go; sleep 300 & sleep 301 & wait"
    with Connector(256 << 20) as witness, ExitStack() as stack:
        host.start(receive_buffer_mib=1)
        witness.drain(1_000_000)
        early = witnessed(host, witness, 0)
        members = [
            stack.enter_context(workload("/bin/sh", "-c", sleeper, start_new_session=True))
            for _ in range(stops)
        ]
        stack.enter_context(ended_afterwards(*members))
        storm = stack.enter_context(workload(native("storm"), 2, 2500 * stops, 20, 100))
        workers = storm.line()
        victims = [stack.enter_context(workload("/bin/cat")) for _ in range(stops)]
        job = host.create("storm", *workers, *(one.pid for one in (*members, *victims)))
        storm.go()
        assert host.jobd is not None
        for member, victim in zip(members, victims, strict=True):
            time.sleep(0.2)
            host.jobd.send_signal(signal.SIGSTOP)
            time.sleep(0.4)  # the buffer holds 1,260 events
            member.go()
            victim.process.kill()
            victim.process.wait()
            time.sleep(0.1)
            host.jobd.send_signal(signal.SIGCONT)
        started = storm.line()[0]
        storm.rest()
        seen = 0

        def all_known() -> bool:
            nonlocal seen
            before = seen
            late = witnessed(host, witness, seen)
            seen = late[2]
            assert before <= seen
            return late[0] - early[2] <= late[1] - early[1] <= late[2] - early[0]

        wait_until("every event is heard or counted as lost", all_known, 20)
        sleeps = {pid for one in members for pid in children_of(one.pid)}
        assert len(sleeps) == 2 * stops
        wait_until(
            "the victims are closed", lambda: host.request("show", job=job)["living"] == 3 * stops
        )
        living = {member["pid"] for member in host.request("show", job=job)["members"]}
        assert living == sleeps | {one.pid for one in members}
        assert host.request("sync")
        status = host.request("status")
        assert host.sql(
            "select sum(lost), min(to_ns >= from_ns) from gap where kind = 'overrun'"
        ) == [(status["lost"], 1)]
        assert status["lost"] > 1000
    host.ingest_all()

    # Every process of the storm has one record, and every record one life, of the same name
    # wherever the life's name was heard.
    named = host.sql(
        f"""select n.name, a.process_id, a.join_outcome from acct as a
            join comm as n on n.id = a.comm_id where n.name {OF_THE_STORM}"""
    )
    hows = Counter(how for _, _, how in named)
    assert len(named) == len({name for name, _, _ in named}) == started
    assert hows[2] > 0
    assert hows[0] + hows[5] < 0.05 * started  # a few fit several lives equally well
    assert_no_record_is_joined_to_another_life(host)
    # All whose parent was there when they ended are in the job; of those left to init some cannot
    # be told.
    inside = {
        name for (name,) in host.sql("select command from job_process_usage where job_id = ?", job)
    }
    outside = [name for name, process, _ in named if process is not None and name not in inside]
    assert {name[1] for name in outside} <= {"-"}
    assert {name for name in inside if not name[0].isdigit()} <= {
        "storm",
        "worker",
        "sh",
        "sleep",
        "cat",
    }
    host.assert_sound()


def test_what_a_cpu_lost_is_counted_once_though_it_is_silent_for_long_afterwards(
    host: Host,
) -> None:
    host.start(receive_buffer_mib=1)
    assert host.jobd is not None
    host.jobd.send_signal(signal.SIGSTOP)
    processes_on_the_last_cpu(1500)
    host.jobd.send_signal(signal.SIGCONT)
    wait_until("the loss is told", lambda: host.request("status")["gaps"], 10)
    host.request("sync")
    told = host.request("status")
    processes_on_the_last_cpu(2)  # its next number shows the same loss
    host.request("sync")
    after = host.request("status")
    assert told["lost"] > 1000
    assert (after["lost"], after["gaps"]) == (told["lost"], told["gaps"])


def processes_on_the_last_cpu(count: int) -> None:
    """So many, one after the other, and nothing on another CPU meanwhile."""
    script = f"i=0; while [ $i -lt {count} ]; do (:); i=$((i+1)); done"
    subprocess.run(
        ["taskset", "-c", str((os.cpu_count() or 1) - 1), "sh", "-c", script], check=True
    )


def witnessed(host: Host, witness: Connector, before: int) -> tuple[int, int, int]:
    """Events that came before jobd was asked, events that it heard or knows to be lost, events that
    came before it answered.
    """
    first = before + len(witness.drain(1_000_000))
    # Unlike `status`, `list` waits until jobd has taken in what happened before.
    host.request("list")
    status = host.request("status")
    return first, status["events"] + status["lost"], first + len(witness.drain(1_000_000))
