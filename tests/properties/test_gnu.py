"""`elsa report sa`, `lastcomm` and `dump-acct` print, byte for byte, what GNU acct prints of
generated accounting files.
"""

from __future__ import annotations

import shutil
import struct
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elsa.config import Config
from elsa.decode.acct import comp_table
from elsa.gnu.layouts import comp
from elsa.ingest.ingester import Ingester
from elsa.kernel.procfs import Procfs
from tests.support.peers import ours, same_as_gnu, theirs

# Enough for sums, ties, tables that grow, and spawning the original as seldom as that allows.
EXAMPLES = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

u32 = st.integers(0, 0xFFFF_FFFF)
# Few values, so that sums are equal and sorting ends in ties; and any comp_t that a kernel writes,
# whose exponent is as small as can be.
few = st.sampled_from([0, 0, 0, 1, 5, 7])
kernel_comp = st.one_of(
    st.integers(0, 0x1FFF),
    st.integers(0x400, 0x1FFF).flatmap(
        lambda low: st.integers(1, 7).map(lambda exp: low | exp << 13)
    ),
)
figure = st.one_of(few, few, kernel_comp)
comms = st.one_of(
    st.sampled_from(
        [
            b"sh",
            b"cc",
            b"make",
            b"",
            b"kworker/R-ext4-",
            "caf\u00e9".encode(),
            b"tab\there",
            b"%s%n",
        ]
    ),
    st.integers(0, 200).map(lambda number: b"c%d" % number),
    st.binary(max_size=15).map(lambda raw: raw.replace(b"\0", b"x")),
)
uids = st.one_of(st.sampled_from([0, 1, 65534, 1001, 1 << 31, (1 << 32) - 1]), u32)
ttys = st.one_of(
    st.sampled_from([0, 0x0401, 0x0501, 0x8800, 0x8FFF, 0x0103, 0x4000]), st.integers(0, 0xFFFF)
)
etimes = st.one_of(
    st.integers(0, 500), st.integers(0, 1 << 24), st.sampled_from([1 << 25, 1 << 31, 1 << 32])
).map(float)


@st.composite
def packed(draw: st.DrawFn, order: str = "<") -> bytes:
    """A record as a kernel could write it."""
    flag = draw(st.one_of(st.sampled_from([0, 0, 1]), st.integers(0, 0x3F)))
    ids = (
        draw(uids),
        draw(uids),
        draw(st.integers(1, (1 << 22) - 1)),
        draw(st.integers(0, (1 << 22) - 1)),
        draw(u32),
    )
    status = draw(st.one_of(st.just(0), st.integers(0, 0xFFFF)))
    head = struct.pack(
        f"{order}BBH6If", flag, 3 if order == "<" else 0x83, draw(ttys), status, *ids, draw(etimes)
    )
    return head + struct.pack(f"{order}8H16s", *(draw(figure) for _ in range(8)), draw(comms))


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """An accounting file: some records again and again, so that commands have several calls,
    perhaps a torn one at the end.
    """
    some = draw(st.lists(packed(draw(st.sampled_from(["<", "<", ">"]))), min_size=1, max_size=25))
    again = draw(st.lists(st.sampled_from(some), max_size=40))
    return b"".join(some + again)


def options(*choices: str) -> st.SearchStrategy[list[str]]:
    """Any of these options, in any order, some perhaps twice; a choice may have a value behind a
    space.
    """
    return st.lists(st.sampled_from(choices), max_size=5).map(
        lambda some: list(chain.from_iterable(map(str.split, some)))
    )


@pytest.fixture(scope="module")
def pacct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gnu") / "pacct"


@pytest.mark.peers
def test_a_recorded_file_gives_the_same() -> None:
    same_as_gnu(Path(__file__).parents[1] / "data/sample.pacct")


SORTS = (
    "-b",
    "-d",
    "-D",
    "-k",
    "-K",
    "-n",
    "--sort-real-time",
    "--sort-tio",
    "--sort-num",
    "--sort-a",
)
COLUMNS = (
    "-c",
    "-j",
    "-l",
    "-t",
    "-p",
    "-P",
    "-r",
    "--percentages",
    "--print-r",
    "--show-paging-avg",
    "--separate-f",
)


@given(files(), options("-a", "-a", *SORTS, *COLUMNS))
@EXAMPLES
@pytest.mark.peers
def test_sa_by_command_is_the_same(pacct: Path, data: bytes, chosen: list[str]) -> None:
    pacct.write_bytes(data)
    arguments = ["-i", *chosen, str(pacct)]
    assert ours("sa", arguments) == theirs("sa", arguments)


@given(
    files(),
    st.sampled_from(["-m", "--group-summary", "--user-summary", "-mr"]),
    options(*SORTS, *COLUMNS),
)
@EXAMPLES
@pytest.mark.peers
def test_sa_by_user_or_group_is_the_same(
    pacct: Path, data: bytes, by: str, chosen: list[str]
) -> None:
    pacct.write_bytes(data)
    arguments = ["-i", by, *chosen, str(pacct)]
    assert ours("sa", arguments) == theirs("sa", arguments)


