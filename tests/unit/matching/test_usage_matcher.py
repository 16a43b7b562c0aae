"""Messages of taskstats find their lives: in order where nothing was lost, by duration and status
where something was.
"""

from __future__ import annotations

import pytest

from elsa.decode import events as ev
from elsa.decode.events import Event
from elsa.decode.taskstats import Taskstats
from elsa.matching.usage_matcher import USAGE_COLUMNS, UsageMatcher, usage_row
from elsa.measures import COUNTERS, DELAYS, PEAKS
from elsa.state.codes import Origin
from elsa.state.incarnation import Incarnation, ProcSnapshot
from elsa.state.jobs import Jobs
from elsa.state.process_sums import ProcessStats
from elsa.state.process_table import Processes
from elsa.store import schema

MS = 1_000_000
PID = 100


def fork(time_ns: int, pid: int = PID) -> Event:
    return Event(0, ev.FORK, 0, time_ns, 1, 1, pid, pid, 0, 0)


def exited(time_ns: int, code: int = 0, pid: int = PID) -> Event:
    return Event(0, ev.EXIT, 0, time_ns, pid, pid, code, 17, 1, 1)


def stats(elapsed_ns: int, code: int = 0, pid: int = PID) -> ProcessStats:
    total = Taskstats._make(0 for _ in Taskstats._fields)._replace(
        pid=pid,
        tgid=pid,
        exitcode=code,
        etime_us=elapsed_ns // 1000,
        tgetime_us=elapsed_ns // 1000,
        blkio_delay_ns=7,
        irq_count=1,
        comm=b"cc1",
    )
    return ProcessStats(pid, 1, True, total)


def told(processes: Processes) -> list[int | None]:
    """The processes that have statistics so far, in the order of the messages."""
    return [row[0] for row in processes.changes.usage]


def test_kth_message_is_of_the_kth_life_however_the_streams_are_interleaved() -> None:
    processes = Processes(Jobs())
    matcher = UsageMatcher(processes, delays=True)
    processes.apply([fork(0), exited(5 * MS), fork(6 * MS), exited(9 * MS), fork(10 * MS)])
    first, second, third = (life.id for life in processes.changes.started)
    matcher.add([stats(5 * MS), stats(3 * MS)], 20 * MS)
    matcher.add([stats(9 * MS)], 20 * MS)
    processes.apply([exited(19 * MS)])
    matcher.drop_overdue(10**12)
    assert told(processes) == [first, second, third]
    assert not matcher.waiting


def test_message_that_comes_before_the_exit_event_is_taken_for_the_living() -> None:
    processes = Processes(Jobs())
    matcher = UsageMatcher(processes, delays=True)
    processes.apply([fork(0)])
    matcher.add([stats(5 * MS)], 6 * MS)
    processes.apply([exited(6 * MS), fork(7 * MS), exited(8 * MS)])
    matcher.add([stats(1 * MS)], 9 * MS)
    assert told(processes) == [life.id for life in processes.changes.started]


def test_lost_message_leaves_out_its_life_and_shifts_no_other() -> None:
    processes = Processes(Jobs())
    matcher = UsageMatcher(processes, delays=True)
    processes.apply(
        [
            fork(0),
            exited(50 * MS, code=256),
            fork(60 * MS),
            exited(90 * MS),
            fork(91 * MS),
            exited(4000 * MS),
        ]
    )
    matcher.add([stats(3909 * MS)], 4001 * MS)
    assert told(processes) == [processes.changes.started[2].id]


def test_statistics_of_an_unknown_earlier_process_are_not_given_to_a_later_one() -> None:
    processes = Processes(Jobs())
    matcher = UsageMatcher(processes, delays=True)
    processes.apply([fork(0), exited(MS)])
    matcher.add([stats(90_000 * MS), stats(MS)], 5000 * MS)
    assert told(processes) == [processes.changes.started[0].id]
    assert matcher.unmatched == 1


@pytest.mark.parametrize("ended", [False, True], ids=["seems to run", "vanished"])
def test_what_ended_while_jobd_was_down_gets_no_statistics_of_the_pids_next_process(
    ended: bool,
) -> None:
    processes = Processes(Jobs())
    matcher = UsageMatcher(processes, delays=True)
    for id_, pid in ((2, PID), (4, 7)):
        processes.restore(Incarnation(id_, pid, 1000 * MS, 0, Origin.FORK))
    if ended:
        processes.apply([exited(9005 * MS), exited(9005 * MS, pid=7)])
    # jobd listens since the 9th second: so the first of these started in its fifth, or later
    matcher.add([stats(4000 * MS), stats(8000 * MS, pid=7)], 9010 * MS, 9000 * MS)
    assert told(processes) == [4]
    assert matcher.unmatched == 1


def test_what_had_ended_before_jobd_listened_waits_for_no_statistics() -> None:
    processes = Processes(Jobs())
    matcher = UsageMatcher(processes, delays=True)
    processes.restore(Incarnation(10, PID, 8990 * MS, 0, Origin.FORK))
    processes.apply([fork(9010 * MS), exited(9011 * MS)])
    matcher.add([stats(MS)], 9020 * MS, 9000 * MS)
    assert told(processes) == [life.id for life in processes.changes.started]


def test_what_ended_before_statistics_were_received_waits_for_none() -> None:
    processes = Processes(Jobs())
    matcher = UsageMatcher(processes, 7 * MS, delays=True)
    processes.apply([fork(4 * MS), exited(5 * MS), fork(8 * MS), exited(9 * MS)])
    matcher.add([stats(MS)], 10 * MS, 7 * MS)
    assert told(processes) == [processes.changes.started[1].id]


