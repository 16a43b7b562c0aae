"""Opening the warehouse: what is wrong comes out as one line that says what to do, and nothing is
left open.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from elsa.errors import ConfigError, ElsaError, InputMissingError, PrivilegeError, RetryError
from elsa.kernel import safe_paths
from elsa.store import database, locks, sql_files
from elsa.store.statements import views
from elsa.store.upgrade import upgrade

OPEN = [database.open_for_writing, database.open_for_reading]
Open = Callable[[Path], sqlite3.Connection]


def one_line(error: pytest.ExceptionInfo[ElsaError], path: Path) -> bool:
    text = str(error.value)
    return "\n" not in text and text.startswith(f"{path}: ")


@pytest.mark.parametrize("opener", OPEN)
def test_a_sound_warehouse_opens(opener: Open, db: Path) -> None:
    with closing(opener(db)) as connection:
        assert connection.execute("select count(*) from process").fetchone() == (0,)


def test_a_connection_for_reading_cannot_write(db: Path) -> None:
    with (
        closing(database.open_for_reading(db)) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("delete from process")


def test_readers_see_the_warehouse_as_it_was_while_a_writer_writes(
    db: Path, connection: sqlite3.Connection
) -> None:
    with closing(database.open_for_reading(db)) as reader, database.transaction(connection):
        connection.execute("insert into comm values (1, 'sh')")
        assert reader.execute("select count(*) from comm").fetchone() == (0,)


STEPS = ((1, -1), (1, 0), (1, 1), (3, 0))


@pytest.mark.parametrize(
    "count", [0, 1, *(factor * database.ROWS_PER_INSERT + more for factor, more in STEPS)]
)
def test_rows_are_inserted_in_order_however_many_with_unknown_as_null(
    count: int, connection: sqlite3.Connection
) -> None:
    rows = [(number, "down", None if number % 2 else number) for number in range(1, count + 1)]
    with database.transaction(connection):
        database.insert_rows(connection, "insert into gap (from_ns, kind, lost)", rows)
    assert connection.execute("select from_ns, kind, lost from gap order by id").fetchall() == rows


@pytest.mark.parametrize("count", [1, database.MANY_ROWS - 1, database.MANY_ROWS + 7])
def test_columns_are_inserted_whether_their_values_differ_or_not(
    count: int, connection: sqlite3.Connection
) -> None:
    columns: dict[str, list[object]] = {
        "from_ns": list(range(count)),
        "kind": ["down"] * count,
        "lost": [None] * count,
        "to_ns": [-5] * count,
        "from_position": [2**63 - 1] * (count - 1) + [None],
    }
    with database.transaction(connection):
        database.insert_columns(connection, "gap", columns)
    rows = connection.execute(f"select {', '.join(columns)} from gap order by id").fetchall()
    assert rows == list(zip(*columns.values(), strict=True))


@pytest.mark.parametrize("opener", OPEN)
def test_a_missing_warehouse_is_reported_with_the_command_that_creates_it(
    opener: Open, tmp_path: Path
) -> None:
    path = tmp_path / "elsa.db"
    with pytest.raises(InputMissingError, match="elsa db upgrade") as error:
        opener(path)
    assert one_line(error, path)
    assert not path.exists()


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match=r"No such file or directory; create it"):
        database.open_for_writing(tmp_path / "none" / "elsa.db")


@pytest.mark.parametrize("opener", OPEN)
@pytest.mark.parametrize(
    "content",
    [b"these are not the bytes of a database" * 50, b"SQLite format 3\0" + bytes(range(256)) * 40],
)
def test_a_file_that_is_no_warehouse_is_reported(
    opener: Open, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "elsa.db"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a sound SQLite warehouse") as error:
        opener(path)
    assert one_line(error, path)
    assert path.read_bytes() == content


def test_a_corrupt_page_is_reported(db: Path) -> None:
    data = bytearray(db.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    db.write_bytes(data)
    with (
        pytest.raises(ConfigError, match="not a sound SQLite warehouse"),
        database.translated(db),
        closing(sqlite3.connect(db)) as opened,
    ):
        opened.execute("select * from process").fetchall()


@pytest.mark.parametrize("opener", OPEN)
@pytest.mark.parametrize(
    ("revision", "meaning"),
    [
        ("0000", "is needed; run: elsa db upgrade"),
        ("9999", "made by a newer ELSA"),
        (None, "not an ELSA warehouse yet"),
    ],
)
def test_a_warehouse_of_another_version_is_reported(
    opener: Open, revision: str | None, meaning: str, db: Path
) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        if revision is None:
            connection.execute("drop table alembic_version")
        else:
            connection.execute("update alembic_version set version_num = ?", (revision,))
    with pytest.raises(ConfigError, match=meaning) as error:
        opener(db)
    assert one_line(error, db)


def test_a_locked_warehouse_is_reported(db: Path, connection: sqlite3.Connection) -> None:
    connection.execute("begin immediate")
    with closing(sqlite3.connect(db, timeout=0, isolation_level=None)) as other:
        with (
            pytest.raises(RetryError, match="locked by another program; try again later") as error,
            database.translated(db),
        ):
            other.execute("begin immediate")
    connection.execute("rollback")
    assert one_line(error, db)


def test_a_warehouse_that_may_not_be_written_is_reported(db: Path) -> None:
    with closing(database.open_for_reading(db)) as connection:
        with (
            pytest.raises(PrivilegeError, match="cannot be written by this user") as error,
            database.translated(db),
        ):
            connection.execute("delete from process")
    assert one_line(error, db)


def test_a_full_device_is_reported(db: Path, connection: sqlite3.Connection) -> None:
    pages = connection.execute("pragma page_count").fetchone()[0]
    connection.execute(f"pragma max_page_count = {pages}")
    with pytest.raises(RetryError, match="no space left") as error, database.translated(db):
        connection.execute("insert into comm values (1, ?)", ("x" * 100_000,))
    assert one_line(error, db)


def test_any_other_error_is_reported_unchanged(db: Path, connection: sqlite3.Connection) -> None:
    with pytest.raises(ElsaError, match="no such table: none"), database.translated(db):
        connection.execute("select * from none")


@pytest.mark.parametrize(
    ("mode", "refused"),
    [(0o777, True), (0o757, True), (0o1777, True), (0o755, False), (0o700, False)],
)
def test_a_folder_that_others_can_write_is_refused(mode: int, refused: bool, db: Path) -> None:
    db.parent.chmod(mode)
    if refused:
        with pytest.raises(
            PrivilegeError, match=r"others can write this folder.*use a folder of its own"
        ):
            database.open_for_writing(db)
    else:
        database.open_for_writing(db).close()


def test_a_transaction_is_all_or_nothing(connection: sqlite3.Connection) -> None:
    with pytest.raises(KeyError), database.transaction(connection):
        connection.execute("insert into comm values (1, 'sh')")
        raise KeyError
    assert not connection.in_transaction
    assert connection.execute("select count(*) from comm").fetchone() == (0,)
    with database.transaction(connection):
        connection.execute("insert into comm values (1, 'sh')")
    assert connection.execute("select count(*) from comm").fetchone() == (1,)


def test_every_view_stands_after_those_that_it_reads() -> None:
    names = [path.stem for path in sql_files.views()]
    assert sorted(names) == sorted(path.stem for path in sql_files.views())
    with closing(sqlite3.connect(":memory:")) as connection:
        for path, view in zip(sql_files.views(), views(), strict=True):
            connection.execute(view)
            text = path.read_text()
            later = names[names.index(path.stem) + 1 :]
            assert not [
                name for name in later if f"from {name} " in text or f"join {name} " in text
            ]


@pytest.mark.parametrize("opener", [*OPEN, upgrade])
def test_a_fifo_in_the_place_of_the_warehouse_makes_nobody_wait(
    opener: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "elsa.db"
    os.mkfifo(path)
    with pytest.raises(
        ConfigError, match=f"{path}: is a FIFO, where the warehouse's file is needed"
    ):
        opener(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("opener", [database.open_for_writing, upgrade])
def test_root_does_not_write_into_what_a_user_owns(
    opener: Callable[[Path], object], db: Path
) -> None:
    os.chown(db.parent, 65534, 65534)
    with pytest.raises(PrivilegeError, match=r"belongs to user .*run as user"):
        opener(db)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_root_that_reads_the_warehouse_of_a_user_writes_through_no_link_of_that_user(
    suffix: str, db: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    os.chown(db.parent, 65534, 65534)
    Path(f"{db}{suffix}").unlink(missing_ok=True)
    Path(f"{db}{suffix}").symlink_to(victim)
    with suppress(ElsaError), closing(database.open_for_reading(db)) as connection:
        connection.execute("select count(*) from process").fetchone()
    assert victim.read_bytes() == b"precious"


def test_a_warehouse_has_one_writer_of_a_kind_by_whatever_name_it_is_opened(
    db: Path, tmp_path: Path
) -> None:
    link = tmp_path / "other-name.db"
    link.symlink_to(db)
    with locks.only(locks.INGESTER, db):
        assert locks.held(locks.INGESTER, link)
    assert not locks.held(locks.INGESTER, link)


def test_a_read_only_file_system_is_called_so(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_paths, "read_only", lambda _path: True)
    with (
        closing(database.open_for_reading(db)) as connection,
        pytest.raises(RetryError, match="read-only file system"),
    ):
        with database.translated(db):
            connection.execute("delete from process")
