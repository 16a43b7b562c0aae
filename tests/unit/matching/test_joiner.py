"""Records of processes whose end was not heard: what is believed of them while jobd is at work, and
while it is not.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing

import pytest

from elsa.state.codes import End
from elsa.units import SECOND_NS
from tests.support.simulation import Lived, Warehouse

MS = 1_000_000
# It started at 10.5 s; its record says: between 9.99 s and 11.004 s.
LONG = Lived(0, 500, 3, 10_500 * MS, 10_500 * MS, 20_500 * MS, 20_510 * MS, 0)
CLEARLY_LATER_NS, SOON_NS = 11_300 * MS, 11_100 * MS


def joins(
    connection: sqlite3.Connection,
    history: list[Lived],
    lost: set[int],
    heard_ns: int,
    *,
    collector_running: bool = False,
) -> Counter[str]:
    return Warehouse(
        connection, history, [], lost, heard_ns, collector_running=collector_running
    ).count()


@pytest.mark.parametrize(("heard_ns", "how"), [(CLEARLY_LATER_NS, "exact"), (SOON_NS, "uncertain")])
def test_while_jobd_is_down_only_a_process_that_began_clearly_before_is_joined_exactly(
    connection: sqlite3.Connection, heard_ns: int, how: str
) -> None:
    assert joins(connection, [LONG], set(), heard_ns) == {how: 1}


def test_the_record_of_the_next_process_of_a_pid_is_not_joined_exactly_to_one_whose_exit_was_missed(
    connection: sqlite3.Connection,
) -> None:
    """Both began within a second, and the first one's record is missing: nothing tells that there
    were two.
    """
    first = LONG._replace(write_ns=10_700 * MS, exit_ns=10_701 * MS)
    second = Lived(1, 500, 3, 10_800 * MS, 10_800 * MS, 10_900 * MS, 10_901 * MS, 0)
    assert joins(connection, [first, second], {0}, 10_600 * MS) == {
        "uncertain": 1,
        "wrong uncertain": 1,
    }


def test_what_started_and_ended_while_proc_was_read_gets_no_record_that_contradicts_it(
    connection: sqlite3.Connection,
) -> None:
    """From 10.6 s on jobd listens again, and by 11 s it has read /proc. The first process was never
    seen, and ended with another code.
    """
    first = LONG._replace(write_ns=10_540 * MS, exit_ns=10_541 * MS, code=256)
    second = Lived(1, 500, 3, 10_700 * MS, 10_700 * MS, 10_740 * MS, 10_741 * MS, 0)
    for lost, expected in (({1}, {"own": 1}), (set(), {"own": 1, "uncertain": 1})):
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as empty:
            connection.backup(empty)
            gaps = [(10_400 * MS, 10_600 * MS)]
            warehouse = Warehouse(empty, [first, second], gaps, lost, scan_ns=400 * MS)
            assert warehouse.count() == expected


def test_a_process_that_started_while_jobd_was_down_is_known_from_its_record_alone(
    connection: sqlite3.Connection,
) -> None:
    assert joins(connection, [LONG], set(), 5 * SECOND_NS) == {"own": 1}
    ended = (
        "(start_ns + elapsed_ns + (select offset_ns from clock where id = end_clock_id)) /"
        " 3600000000000"
    )
    assert connection.execute(
        f"select ended_hour = {ended} from process where origin = 3"
    ).fetchall() == [(1,)]


def test_while_jobd_is_at_work_a_record_waits_for_the_end_of_its_process(
    connection: sqlite3.Connection,
) -> None:
    """The record is written up to 38 ms before the exit event arrives."""
    assert joins(connection, [LONG], set(), 20_505 * MS, collector_running=True) == {"pending": 1}
    assert connection.execute("select end_source from process where pid = 500").fetchone() == (
        None,
    )


@pytest.mark.parametrize("late_s", [None, 0, 2])
def test_the_end_from_a_cut_record_is_no_earlier_than_its_place_in_the_file(
    connection: sqlite3.Connection, late_s: int | None
) -> None:
    """The elapsed time of 400 days is cut by 2.55 s; a record before it in the file was written 2 s
    later than it says.
    """
    ticks = 400 * 86_400 * 100
    start_ns, end_ns = 10 * SECOND_NS, (ticks + 255) * 10 * MS + 10 * SECOND_NS
    warehouse = Warehouse(
        connection,
        [Lived(0, 500, 3, start_ns, start_ns, end_ns, end_ns, 0)],
        [],
        {0},
        start_ns + 60 * SECOND_NS,  # so long that no other process can have left the record
    )
    real_ns = connection.execute("select offset_ns from clock").fetchone()[0]
    btime = (end_ns + real_ns) // SECOND_NS - (ticks + 255) // 100
    connection.execute(
        """insert into acct (id, position, exitcode, pid, ppid, btime, etime, acct_file_id,
           join_outcome, version, flag, tty, uid, gid,
           utime, stime, mem, io, rw, minflt, majflt, swaps, comm_id, late_s)
           values (1, 0, 0, 500, 3, ?, ?, 1, 0, 3, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, ?)""",
        (btime, float(ticks), late_s),
    )
    warehouse.join_later(collector_running=False)
    warehouse.close_from_records()
    told = connection.execute(
        "select elapsed_ns / 1000000, end_source from process where pid = 500"
    ).fetchone()
    earliest_ms = (btime + ticks // 100 + (late_s or 0)) * 1000 - (start_ns + real_ns) // MS
    assert told == (ticks * 10 if late_s is None else max(ticks * 10, earliest_ms), End.ACCT)
    assert earliest_ms <= (end_ns - start_ns) // MS


def test_an_end_from_a_record_is_no_later_than_the_next_use_of_the_pid(
    connection: sqlite3.Connection,
) -> None:
    """The record is another process's, which nothing contradicts: the join is uncertain."""
    ended = LONG._replace(write_ns=10_520 * MS, exit_ns=10_521 * MS)
    unheard = Lived(1, 500, 3, 10_530 * MS, 10_530 * MS, 10_590 * MS, 10_591 * MS, 0)
    later = Lived(2, 500, 3, 10_700 * MS, 10_700 * MS, 13_000 * MS, 13_001 * MS, 0)
    warehouse = Warehouse(connection, [ended, unheard, later], [(10_510 * MS, 10_650 * MS)], {0})
    connection.execute(
        "update process set end_source = ?, elapsed_ns = ? where start_ns = ?",
        (End.REUSED, 40 * MS, ended.fork_ns),
    )
    warehouse.join_later(collector_running=False)
    warehouse.close_from_records()
    assert connection.execute(
        "select elapsed_ns, end_source from process where start_ns = ?", (ended.fork_ns,)
    ).fetchone() == (40 * MS, End.ACCT)