def test_statistics_are_rather_those_of_a_process_that_started_as_late_as_theirs() -> None:
    """The message of the first was lost, and nothing else tells the two apart."""
    processes = Processes(Jobs())
    matcher = UsageMatcher(processes, delays=True)
    processes.apply([fork(0), exited(2 * MS), fork(900 * MS), exited(902 * MS)])
    matcher.add([stats(2 * MS)], 910 * MS, 890 * MS)
    assert told(processes) == [processes.changes.started[1].id]


def test_a_message_that_was_delayed_is_still_that_of_the_only_process() -> None:
    processes = Processes(Jobs())
    matcher = UsageMatcher(processes, delays=True)
    processes.apply([fork(0), exited(2 * MS)])
    matcher.add([stats(2 * MS)], 910 * MS, 890 * MS)
    assert told(processes) == [processes.changes.started[0].id]


@pytest.mark.parametrize("scan", ["shows nothing", "shows the next"])
def test_statistics_of_who_ended_during_a_scan_unseen_are_not_those_of_the_pids_next(
    scan: str,
) -> None:
    processes = Processes(Jobs())
    matcher = UsageMatcher(processes, delays=True)
    shown = [ProcSnapshot(1, 0, 0, 1, False, 0, b"init", 50 * MS)]
    if scan == "shows the next":
        shown.append(ProcSnapshot(PID, 1, 40 * MS, 1, False, 0, b"next", 50 * MS))
    processes.reconcile(shown, infer=True)
    processes.apply([exited(30 * MS), fork(41 * MS), exited(60 * MS)])
    theirs, its_own = stats(19 * MS), stats(18 * MS)
    its_own = its_own._replace(total=its_own.total._replace(minflt=5))
    matcher.add([theirs, its_own], 70 * MS)
    (next_life,) = (life for life in processes.changes.started if life.pid == PID)
    assert told(processes) == [next_life.id]
    assert [row[USAGE_COLUMNS.index("minflt")] for row in processes.changes.usage] == [5]
    assert matcher.unmatched == 1


def test_statistics_of_an_unknown_process_are_counted_and_given_to_none() -> None:
    processes = Processes(Jobs())
    matcher = UsageMatcher(processes, delays=True)
    processes.apply([fork(0)])
    matcher.add([stats(MS, pid=7), stats(500 * MS)], 100 * MS)
    assert told(processes) == []
    assert matcher.unmatched == 2


def test_delays_that_the_kernel_does_not_count_are_unknown_not_zero() -> None:
    for delays in (False, True):
        processes = Processes(Jobs())
        matcher = UsageMatcher(processes, delays=delays)
        processes.apply([fork(0), exited(MS)])
        matcher.add([stats(MS)], 2 * MS)
        (row,) = processes.changes.usage
        assert row[20] == (7 if delays else None)


def test_lives_do_not_wait_for_ever() -> None:
    processes = Processes(Jobs())
    matcher = UsageMatcher(processes, delays=True)
    processes.apply([fork(0), exited(MS)])
    matcher.drop_overdue(2 * MS)
    assert matcher.waiting
    matcher.drop_overdue(10_000 * MS)
    assert not matcher.waiting


def test_name_at_the_end_is_taken_where_no_other_is_known() -> None:
    processes = Processes(Jobs())
    matcher = UsageMatcher(processes, delays=True)
    processes.apply([fork(0), exited(MS), fork(0, 7), exited(MS, pid=7)])
    named, nameless = processes.changes.started
    named.comm = "sh"
    matcher.add([stats(MS), stats(MS, pid=7)], 2 * MS)
    assert (named.comm, nameless.comm) == ("sh", "cc1")


def test_counter_that_ran_over_is_unknown_and_the_others_stay() -> None:
    processes = Processes(Jobs())
    matcher = UsageMatcher(processes, delays=True)
    processes.apply([fork(0), exited(5 * MS)])
    one = stats(5 * MS)
    total = one.total._replace(
        utime_us=7, virtmem_mb_us=2**63 - 1, cpu_delay_ns=2**64 - 1, blkio_delay_ns=2**63
    )
    matcher.add([one._replace(total=total)], 6 * MS)
    (row,) = processes.changes.usage
    assert {7, 2**63 - 1} <= set(row)
    assert row.count(None) == 2


def usage_by_column(total: Taskstats, *, delays: bool) -> dict[str, int | None]:
    row = usage_row(3, ProcessStats(PID, 1, True, total), delays=delays)
    return dict(zip(schema.usage.columns.keys(), row, strict=True))


def test_every_field_of_a_measure_is_stored_in_its_column() -> None:
    total = Taskstats._make(range(1000, 1000 + len(Taskstats._fields)))
    usage = usage_by_column(total, delays=True)
    for measure in (*COUNTERS, *PEAKS):
        assert usage[measure.column] == getattr(total, measure.field), measure.name


def test_delays_are_unknown_where_the_kernel_does_not_count_them() -> None:
    total = stats(MS).total
    unknown = {key for key, value in usage_by_column(total, delays=False).items() if value is None}
    assert unknown == set(DELAYS)


def test_delay_by_interrupts_is_unknown_where_the_kernel_never_counted_one() -> None:
    total = stats(MS).total
    assert usage_by_column(total, delays=True)["irq_delay_ns"] == 0
    usage = usage_by_column(total._replace(irq_count=0), delays=True)
    assert (usage["irq_delay_ns"], usage["blkio_delay_ns"]) == (None, 7)
