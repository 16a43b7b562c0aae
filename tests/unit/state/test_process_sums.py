"""Sums per process: every thread once, nobody else's, and where a thread is missing the sum says
so.
"""

from __future__ import annotations

from elsa.decode.acct import AFORK, AXSIG
from elsa.decode.taskstats import AGROUP, Message, Taskstats
from elsa.state.process_sums import ProcessSums

NOTHING = Taskstats._make([0] * len(Taskstats._fields))._replace(version=16, comm=b"work")


def thread(pid: int, tgid: int, **fields: int) -> Taskstats:
    return NOTHING._replace(pid=pid, tgid=tgid, **{"cpu_count": 1, **fields})  # type: ignore[arg-type]


def ended(pid: int, tgid: int, **fields: int) -> Message:
    return Message(thread(pid, tgid, **fields), None)


def last(pid: int, tgid: int, *, threads: int = 0, **fields: int) -> Message:
    """The last thread's message, with the part of a group whose threads were put on a CPU so often,
    if it had several.
    """
    flag = fields.pop("flag", 0) | AGROUP
    group = NOTHING._replace(cpu_count=threads) if threads else None
    return Message(thread(pid, tgid, flag=flag, **fields), group)


def test_a_process_of_one_thread_is_that_thread() -> None:
    message = last(5, 5, read_bytes=4096)
    (stats,) = ProcessSums().feed([message])
    assert (stats.tgid, stats.threads, stats.complete) == (5, 1, True)
    assert stats.total is message.thread


def test_threads_add_up_and_peaks_are_the_highest() -> None:
    first = ended(6, 5, write_bytes=4096, nvcsw=3, hiwater_rss_kib=900, hiwater_vm_kib=10)
    second = ended(
        5,
        5,
        write_bytes=8192,
        nvcsw=4,
        hiwater_rss_kib=700,
        hiwater_vm_kib=30,
        exitcode=256,
        etime_us=70,
        tgetime_us=70,
    )
    third = last(
        7,
        5,
        threads=3,
        write_bytes=1,
        nvcsw=0,
        hiwater_rss_kib=800,
        hiwater_vm_kib=20,
        exitcode=9,
        etime_us=10,
        tgetime_us=90,
    )
    (stats,) = ProcessSums().feed([first, second, third])
    total = stats.total
    assert (stats.threads, stats.complete) == (3, True)
    assert (total.write_bytes, total.nvcsw, total.hiwater_rss_kib, total.hiwater_vm_kib) == (
        12289,
        7,
        900,
        30,
    )
    assert (total.exitcode, total.etime_us, total.tgetime_us) == (9, 90, 90)


def test_names_and_ids_are_the_leaders() -> None:
    leader = Message(thread(5, 5, uid=10, flag=AFORK)._replace(comm=b"leader"), None)
    (stats,) = ProcessSums().feed(
        [ended(6, 5, uid=11), leader, last(7, 5, threads=3, uid=12, flag=AXSIG)]
    )
    assert (stats.total.pid, stats.total.uid, stats.total.comm) == (5, 10, b"leader")
    assert stats.total.flag == AFORK | AXSIG | AGROUP


def test_after_another_thread_executed_a_program_the_later_leader_counts() -> None:
    old = Message(thread(5, 5, flag=AFORK)._replace(comm=b"old"), None)
    new = last(5, 5, threads=2)
    (stats,) = ProcessSums().feed(
        [old, Message(new.thread and new.thread._replace(comm=b"new"), new.group)]
    )
    assert (stats.total.comm, stats.total.flag, stats.threads, stats.complete) == (
        b"new",
        AGROUP,
        2,
        True,
    )


def test_a_missing_thread_makes_the_sum_incomplete_but_not_the_figures_of_the_group() -> None:
    whole = NOTHING._replace(cpu_count=9, cpu_run_virtual_ns=900, utime_us=70, nvcsw=5)
    final = Message(
        thread(5, 5, flag=AGROUP, cpu_count=2, cpu_run_virtual_ns=200, write_bytes=4096), whole
    )
    (stats,) = ProcessSums().feed([final])
    assert not stats.complete
    assert (stats.total.cpu_run_virtual_ns, stats.total.utime_us, stats.total.nvcsw) == (900, 70, 5)
    assert stats.total.write_bytes == 4096


def test_a_turn_on_the_cpu_between_the_kernels_two_counts_does_no_harm() -> None:
    (stats,) = ProcessSums().feed([ended(6, 5, cpu_count=4), last(5, 5, threads=6, cpu_count=3)])
    assert stats.complete


def test_threads_of_an_earlier_process_of_the_same_id_are_left_out() -> None:
    sums = ProcessSums()
    stats = sums.feed([ended(6, 5, write_bytes=4096), last(5, 5, write_bytes=1024)])
    assert [(each.complete, each.threads, each.total.write_bytes) for each in stats] == [
        (True, 1, 1024)
    ]
    assert (len(sums), sums.unfinished) == (0, 1)
    stats = sums.feed(
        [ended(6, 5, cpu_count=90, write_bytes=4096), last(5, 5, threads=3, write_bytes=1024)]
    )
    assert [(each.complete, each.threads, each.total.write_bytes) for each in stats] == [
        (False, 1, 1024)
    ]
    assert sums.unfinished == 2


def test_after_a_loss_the_counts_must_agree_exactly() -> None:
    sums = ProcessSums()
    sums.feed([ended(6, 5, write_bytes=4096)])
    sums.note_loss()
    (stats,) = sums.feed([ended(8, 5, write_bytes=1), last(5, 5, threads=2, write_bytes=2)])
    assert (stats.complete, stats.total.write_bytes) == (False, 2)
    sums.feed([ended(6, 5)])
    sums.note_loss()
    assert sums.feed([last(5, 5, threads=2)])[0].complete


def test_memory_is_bounded_and_what_is_given_up_is_counted() -> None:
    sums = ProcessSums(most_pending=2)
    sums.feed([ended(11, 10), ended(21, 20), ended(31, 30)])
    assert (len(sums), sums.unfinished) == (2, 1)
    assert not sums.feed([last(10, 10, threads=2)])[0].complete
    assert sums.feed([last(20, 20, threads=2), last(30, 30, threads=2)])[1].complete


def test_what_the_version_lacks_stays_unknown() -> None:
    before = [
        Message(
            message.thread and message.thread._replace(irq_count=None, irq_delay_ns=None),
            message.group,
        )
        for message in (ended(6, 5, minflt=3), last(5, 5, threads=2, minflt=4))
    ]
    (stats,) = ProcessSums().feed(before)
    assert (stats.total.irq_count, stats.total.irq_delay_ns, stats.total.minflt) == (None, None, 7)


def test_messages_that_name_no_process_are_counted_only() -> None:
    sums = ProcessSums()
    assert sums.feed([Message(NOTHING._replace(tgid=None), None), Message(None, NOTHING)]) == []
    assert sums.without_tgid == 1
