"""The GNU programs and the original ELSA's report over a warehouse and over files: what is
selected, refused and left untouched.
"""

from __future__ import annotations

import gzip
import pwd
import struct
from pathlib import Path

import pytest
from click import Context
from click.testing import CliRunner, Result

from elsa.cli.report import gnu, report
from elsa.errors import DataError, InputMissingError, UsageError
from elsa.gnu import layouts, sa
from elsa.gnu.lastcomm import Wanted
from tests.support.peers import theirs
from tests.support.reports import Reports

LAYOUT = struct.Struct("<2BH6If8H16s")
NOW = 1_700_000_000


def record(
    comm: bytes = b"work",
    *,
    uid: int = 0,
    pid: int = 1,
    btime: int = NOW,
    etime: float = 5.0,
    utime: int = 0,
    mem: int = 9,
) -> bytes:
    return LAYOUT.pack(0, 3, 0, 0, uid, 0, pid, 1, btime, etime, utime, 0, mem, 0, 0, 1, 0, 0, comm)


def run(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(report, arguments, input=stdin, catch_exceptions=False)


@pytest.fixture
def pacct(tmp_path: Path) -> Path:
    """A file of three processes that ended at NOW, NOW + 10 and NOW + 20, the second one another
    user's.
    """
    path = tmp_path / "pacct"
    path.write_bytes(
        record(b"one", pid=1)
        + record(b"two", uid=4_000_000_000, pid=2, btime=NOW + 10)
        + record(b"three", btime=NOW + 20)
    )
    return path


def names(result: Result) -> list[str]:
    return [line.split()[0] for line in result.stdout.splitlines()]


def test_a_job_selects_the_records_of_its_processes(filled: Reports) -> None:
    assert names(filled.run("lastcomm", "--forwards", "--job", "build")) == ["make", "cc"]
    assert names(filled.run("dump-acct", "-r", "--job", "2")) == ["cc"]
    assert (
        names(filled.run("dump-acct", "--job", "build,2"))
        == names(filled.run("dump-acct", "--job", "[bn]*"))
        == ["make", "cc"]
    )
    assert filled.run("sa", "-a", "--job", "night").stdout.splitlines()[0].split()[0] == "1"


def test_members_without_a_record_are_counted_on_stderr(filled: Reports) -> None:
    assert filled.run("lastcomm", "--job", "build").stderr == ""
    assert (
        filled.run("sa", "--job", "night").stderr
        == "elsa-report: 1 of the job's 2 processes have no accounting record, so they are left"
        " out\n"
    )


def test_without_a_job_the_warehouse_gives_every_record_it_read_even_unjoined_ones(
    filled: Reports,
) -> None:
    assert names(filled.run("lastcomm")) == ["lost", "cron", "cc", "make"]
    assert names(filled.run("dump-acct")) == ["make", "cc", "cron", "lost"]


def test_a_user_selects_by_uid_and_by_name(filled: Reports, pacct: Path) -> None:
    assert names(filled.run("dump-acct", "--user", "4000000001")) == ["cc"]
    assert names(run("dump-acct", "--user", "4000000000", str(pacct))) == ["two"]
    assert names(run("dump-acct", "--user", "4000000000,0", str(pacct))) == ["one", "two", "three"]
    assert names(run("dump-acct", "--user", pwd.getpwuid(0).pw_name, str(pacct))) == [
        "one",
        "three",
    ]


def test_a_window_takes_what_ended_in_it_the_same_from_a_file_and_a_warehouse(
    reports: Reports, pacct: Path
) -> None:
    for number, name in enumerate(("one", "two", "three")):
        reports.warehouse.acct(number + 1, None, comm=name, btime=NOW + 10 * number, etime=5.0)
    stamps = [f"2023-11-14T22:13:{20 + second}+00:00" for second in (10, 20)]  # NOW is 22:13:20
    for window, expected in (
        (["--since", stamps[0]], ["two", "three"]),
        (["--until", stamps[0]], ["one"]),
        (["--since", stamps[0], "--until", stamps[1]], ["two"]),
    ):
        assert names(run("dump-acct", *window, str(pacct))) == expected
        assert names(reports.run("dump-acct", *window)) == expected


def test_a_file_is_read_without_a_warehouse(
    pacct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELSA_DB", str(tmp_path / "none.db"))
    before = sorted(tmp_path.iterdir())
    assert names(run("lastcomm", "-f", str(pacct))) == ["three", "two", "one"]
    assert (
        run("sa", "-a", str(pacct)).stdout
        == run("sa", "-a", "--other-acct-file", str(pacct)).stdout
    )
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["lastcomm", "--job", "1", "-f"], "a file knows no jobs"),
        (["sa", "--job", "1"], "a file knows no jobs"),
        (["sa", "-s"], "--merge: the warehouse keeps every record"),
        (
            ["sa", "--other-savacct-file", "x"],
            "--other-savacct-file: the warehouse keeps every record",
        ),
        (["sa", "-u", "-m"], "give one of them"),
        (["sa", "--user", "no such user"], "this host knows no user no such user"),
        (
            ["lastcomm", "--strict-match", "--user", "a", "--user", "b", "-f"],
            "no record has two of them",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    pacct: Path, arguments: list[str], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        run(*arguments, str(pacct))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [["dump-acct", "--format", "4"], ["dump-acct", "-n", "0"], ["sa", "-v", "0"], ["sa", "a", "b"]],
)
def test_values_that_mean_nothing_are_usage_errors(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_a_missing_file_another_file_and_old_records_are_refused_with_the_reason(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputMissingError, match="no such file"):
        run("sa", str(tmp_path / "none"))
    other = tmp_path / "other"
    other.write_bytes(b"x" * 640)
    with pytest.raises(DataError, match="not an accounting file"):
        run("dump-acct", str(other))
    other.write_bytes(
        b"".join(
            layouts.raw([(0, 3, 0, 0, 1, 1, 1, 1, NOW, 1.0, 1, 1, 1, 0, 0, 0, 0, 0, "old")], 2)
        )
    )
    with pytest.raises(DataError, match="version 2 records carry no pid"):
        run("lastcomm", "-f", str(other))


@pytest.mark.parametrize(
    "program",
    [
        ["dump-acct"],
        ["dump-acct", "-r"],
        ["sa", "-a"],
        ["lastcomm", "-f"],
        ["lastcomm", "--forwards", "-f"],
    ],
)
def test_gzipped_piped_and_plain_records_give_the_same(tmp_path: Path, program: list[str]) -> None:
    """Long enough for several pieces, so that reading backwards goes through them in the right
    order.
    """
    data = b"".join(record(b"n%d" % number, pid=number + 1) for number in range(3000))
    plain, packed = tmp_path / "plain", tmp_path / "packed.gz"
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    result = run(*program, str(plain)).stdout_bytes
    assert len(result.splitlines()) >= 3000
    assert run(*program, str(packed)).stdout_bytes == result
    if "-f" not in program:  # of a pipe lastcomm prints the first one first, as the original
        assert run(*program, "-", stdin=data).stdout_bytes == result
    if program[0] == "dump-acct":
        assert (names(run(*program, str(plain)))[0] == "n0") == ("-r" not in program)


def test_junk_in_a_file_is_skipped_and_said(pacct: Path) -> None:
    clean = run("dump-acct", str(pacct)).stdout
    data = pacct.read_bytes()
    pacct.write_bytes(data[:64] + b"\xff" * 100 + data[64:])
    done = run("dump-acct", str(pacct))
    assert done.stdout == clean
    assert "100 bytes that are no accounting records were skipped" in done.stderr
    assert names(run("dump-acct", "-r", str(pacct))) == ["three", "two", "one"]


def test_junk_before_the_first_record_is_skipped_as_far_as_the_ingester_does(pacct: Path) -> None:
    clean = run("dump-acct", str(pacct)).stdout
    data = b"#" * 100_000 + pacct.read_bytes()
    pacct.write_bytes(data)
    for done in (run("dump-acct", str(pacct)), run("dump-acct", "-", stdin=data)):
        assert done.stdout == clean
        assert "100000 bytes that are no accounting records were skipped" in done.stderr


def test_an_empty_file_gives_nothing(tmp_path: Path) -> None:
    empty = tmp_path / "pacct"
    empty.touch()
    for arguments in (["sa"], ["sa", "-m"], ["lastcomm", "-f"], ["dump-acct"], ["dump-acct", "-R"]):
        done = run(*arguments, str(empty))
        assert (done.exit_code, done.output) == (0, "")


def test_names_cannot_play_with_a_terminal(pacct: Path) -> None:
    pacct.write_bytes(record("\u00e4\x1b[2J".encode()))
    assert "\u00e4\x1b[2J".encode() in run("dump-acct", str(pacct)).stdout_bytes
    assert (
        gnu._printable("\u00e4\x1b[2J\u009b1m\n".encode() + b"\xff") == "\u00e4?[2J?1m\n?".encode()
    )


def test_the_last_of_several_sorting_options_counts(tmp_path: Path) -> None:
    path = tmp_path / "pacct"
    path.write_bytes(record(b"busy", utime=500) * 2 + record(b"often") * 3)

    def first(*options: str) -> str:
        return run("sa", *options, str(path)).stdout.splitlines()[1].split()[-1]

    assert first() == first("-n", "-b") == first("-nbnb") == "busy"
    assert first("-n") == first("-b", "-n") == first("-nbn") == "often"


def test_long_options_may_be_shortened_as_far_as_they_are_unlike_others(pacct: Path) -> None:
    assert run("sa", "--list", "--perc", str(pacct)).stdout == run("sa", "-ac", str(pacct)).stdout
    assert (
        run("dump-acct", "--num=1", "--rev", str(pacct)).stdout
        == run("dump-acct", "-rn1", str(pacct)).stdout
    )
    assert run("sa", "--sort", str(pacct)).exit_code == 2
    assert names(run("lastcomm", "--file", str(pacct), "one", "--", "--pid")) == ["one"]


@pytest.mark.parametrize(
    ("times", "ticks"),
    [(54, 5), (6, 5), (2, 15), (1, 30), (10, 9), (90, 3), (150, 1), (450, 1), (1050, 3)],
)
def test_sums_are_added_up_record_by_record(times: int, ticks: int) -> None:
    """At the edge between two hundredths of a minute the order and way of adding decides what is
    shown.
    """
    total = 0.0
    for _ in range(times):
        total += ticks / 100.0
    row = (0, 3, 0, 0, 0, 0, 1, 1, NOW, 0.0, ticks, 0, 0, 0, 0, 0, 0, 0, "work")
    tallied = sa.tally(sa.figures_of([row] * times, sa.COMMAND), sa.COMMAND.key)
    line, *_ = sa.by_command(tallied, sa.Shape(all_names=True), lambda _: False)
    assert b"%10.2fcp" % (total / 60.0) in line
    assert tallied.groups["work", 0].user == tallied.total.user == total


def test_users_with_one_name_are_added_up_in_the_order_of_their_records() -> None:
    ticks = [1, 3, 7, 9, 30, 5, 11, 2] * 5
    rows = [
        (0, 3, 0, 0, uid % 2, 0, 1, 1, NOW, 0.0, utime, 0, 0, 0, 0, 0, 0, 0, "work")
        for uid, utime in enumerate(ticks)
    ]
    total = 0.0
    for utime in ticks:
        total += utime / 100.0
    apart = sa.tally(sa.figures_of(rows, sa.USER), lambda uid: uid).groups
    assert apart[0].user + apart[1].user != total  # else this shows nothing
    groups = sa.tally(sa.figures_of(rows, sa.USER), lambda _: b"both").groups
    assert {name: (stats.calls, stats.user) for name, stats in groups.items()} == {
        b"both": (40, total)
    }


def test_matching_is_any_or_strictly_every() -> None:
    some = Wanted(names=(b"sh",), users=(b"root",))
    assert some.matches(b"alice", b"sh", b"__")
    assert some.matches(b"root", b"cc", b"__")
    assert not some.matches(b"alice", b"cc", b"__")
    every = Wanted(users=(b"root",), commands=(b"sh",), strict=True)
    assert every.matches(b"root", b"sh", b"__")
    assert not every.matches(b"root", b"cc", b"__")
    assert not Wanted(names=(b"sh",), strict=True).matches(b"root", b"sh", b"__")
    assert Wanted(strict=True).matches(b"root", b"sh", b"__")


@pytest.mark.peers
def test_the_records_of_a_job_given_to_the_originals_print_the_same(
    filled: Reports, tmp_path: Path
) -> None:
    path = tmp_path / "build.pacct"
    path.write_bytes(filled.run("dump-acct", "--raw", "--job", "build").stdout_bytes)
    assert path.stat().st_size == 2 * 64
    for program, *arguments in (
        ["sa", "-ia"],
        ["sa", "-imc"],
        ["lastcomm", "--pid", "-f"],
        ["dump-acct"],
    ):
        mine = [argument for argument in arguments if argument != "-f"]
        assert filled.run(program, *mine, "--job", "build").stdout_bytes == theirs(
            program, [*arguments, str(path)]
        )


def test_classic_prints_the_block_of_a_job_in_seconds(filled: Reports) -> None:
    done = filled.run("classic", "build")
    assert (
        done.stdout == "Results for job ID 1\n"
        "  number of processes: 2\n"
        "  elapsed time (sum):  25.00 s\n"
        "  user time:           3.00 s\n"
        "  system time:         0.10 s\n"
        "  minor page faults:   7\n"
        "  major page faults:   0\n"
        "  swaps:               -\n\n"
    )
    assert done.stderr == ""


def test_classic_prints_every_job_and_says_where_records_are_missing(filled: Reports) -> None:
    done = filled.run("classic")
    assert [line for line in done.stdout.splitlines() if line.startswith("Results")] == [
        "Results for job ID 1",
        "Results for job ID 2",
    ]
    assert "job 2: 1 of 2 processes have no accounting record" in done.stderr


@pytest.mark.parametrize("value", [1e16, 3e38, float("inf")])
def test_what_is_too_large_for_an_old_record_is_the_largest_that_it_holds(value: float) -> None:
    assert (layouts.comp(value), layouts.comp2(value)) == (0xFFFF, 0xFF_FFFF)


def test_classic_of_a_window_has_what_ended_in_it(filled: Reports) -> None:
    whole = filled.run("classic", "build")
    assert filled.run("classic", "build", "--since", "2020").stdout == whole.stdout
    later = filled.run("classic", "--since", "2026-02", "--until", "2026-03")
    assert (later.stdout, later.stderr) == (
        "",
        "elsa-report: no process of a job ended in that window\n",
    )


def test_every_report_but_that_on_a_moment_takes_a_day_and_a_month(filled: Reports) -> None:
    for name in set(report.list_commands(Context(report))) - {"at"}:
        shown = filled.run(name, "--help").stdout
        wanted = ("--starttime",) if name == "sacct" else ("--day", "--month", "--since")
        assert all(option in shown for option in wanted), name
