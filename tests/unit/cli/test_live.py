"""What `elsa job top` shows fits its terminal, and says what does not."""

from __future__ import annotations

import pytest

from elsa.cli import tables
from elsa.cli.live import LEAST_IMPORTANT, NUMBERS, Rates, as_object, notes
from elsa.run.jobd_usage import EndedMembers, Precision
from elsa.run.live_usage import JobNow
from elsa.run.usage_sums import NOTHING, JobPeak

HEADERS = ("pid", "ppid", "command", "member since", "cpu")
ROWS = [(4711, 1, "make", "2026-01-02 03:04:05", "12.34"), (4712, 4711, "cc1", "birth", "0.01")]


def fitting(width: int | None) -> list[str]:
    return tables.lines(HEADERS, ROWS, right=NUMBERS, room=width, least_important=LEAST_IMPORTANT)


def test_everything_is_shown_where_there_is_room_or_no_terminal() -> None:
    for width in (None, 4 + 4 + 7 + 19 + 5 + 4 * 2):
        assert fitting(width) == [
            " pid  ppid  command  member since           cpu",
            "----  ----  -------  -------------------  -----",
            "4711     1  make     2026-01-02 03:04:05  12.34",
            "4712  4711  cc1      birth                 0.01",
        ]


@pytest.mark.parametrize(
    ("width", "gone", "heading"),
    [
        (46, ["member since"], " pid  ppid  command    cpu +"),
        (25, ["ppid", "member since"], " pid  command    cpu +"),
        (5, ["ppid", "command", "member since", "cpu"], " pid +"),
    ],
)
def test_what_matters_least_goes_first_and_is_named(
    width: int, gone: list[str], heading: str
) -> None:
    *lines, note = fitting(width)
    assert lines[0] == heading
    assert note == f"no room for: {', '.join(gone)}; widen the terminal"


def test_a_table_without_rows_fits_too() -> None:
    assert len(tables.lines(HEADERS, [], room=60)) == 2


def test_no_text_of_a_table_can_move_the_cursor() -> None:
    assert tables.lines(("name",), [("a\x1b[2Jb",)])[-1] == "a?[2Jb"


@pytest.mark.parametrize(
    ("precision", "lines"),
    [
        (None, []),
        (Precision(0, 0, 4_000_000), []),
        (
            Precision(0, 10, 10_000_000),
            ["finished: CPU time of 10 threads measured, up to 0.10 s more was used"],
        ),
        (
            Precision(50, 1, 4_000_000),
            [
                "finished: CPU time of 1 thread measured, up to 0.01 s more was used; of 50"
                " processes shorter than a tick (4 ms at 250 Hz) sampled, up to 0.20 s more or less"
            ],
        ),
        (
            Precision(1, 0, None),
            [
                "finished: CPU time of 1 process shorter than a tick (10 ms at 100 Hz, assumed)"
                " sampled, up to 0.01 s more or less"
            ],
        ),
    ],
)
def test_what_of_the_cpu_time_of_finished_processes_is_sampled_is_said_with_the_bound(
    precision: Precision | None, lines: list[str]
) -> None:
    ended = None if precision is None else EndedMembers(NOTHING, 0, precision)
    assert notes(JobNow({}, 0, [], ended)) == lines


def test_a_rate_is_the_cpu_time_since_the_last_time_and_unknown_at_first() -> None:
    rates = Rates()
    assert rates.next({1: 5.0}, 100.0) == {1: None}
    assert rates.next({1: 6.0, 2: 9.0}, 102.0) == {1: 0.5, 2: None}
    assert rates.next({2: 8.0}, 104.0) == {2: 0.0}, "never negative"


def test_peak_of_all_processes_together_is_said_with_how_it_is_known() -> None:
    ended = EndedMembers(NOTHING, 0, Precision(0, 0, None), whole=JobPeak(5120, "sampled pss"))
    now = JobNow({}, 0, [], ended)
    assert notes(now) == ["peak of all processes together: 5.0 MiB, sampled pss"]
    assert as_object(now)["peak"] == {"kib": 5120, "by": "sampled pss"}
    larger = ended._replace(usage=NOTHING._replace(peak_rss_kib=6144))
    assert notes(JobNow({}, 0, [], larger)) == ["peak of all processes together: 6.0 MiB, largest"]
    assert as_object(JobNow({}, 0, [], None, "no right to read it"))["peak"] is None