@pytest.mark.parametrize(("read_ns", "how"), [(10_750 * MS, "exact"), (10_950 * MS, "pending")])
def test_a_record_is_none_of_a_process_that_started_after_the_file_was_read(
    connection: sqlite3.Connection, read_ns: int, how: str
) -> None:
    """What happened meanwhile is stored, but the record of the second process was not read."""
    first = LONG._replace(write_ns=10_700 * MS, exit_ns=10_701 * MS)
    second = Lived(1, 500, 3, 10_800 * MS, 10_800 * MS, 11_001 * MS, 11_002 * MS, 0)
    warehouse = Warehouse(connection, [first, second], [], {1}, read_ns=read_ns)
    assert warehouse.count() == {how: 1}


@pytest.mark.parametrize(("heard_ns", "how"), [(CLEARLY_LATER_NS, End.ACCT), (SOON_NS, None)])
def test_only_a_record_that_is_certainly_its_own_ends_a_process_that_seems_to_run(
    connection: sqlite3.Connection, heard_ns: int, how: End | None
) -> None:
    """It may run on, and jobd, when it starts again, loads only what has not ended."""
    warehouse = Warehouse(connection, [LONG], [], set(), heard_ns, collector_running=False)
    warehouse.close_from_records()
    assert connection.execute("select end_source from process where pid = 500").fetchone() == (how,)
