"""Accounting files as bytes: plain, gzipped, damaged, growing, truncated, rotated."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from elsa.errors import DataError, InputMissingError, PrivilegeError
from elsa.kernel import unpack
from elsa.kernel.acct_file import CHUNK, MARK, AcctFile, rotated, siblings, translated
from elsa.kernel.unpack import Unpacked

CONTENT = Random(1).randbytes(200_000) + bytes(300_000) + b"end"


def content(path: Path, position: int = 0) -> tuple[bytes, str | None]:
    """Everything that can be read of a file from a position on, and what was said when that was
    over.
    """
    data = b""
    with AcctFile(path) as file:
        try:
            for at, chunk in file.chunks(position):
                assert at == position + len(data)
                assert 0 < len(chunk) <= CHUNK
                data += chunk
        except DataError as error:
            return data, str(error)
    return data, None


def zstd_compress(data: bytes) -> bytes:
    """By Python's own module from 3.14 on, before that by its backport."""
    packed: bytes = unpack._zstd().compress(data)
    return packed


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zstd": zstd_compress,
}


@pytest.fixture(params=["plain", *PACKERS, *(f"two members of {name}" for name in PACKERS)])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with CONTENT in it."""
    path = tmp_path / "pacct"
    pack = PACKERS.get(request.param.split()[-1], bytes)
    two = request.param.startswith("two")
    path.write_bytes(
        pack(CONTENT[:1000]) + pack(CONTENT[1000:]) + bytes(512) if two else pack(CONTENT)
    )
    return path


def test_a_file_is_read_whole_in_bounded_pieces(path: Path) -> None:
    assert content(path) == (CONTENT, None)
    assert content(path, 123_456) == (CONTENT[123_456:], None)
    assert content(path, len(CONTENT)) == content(path, len(CONTENT) + 1000) == (b"", None)


def test_any_place_can_be_read_in_any_order(path: Path) -> None:
    chance = Random(2)
    with AcctFile(path) as file:
        for _ in range(100):
            position, size = chance.randrange(len(CONTENT) + 200), chance.randrange(2 * CHUNK)
            assert file.read(position, size) == CONTENT[position : position + size]
            assert file.before(position) == CONTENT[max(0, position - MARK) : position]


def test_reading_on_from_a_little_before_does_not_start_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pacct.1.gz"
    path.write_bytes(gzip.compress(CONTENT))
    starts = []
    restart = Unpacked._restart

    def counted(unpacked: Unpacked) -> None:
        starts.append(1)
        restart(unpacked)

    monkeypatch.setattr(Unpacked, "_restart", counted)
    with AcctFile(path) as file:
        position = 0
        while len(data := file.read(position)) == CHUNK:
            position += len(data) - 191
    assert len(starts) == 1


def test_a_file_is_known_by_its_first_record_and_its_bytes_before_the_resume_point(
    path: Path,
) -> None:
    with AcctFile(path) as file:
        identity = file.identity()
        assert identity.head == CONTENT[:MARK]
        assert (identity.path, identity.inode, identity.size) == (
            path,
            path.stat().st_ino,
            path.stat().st_size,
        )
        for position in (1, MARK, 5000, len(CONTENT)):
            tail = file.before(position)
            assert file.matches(identity.head, tail, position)
            assert not file.matches(identity.head, bytes(len(tail)), position) or not any(tail)
            assert not file.matches(b"?" + identity.head[1:], tail, position)
        assert not file.matches(identity.head, file.before(len(CONTENT)), len(CONTENT) + 1)
        assert not file.matches(b"", b"", 0)


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pacct"
    path.write_bytes(b"")
    with AcctFile(path) as file:
        assert file.read(0) == b""
        assert file.identity().head == b""
        with path.open("ab") as writer:
            writer.write(b"a" * 100)
        assert file.read(0) == b"a" * 100
        assert file.read(64) == b"a" * 36
        assert file.identity().head == b"a" * MARK


def test_truncation_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "pacct"
    path.write_bytes(CONTENT)
    with AcctFile(path) as file:
        head, tail = file.read(0, MARK), file.before(1000)
        os.truncate(path, 0)
        assert file.identity().size < 1000
        assert file.read(1000) == b""
        path.write_bytes(bytes(2000))  # copytruncate, and grown past the old position since
        assert not file.matches(head, tail, 1000)


def test_a_rotated_file_goes_on_being_read_under_its_new_name(tmp_path: Path) -> None:
    path = tmp_path / "pacct"
    path.write_bytes(b"old")
    with AcctFile(path) as file:
        with path.rename(tmp_path / "pacct.0").open("ab") as writer:
            writer.write(b"er")
        path.write_bytes(b"new")
        assert file.read(0) == b"older"


@pytest.mark.parametrize(
    ("damage", "readable", "reason"),
    [
        (lambda data: data[: len(data) // 2], 50_000, "ends in the middle"),
        (lambda data: data[:-4], len(CONTENT), "ends in the middle"),
        (lambda data: data[:-8] + b"12345678", len(CONTENT), "incorrect data check"),
        (lambda data: data + b"not gzip", len(CONTENT), "incorrect header"),
        (lambda data: data[:10], 0, "ends in the middle"),
    ],
    ids=["half", "trailer cut", "wrong checksum", "junk behind", "nearly nothing"],
)
def test_of_a_damaged_gzip_file_all_that_is_readable_comes_before_the_error(
    tmp_path: Path, damage: object, readable: int, reason: str
) -> None:
    assert callable(damage)
    path = tmp_path / "pacct.1.gz"
    path.write_bytes(damage(gzip.compress(CONTENT)))
    data, error = content(path)
    assert len(data) >= readable
    assert CONTENT.startswith(data)
    assert error is not None
    assert error.startswith(f"{path}: damaged gzip file: ")
    assert reason in error


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("cut", [0, 9, 1000])
def test_of_any_damaged_file_what_comes_before_the_damage_is_read(
    tmp_path: Path, packer: str, cut: int
) -> None:
    """A first member is whole, the second one is cut or has wrong bytes."""
    path = tmp_path / "pacct.1"
    whole, second = PACKERS[packer](CONTENT[:1000]), PACKERS[packer](CONTENT[1000:])
    path.write_bytes(whole + (second[: len(second) - cut] if cut else second[:6] + b"\xff" * 200))
    data, error = content(path)
    assert len(data) >= 1000
    assert CONTENT.startswith(data)
    assert error is not None
    assert error.startswith(f"{path}: damaged {packer} file: ")
    assert ("ends in the middle" in error) is bool(cut)


@pytest.mark.parametrize(
    ("start", "name"),
    [(b"\x04\x22\x4d\x18", "lz4"), (b"PK\x03\x04", "zip"), (b"\x1f\x9d", "compress")],
)
def test_what_cannot_be_unpacked_is_named_with_what_to_do(
    tmp_path: Path, start: bytes, name: str
) -> None:
    path = tmp_path / "pacct.1.packed"
    path.write_bytes(start + bytes(200))
    with pytest.raises(
        DataError, match=f"{path}: compressed with {name}, which is not read here; unpack it"
    ):
        AcctFile(path)


def test_without_a_module_for_zstd_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pacct.1.zst"
    path.write_bytes(zstd_compress(CONTENT))
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    with pytest.raises(DataError, match=r"unpack it \(zstd -d\), or pip install backports.zstd"):
        AcctFile(path)


@pytest.mark.parametrize("packer", PACKERS)
def test_a_compressed_file_that_swells_is_read_in_bounded_memory(
    tmp_path: Path, packer: str
) -> None:
    path = tmp_path / "pacct.1"
    path.write_bytes(PACKERS[packer](bytes(50_000_000)))
    with AcctFile(path) as file:
        assert sum(len(data) for _, data in file.chunks()) == 50_000_000
        assert file._unpacked is not None
        assert len(file._unpacked.window) <= 3 * CHUNK


def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, error, words in (
        (tmp_path / "none", InputMissingError, "no such file"),
        (tmp_path / "fifo" / "x", InputMissingError, "no such file"),
        (tmp_path, DataError, "is a directory"),
        (tmp_path / "fifo", DataError, "is not a regular file"),
        (Path("/dev/null"), DataError, "is not a regular file"),
    ):
        with pytest.raises(error, match=words):
            AcctFile(path)
    assert isinstance(
        translated(PermissionError(13, "Permission denied"), tmp_path), PrivilegeError
    )


def made(folder: Path, *names: str) -> Path:
    """Files of these names, the first changed first, and the live one."""
    for second, name in enumerate(names):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (second, second))
    return folder / "pacct"


def names(live: Path) -> list[str]:
    return [path.name for path in rotated(live)]


def test_savelog_leaves_numbers(tmp_path: Path) -> None:
    live = made(tmp_path, "pacct.0", "pacct.10.gz", "pacct.9.gz", "pacct.1.gz", "pacct")
    assert names(live) == ["pacct.10.gz", "pacct.9.gz", "pacct.1.gz", "pacct.0"]


def test_logrotate_leaves_dates(tmp_path: Path) -> None:
    live = made(
        tmp_path,
        "pacct-20261122",
        "pacct-20261121.gz",
        "pacct-2026112012.gz",
        "pacct-20261120-1.gz",
    )
    assert names(live) == [
        "pacct-20261120-1.gz",
        "pacct-2026112012.gz",
        "pacct-20261121.gz",
        "pacct-20261122",
    ]


def test_numbers_and_dates_together_are_ordered_by_time(tmp_path: Path) -> None:
    assert names(made(tmp_path, "pacct-20261122", "pacct.1.gz", "pacct.0")) == [
        "pacct-20261122",
        "pacct.1.gz",
        "pacct.0",
    ]


@pytest.mark.parametrize("packed", ["", ".gz", ".bz2", ".xz", ".lzma", ".zst"])
@pytest.mark.parametrize(
    "ending",
    [
        ".0",
        ".12",
        "-20251124",
        "-2025-11-24",
        ".20251124",
        "_20251124",
        "-20251124-03",
        "-2025-11-24T03:00",
        "-2025112403",
        ".old",
        ".bak",
    ],
)
def test_what_rotation_and_people_name_files_is_found(
    tmp_path: Path, ending: str, packed: str
) -> None:
    assert names(made(tmp_path, f"pacct{ending}{packed}", "pacct")) == [f"pacct{ending}{packed}"]


def test_dates_with_and_without_hyphens_are_in_one_order(tmp_path: Path) -> None:
    live = made(tmp_path, "pacct-2026-11-22", "pacct-20261121.xz", "pacct-2026-11-20.zst")
    assert names(live) == ["pacct-2026-11-20.zst", "pacct-20261121.xz", "pacct-2026-11-22"]


def test_other_files_are_not_taken_for_rotated_ones(tmp_path: Path) -> None:
    live = made(
        tmp_path,
        "pacct1",
        "savacct",
        "xpacct.1",
        "pacct.1.gz.tmp",
        "pacct.of-anna",
        "pacctX1",
        "pacct",
    )
    (tmp_path / "pacct.3").mkdir()
    (tmp_path / "pacct.4").symlink_to("nowhere")
    assert siblings(live) == ([], [tmp_path / "pacct.1.gz.tmp", tmp_path / "pacct.of-anna"])
    assert siblings(tmp_path / "none" / "pacct") == ([], [])


def test_every_form_of_a_file_is_found_the_plain_one_first(tmp_path: Path) -> None:
    live = made(tmp_path, "pacct.5.xz", "pacct.4.lzma", "pacct.1", "pacct.1.gz", "pacct.gz")
    assert set(names(live)) == {"pacct.5.xz", "pacct.4.lzma", "pacct.1", "pacct.1.gz", "pacct.gz"}
    (tmp_path / "pacct.gz").unlink()
    assert names(live) == ["pacct.5.xz", "pacct.4.lzma", "pacct.1", "pacct.1.gz"]


def test_a_name_with_special_characters_is_taken_as_it_is(tmp_path: Path) -> None:
    made(tmp_path, "a+b.1", "aab.1")
    assert names(tmp_path / "a+b") == ["a+b.1"]
