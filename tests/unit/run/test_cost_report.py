"""A cost report adds up what members used, says what it does not know, and never counts a process
twice.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from elsa.decode.cgroups import GroupCounters
from elsa.run.cost_report import CostReport
from elsa.run.usage_sums import NOTHING, JobPeak, JobTotals, Member, TaskstatsSum, Usage, Waited
from elsa.units import SECOND_NS

COMMAND_ENDED = 10 * SECOND_NS


def used(**figures: int) -> TaskstatsSum:
    return TaskstatsSum(**({"threads": 1, "complete": 1} | figures))


def totals(*members: Member) -> JobTotals:
    total = JobTotals()
    for member in members:
        total.add(member, COMMAND_ENDED)
    return total


def report(total: JobTotals | None, **other: Any) -> CostReport:
    plain: dict[str, Any] = {
        "waited": Waited(0.5, 0.25, 2048),
        "wall_ns": 2 * SECOND_NS,
        "command_ns": 2 * SECOND_NS,
    }
    return CostReport(["make", "-j8"], 0, 10**18, totals=total, **(plain | other))


def test_sums_are_over_members_and_the_peak_is_the_largest() -> None:
    one = used(run_ns=3 * SECOND_NS, read_chars=10, write_bytes=5, rss_kib=100, threads=4)
    other = used(run_ns=1 * SECOND_NS, read_chars=32, write_bytes=7, rss_kib=300)
    total = totals(Member("cc1", 5 * SECOND_NS, one), Member("ld", 9 * SECOND_NS, other))
    assert (total.all.processes, total.all.threads, total.all.run_ns) == (2, 5, 4 * SECOND_NS)
    assert (total.all.read_chars, total.all.write_bytes, total.all.rss_kib, total.largest) == (
        42,
        12,
        300,
        "ld",
    )
    assert total.end_ns == 9 * SECOND_NS
    assert not total.late.processes


def test_what_wait_reported_counts_when_taskstats_lacks_short_processes() -> None:
    short = [Member("true", 5 * SECOND_NS, used(run_ns=1000)) for _ in range(1000)]
    assert totals(*short).cpu(Waited(0.5, 0.25, 0)) == (0.5, 0.25)


def test_what_taskstats_reported_counts_when_it_is_more_than_was_waited_for() -> None:
    daemon = Member(
        "daemon", 5 * SECOND_NS, used(run_ns=4 * SECOND_NS, utime_us=3_000_000, stime_us=1_000_000)
    )
    assert totals(daemon).cpu(Waited(0.5, 0.25, 0)) == (3.0, 1.0)


def test_processes_that_ended_after_the_command_are_added_to_what_was_waited_for() -> None:
    short = [Member("true", 5 * SECOND_NS, used(run_ns=1000)) for _ in range(1000)]
    daemon = Member(
        "daemon",
        COMMAND_ENDED + SECOND_NS,
        used(run_ns=4 * SECOND_NS, utime_us=3_000_000, stime_us=1_000_000),
    )
    assert totals(*short, daemon).cpu(Waited(0.5, 0.25, 0)) == (3.5, 1.25)


def test_the_command_itself_is_not_among_those_after_it_though_clocks_of_cpus_differ() -> None:
    assert not totals(
        Member("sh", COMMAND_ENDED, used()), Member("sh", COMMAND_ENDED + 200_000, used())
    ).late.processes


@pytest.mark.parametrize(
    ("run_ns", "ticks_us", "threads", "expected_s"),
    [
        (SECOND_NS, 0, 1, 1.0),
        (SECOND_NS, 5_000_000, 1, 1.01),
        (SECOND_NS, 1_004_000, 1, 1.004),
        (0, 400_000, 1000, 0.4),
    ],
    ids=[
        "counted",
        "a thread lacks a tick at most",
        "sampled within it",
        "many too short to be counted",
    ],
)
def test_sampled_ticks_fill_in_only_what_can_be_lacking(
    run_ns: int, ticks_us: int, threads: int, expected_s: float
) -> None:
    assert (
        TaskstatsSum(run_ns=run_ns, utime_us=ticks_us, threads=threads).cpu_s(10_000_000)
        == expected_s
    )


def test_the_report_says_what_of_the_cpu_time_is_measured_and_sampled_and_the_bound() -> None:
    daemon = Member(
        "daemon",
        5 * SECOND_NS,
        used(run_ns=4 * SECOND_NS, utime_us=3_000_000, stime_us=1_000_000, threads=5),
    )
    total = totals(daemon)
    total.tick_ns = 4_000_000
    line = (
        "  measured     4.00 s of that, 0.00 s sampled; up to 0.02 s more was used: less than a"
        " tick (4 ms at 250 Hz) per thread\n"
    )
    assert line in report(total).text()
    values = report(total).as_object()
    assert (values["sampled_s"], values["more_s"]) == (0.0, pytest.approx(0.02))
    assert (
        "measured     0.75 s of that, 0.00 s sampled; how much more was used is not known\n"
        in report(None).text()
    )
    for uncertain in (
        report(total, lost=1),
        report(totals(daemon, Member("b", SECOND_NS, None))),
        report(totals(Member("c", 1, used(complete=0)))),
    ):
        assert "how much more was used is not known" in uncertain.text()
        assert uncertain.as_object()["more_s"] is None


@pytest.mark.parametrize(
    ("tick_ns", "sampled_s", "more_s", "words"),
    [(None, 1.0, 1.25, "10 ms at 100 Hz, assumed"), (4_000_000, 0.4, 0.05, "4 ms at 250 Hz")],
)
def test_what_is_sampled_of_those_after_the_command_is_within_a_tick_of_each(
    tick_ns: int | None, sampled_s: float, more_s: float, words: str
) -> None:
    total = totals(
        *(Member("true", SECOND_NS, used()) for _ in range(200)),
        *(Member("late", 11 * SECOND_NS, used(utime_us=10_000)) for _ in range(100)),
    )
    total.tick_ns = tick_ns
    one = report(total)
    values = one.as_object()
    assert values["cpu_s"] == pytest.approx(0.75 + sampled_s), "what was waited for is measured"
    assert (values["sampled_s"], values["more_s"]) == (sampled_s, pytest.approx(more_s))
    bound = (
        f"up to {more_s:.2f} s more was used, or {sampled_s:.2f} s less: less than a tick ({words})"
        " per thread"
    )
    assert (
        f"measured     0.75 s of that, {sampled_s:.2f} s sampled; {bound}; {sampled_s:.2f} s of the"
        " commands' is sampled\n" in one.text()
    )


def test_the_five_commands_with_most_cpu_time_are_listed() -> None:
    members = [
        Member(f"c{number}", SECOND_NS, used(run_ns=number * SECOND_NS)) for number in range(1, 9)
    ]
    costs = totals(*members).most_cpu(36)
    assert [cost.command for cost in costs] == ["c8", "c7", "c6", "c5", "c4"]


def test_what_running_processes_have_used_is_shown_apart() -> None:
    total = totals(Member("a", None, None), Member("c", SECOND_NS, used(read_chars=5)))
    so_far = Usage(1, 1.5, 2048, None, 7, 0, 4096)
    with_it, without = report(total, so_far=so_far), report(total)
    line = (
        "1 process still running: CPU 1.50 s, peak memory 2.0 MiB; storage 0 B read, 4.0 KiB"
        " written; characters - read, 7 B written"
    )
    assert line in with_it.text()
    values = with_it.as_object()
    assert (values["so_far"], values["read_chars"], values["complete"]) == (
        so_far._asdict(),
        5,
        False,
    )
    assert "so far" not in without.text()
    assert without.as_object()["so_far"] is None


def test_running_processes_and_missing_statistics_are_noted_and_make_figures_lower_bounds() -> None:
    one = report(
        totals(
            Member("a", None, None),
            Member("b", SECOND_NS, None),
            Member("c", SECOND_NS, used(complete=0)),
        ),
        lost=7,
    )
    assert not one.complete
    text = one.text()
    for words in (
        "1 process still running",
        "no statistics of 1 process were received:",
        "only some threads of 1 process",
        "7 events",
        "at least",
    ):
        assert words in text


def test_a_complete_report_says_nothing_about_what_is_missing() -> None:
    one = report(
        totals(Member("make", SECOND_NS, used(run_ns=SECOND_NS, rss_kib=2048))), job=(17, "build")
    )
    assert one.complete
    text = one.text()
    assert text.startswith("job 17 (build): make -j8\n")
    assert "at least" not in text
    assert "note" not in text
    assert "the command itself" not in text
    assert "2.0 MiB, the largest single process (make)" in text
    assert "0.50 CPUs used" in text


@pytest.mark.parametrize(
    ("whole", "measured", "peak", "words"),
    [
        (
            None,
            None,
            (2048, "largest"),
            "  peak memory  2.0 MiB, the largest single process (make)",
        ),
        (
            JobPeak(10_240, "sampled pss"),
            None,
            (10_240, "sampled pss"),
            "  peak memory  10.0 MiB of all together (sampled pss); 2.0 MiB, the largest single"
            " process (make)",
        ),
        (
            JobPeak(1024, "sampled rss"),
            None,
            (2048, "largest"),
            "  peak memory  2.0 MiB, the largest single process (make)",
        ),
        (JobPeak(10_240, "sampled pss"), 8 << 20, (8192, "measured"), "of all together 8.0 MiB"),
        (None, 1 << 20, (2048, "largest"), "of all together 1.0 MiB"),
        (None, 2 << 20, (2048, "measured"), "of all together 2.0 MiB"),
    ],
)
def test_peak_of_all_together_is_shown_with_how_it_is_known_and_never_below_the_largest(
    whole: JobPeak | None, measured: int | None, peak: tuple[int, str], words: str
) -> None:
    total = totals(Member("make", SECOND_NS, used(run_ns=SECOND_NS, rss_kib=2048)))
    total.whole = whole
    one = report(total)
    one.group = GroupCounters(1, 1, measured, None, None)
    values = one.as_object()
    assert (values["job_peak_kib"], values["job_peak_by"]) == peak
    assert words in one.text()
    how = "" if peak[1] == "largest" else f" of all together ({peak[1]})"
    assert f"| peak memory{how} | {peak[0] / 1024:.1f} MiB |" in one.markdown()


def test_peak_of_all_together_is_shown_also_where_that_of_no_process_is_known() -> None:
    total = totals(Member("sleep", None, None))
    total.whole = JobPeak(10_240, "sampled pss")
    one = report(total)
    one.waited = Waited(0.5, 0.25, None)
    assert "  peak memory  10.0 MiB of all together (sampled pss)\n" in one.text()
    one.totals = totals(Member("sleep", None, None))
    assert "  peak memory  -\n" in one.text()
    assert "| peak memory | - |" in one.markdown()


@pytest.mark.parametrize(
    ("status", "words"), [(3 << 8, "exit status 3"), (9, "SIGKILL"), (127 - 1, "signal 126")]
)
def test_the_end_is_shown_in_words_and_numbers(status: int, words: str) -> None:
    one = report(totals())
    one.status = status
    assert words in one.text()
    values = json.loads(one.json())
    assert (values["exit_code"], values["exit_signal"]) == (
        (status >> 8, 0) if status > 255 else (None, status)
    )


def test_without_the_warehouse_the_report_has_what_was_waited_for() -> None:
    one = report(None, notes=["only what the command waited for is known: no right to look"])
    values = json.loads(one.json())
    assert (values["cpu_s"], values["user_s"], values["peak_rss_kib"], values["complete"]) == (
        0.75,
        0.5,
        2048,
        False,
    )
    assert values["processes"] is values["read_chars"] is values["write_bytes"] is None, (
        "unknown is not 0"
    )
    assert "0 B" not in one.text()
    assert "at least 0.75 s" in one.text()
    assert "processes" not in one.text()


def test_unreported_usage_of_running_processes_is_unknown_and_not_0() -> None:
    one = report(totals(Member("sleep", None, None)))
    values = json.loads(one.json())
    for name in ("read_chars", "write_bytes", "cancelled_write_bytes", "threads"):
        assert values[name] is None
    assert (values["processes"], values["running"], values["cpu_s"]) == (1, 1, 0.75)
    assert values["commands"] == [
        {
            "command": "sleep",
            "processes": 1,
            "cpu_s": None,
            **dict.fromkeys(("rss_kib", "read_chars", "write_chars", "read_bytes", "write_bytes")),
        }
    ]
    assert "storage      - read, - written" in one.text()
    assert " 0 B" not in one.text()


def test_commands_never_cost_more_than_the_whole() -> None:
    short = [
        Member(name, 5 * SECOND_NS, used(run_ns=1000, utime_us=8000))
        for name in ("a", "b")
        for _ in range(100)
    ]
    values = json.loads(
        report(totals(*short, Member("c", SECOND_NS, used(run_ns=SECOND_NS // 2)))).json()
    )
    assert values["cpu_s"] == 0.75
    assert sum(row["cpu_s"] for row in values["commands"]) == pytest.approx(0.75)
    assert values["commands"][0] | {"cpu_s": 0.5} == values["commands"][0], (
        "what was measured stays"
    )


def test_what_our_own_child_used_before_it_became_the_command_is_not_the_command_s() -> None:
    rest = Waited(0.03, 0.01, 30_000).without(20_000_000, 29_000)
    assert (rest.user_s, rest.system_s) == pytest.approx((0.015, 0.005))
    assert rest.rss_kib is None
    assert Waited(0.03, 0.01, 90_000).without(20_000_000, 29_000).rss_kib == 90_000
    assert Waited(0.0, 0.0, 0).without(5, 0) == Waited(0.0, 0.0, None)
    one = used(run_ns=5_000_000, utime_us=4000, stime_us=1000)
    one.subtract_cpu(2_000_000)
    assert (one.run_ns, one.utime_us, one.stime_us) == (3_000_000, 3000, 0)


def test_peak_before_an_exec_is_known_where_it_was_waited_for() -> None:
    total = totals(Member("true", SECOND_NS, used(rss_kib=1000)))
    text = report(total, waited=Waited(0.5, 0.25, 204_800)).text()
    assert "200.0 MiB, the largest single process that was waited for" in text
    assert (
        "1000.0 KiB, the largest single process (true)"
        in report(total, waited=Waited(0.5, 0.25, None)).text()
    )
    assert "peak memory  -" in report(None, waited=Waited(0.5, 0.25, None)).text()


def test_json_is_one_line_whatever_names_hold() -> None:
    one = report(totals(Member("evil\x1b[2J\n", SECOND_NS, used(rss_kib=1))))
    assert one.json().count("\n") == 1
    assert json.loads(one.json())["commands"][0]["command"] == "evil\x1b[2J\n"
    assert "\x1b" not in one.text()


def test_a_long_command_line_is_cut() -> None:
    one = report(totals())
    one.command = ["sh", "-c", "x" * 500]
    assert len(one.text().splitlines()[0]) == 120
    assert json.loads(one.json())["command"] == one.command


def test_usage_adds_up_and_unknown_stays_unknown() -> None:
    one = Usage(1, 2.0, 300, 1, 2, None, 4)
    other = Usage(10, 1.0, 500, 10, 20, 30, 40)
    assert one.plus(other) == Usage(11, 3.0, 500, 11, 22, None, 44)
    assert NOTHING.plus(one) == one
    assert one.plus(Usage(10, None, None, *[None] * 4)) == Usage(11, None, 300, *[None] * 4), (
        "the known peak is a lower bound"
    )


def test_what_was_used_before_is_subtracted_and_never_more_than_there_is() -> None:
    used_now = Usage(1, 2.0, 300, 1000, 2000, None, 4000)
    assert used_now.since(Usage(1, 0.5, None, 400, 3000, 1, None)) == Usage(
        1, 1.5, 300, 600, 0, None, None
    )
    assert used_now.since(None) == used_now
    assert used_now.since(Usage(1, None, None, 0, 0, 0, 0)).cpu_s == 2.0


def test_group_of_the_command_is_shown_as_far_as_the_kernel_counts_it() -> None:
    total = totals(Member("cc1", 5 * SECOND_NS, used(run_ns=SECOND_NS)))
    assert report(total).as_object()["group"] is None
    assert "group" not in report(total).text()
    counted = GroupCounters(1_500_000, 250_000, None, None, None)
    shown = report(total, group=counted)
    assert shown.as_object()["group"] == counted._asdict()
    assert "  group        CPU 1.75 s exactly: user 1.50 s, system 0.25 s\n" in shown.text()
    every = report(total, group=GroupCounters(0, 0, 3 << 20, 1024, 0)).text()
    assert "; peak memory of all together 3.0 MiB; storage 1.0 KiB read, 0 B written\n" in every


def test_markdown_is_a_table_in_which_no_name_is_markup() -> None:
    total = totals(Member("a|b`c", 5 * SECOND_NS, used(run_ns=SECOND_NS)))
    lines = report(total).markdown().splitlines()
    assert lines[0] == "### make -j8"
    assert "| CPU | 1.00 s |" in lines
    assert "| ended by | exit status 0 |" in lines
    assert [line for line in lines if line.startswith("| a")] == [
        "| a\\|b\\`c | 1 | 1.00 s | 0 B |"
    ]
    shown = report(total)
    shown.command = ["a\x1bb"]
    assert "\x1b" not in shown.markdown()
    shown.command, shown.notes = ["-x", "<b>", "[l](u)"], ["- item", "+ item", "* a_b_ #1"]
    lines = shown.markdown().splitlines()
    assert lines[0] == "### \\-x '\\<b\\>' '\\[l\\](u)'"
    assert lines[-3:] == ["* \\- item", "* \\+ item", "* \\* a\\_b\\_ \\#1"]


def test_markdown_has_the_name_of_the_job_and_what_became_of_its_budget() -> None:
    one = report(totals(), job=(17, "build"))
    lines = one.markdown(["wall 2.00 s is over the budget of 1.00 s", "a|b"]).splitlines()
    assert lines[0] == "### job 17 (build): make -j8"
    assert "| budget | wall 2.00 s is over the budget of 1.00 s |" in lines
    assert "| budget | a\\|b |" in lines
    assert "budget" not in one.markdown()