@given(
    files(),
    st.integers(1, 4),
    st.lists(st.sampled_from([b"y\n", b"n\n", b"Yes\n", b"no yes\n"]), min_size=70, max_size=70),
)
@EXAMPLES
@pytest.mark.peers
def test_sa_asks_for_junk_and_puts_it_together_in_the_same_way(
    pacct: Path, data: bytes, most: int, answers: list[bytes]
) -> None:
    pacct.write_bytes(data)
    for arguments in (
        ["-i", f"-v{most}", str(pacct)],
        ["-i", "-f", "--threshold", str(most), str(pacct)],
    ):
        assert ours("sa", arguments, b"".join(answers)) == theirs(
            "sa", arguments, b"".join(answers)
        )


@given(
    files(), options("--show-paging", "-p", "--pid", "--print-controls", "--ahz 50"), st.booleans()
)
@EXAMPLES
@pytest.mark.peers
def test_lastcomm_and_the_lines_of_sa_are_the_same(
    pacct: Path, data: bytes, chosen: list[str], forwards: bool
) -> None:
    pacct.write_bytes(data)
    arguments = [*["--forwards"][: int(forwards)], *chosen, "-f", str(pacct)]
    assert ours("lastcomm", arguments) == theirs("lastcomm", arguments)
    assert ours("sa", ["-iu", str(pacct)]) == theirs("sa", ["-iu", str(pacct)])
    assert ours("lastcomm", ["-f", "-", *chosen], data) == theirs(
        "lastcomm", ["-f", "-", *chosen], data
    )


NAMES = ("root", "nobody", "sh", "cc", "__", "pts/0", "tty1", "-1", "kworker/R-ext4-", "c7")


@given(
    files(),
    st.lists(st.sampled_from(NAMES[:6]), max_size=2),
    st.lists(
        st.tuples(st.sampled_from(["--user", "--command", "--tty"]), st.sampled_from(NAMES)),
        max_size=3,
        unique_by=lambda pair: pair[0],
    ),
    st.booleans(),
)
@EXAMPLES
@pytest.mark.peers
def test_lastcomm_matches_the_same_records(
    pacct: Path, data: bytes, names: list[str], pairs: list[tuple[str, str]], strict: bool
) -> None:
    pacct.write_bytes(data)
    arguments = [
        *names,
        *chain.from_iterable(pairs),
        *["--strict-match"][: int(strict)],
        "-f",
        str(pacct),
    ]
    assert ours("lastcomm", arguments) == theirs("lastcomm", arguments)


@given(files(), options("-r", "--reverse", "-n 3", "--num 10", "--byteswap", "--format 2"))
@EXAMPLES
@pytest.mark.peers
def test_the_lines_of_dump_acct_are_the_same(pacct: Path, data: bytes, chosen: list[str]) -> None:
    pacct.write_bytes(data)
    arguments = [*chosen, str(pacct), str(pacct)]
    assert ours("dump-acct", arguments) == theirs("dump-acct", arguments)


@given(
    files(),
    options(
        "-r",
        "-n 3",
        "--byteswap",
        "--format 0",
        "--format v1",
        "--format 2",
        "--format 3",
        "--ahz 50",
        "--ahz 1000",
    ),
)
@EXAMPLES
@pytest.mark.peers
def test_the_bytes_of_dump_acct_are_the_same(pacct: Path, data: bytes, chosen: list[str]) -> None:
    pacct.write_bytes(data)
    arguments = ["-R", *chosen, str(pacct)]
    assert ours("dump-acct", arguments) == theirs("dump-acct", arguments)


PROGRAMS = (
    ["sa"],
    ["sa", "-am"],
    ["sa", "--group-summary", "-p"],
    ["sa", "-aPcl"],
    ["sa", "-u"],
    ["lastcomm"],
    ["lastcomm", "--pid", "-p"],
    ["dump-acct"],
    ["dump-acct", "-rR"],
)


@given(files())
@settings(EXAMPLES, max_examples=15)
def test_the_warehouse_gives_what_its_file_gives(pacct: Path, template: Path, data: bytes) -> None:
    db = pacct.with_name("elsa.db")
    shutil.copy(template, db)
    pacct.write_bytes(data)
    Ingester(
        Config(db=db, socket=pacct.with_name("none"), acct_file=pacct), Procfs(), host="test"
    ).run_once(())
    for program in PROGRAMS:
        file = ["-f", str(pacct)] if program[0] == "lastcomm" else [str(pacct)]
        assert ours(program[0], [*program[1:], "--db", str(db)]) == ours(
            program[0], [*program[1:], *file]
        )


@given(kernel_comp)
def test_a_comp_that_a_kernel_writes_comes_back_from_its_value(value: int) -> None:
    assert comp(comp_table()[value]) == value
