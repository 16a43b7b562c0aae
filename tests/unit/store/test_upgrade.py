"""Creating a warehouse and bringing it to head: safe modes, all or nothing, and the tables of
schema.py.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from elsa.errors import ConfigError, ElsaError, PrivilegeError
from elsa.store import database, schema, sql_files, statements
from elsa.store.upgrade import upgrade


def dump(path: Path) -> list[str]:
    """All that a warehouse holds."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_a_new_warehouse_is_at_head_with_every_table_and_view(tmp_path: Path) -> None:
    path = tmp_path / "elsa.db"
    assert upgrade(path) == (None, sql_files.head(), True)
    with closing(database.open_for_reading(path)) as connection:
        made = dict(
            connection.execute(
                "select name, type from sqlite_master where type in ('table', 'view')"
            ).fetchall()
        )
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    expected = dict.fromkeys(schema.metadata.tables, "table") | {
        view.stem: "view" for view in sql_files.views()
    }
    assert made == expected | {"alembic_version": "table"}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_but_owner_and_group_can_read_a_new_warehouse_and_only_the_owner_write(
    umask: int, tmp_path: Path
) -> None:
    path = tmp_path / "lib" / "elsa" / "elsa.db"
    before = os.umask(umask)
    try:
        upgrade(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) & ~0o640 == 0
    assert stat.S_IMODE(path.parent.stat().st_mode) & ~0o750 == 0


def test_upgrading_again_reads_and_writes_nothing(db: Path) -> None:
    before = db.stat().st_mtime_ns, db.read_bytes()
    assert upgrade(db) == (sql_files.head(), sql_files.head(), False)
    assert (db.stat().st_mtime_ns, db.read_bytes()) == before
    # SQLite creates an empty log for a reader.
    log = db.with_name("elsa.db-wal")
    assert not log.exists() or log.stat().st_size == 0


def test_upgrading_again_waits_for_no_writer_and_imports_no_alembic(db: Path) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("begin exclusive")
        connection.execute("insert into comm values (1, 'sh')")
        program = f"""
import pathlib, sys
from elsa.store.upgrade import upgrade
assert not upgrade(pathlib.Path({str(db)!r})).changed
assert not sys.modules.keys() & {{"alembic", "sqlalchemy", "elsa.store.schema"}}
"""
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    "change",
    [
        "drop view gaps",
        "drop trigger acct_deleted",
        "create view another as select 1",
        "drop view gaps; create view gaps as select 1 as gap_id",
        "drop trigger acct_deleted;"
        " create trigger acct_deleted after delete on acct begin select 1; end",
    ],
)
def test_any_view_or_trigger_that_is_not_of_this_version_is_mended(db: Path, change: str) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.executescript(change)
    assert upgrade(db).changed
    assert not upgrade(db).changed


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mount"), reason="to mount a small file system needs root"
)
@pytest.mark.parametrize(("how", "in_use"), [("full", False), ("full", True), ("read-only", False)])
def test_upgrading_again_needs_no_room_on_the_disk(
    template: Path, tmp_path: Path, how: str, in_use: bool
) -> None:
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=755", "none", place],
        check=False,
        capture_output=True,
    ).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        db = Path(shutil.copy(template, place / "elsa.db"))
        with closing(sqlite3.connect(db, isolation_level=None)) as connection:
            connection.execute("pragma journal_mode = wal")
            connection.execute("insert into comm values (1, 'sh')")
            if not in_use:
                connection.close()
            if how == "read-only":
                subprocess.run(["mount", "-o", "remount,ro", place], check=True)
            else:
                with (
                    (place / "rest").open("wb", 0) as rest,
                    pytest.raises(OSError, match="No space"),
                ):
                    while True:
                        rest.write(bytes(4096))
            assert upgrade(db) == (sql_files.head(), sql_files.head(), False)
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_data_are_kept_and_views_are_created_again(db: Path) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("insert into comm values (1, 'sh')")
    full = dump(db)
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("drop view job_usage")
        connection.execute("create view job_usage as select 'old' as words")
        connection.execute("create view of_an_older_version as select * from comm")
    upgrade(db)
    assert sorted(dump(db)) == sorted(full)


# of which another test reads the text
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection", "ignore:autogenerate skipping")
def test_the_migrations_create_the_tables_of_the_schema(template: Path) -> None:
    engine = create_engine(f"sqlite:///{template}")
    with engine.connect() as connection:
        assert (
            compare_metadata(
                MigrationContext.configure(connection, opts={"compare_type": True}), schema.metadata
            )
            == []
        )
    engine.dispose()


def test_the_migrations_create_the_constraints_of_the_schema(template: Path) -> None:
    """What Alembic does not compare: strict, without rowid, primary keys, partial indices."""
    engine = create_engine("sqlite://")
    with engine.begin() as made:
        schema.metadata.create_all(made)
        with closing(sqlite3.connect(template)) as migrated:
            for pragma in (
                "table_list",
                *(f"table_info({name})" for name in schema.metadata.tables),
            ):
                told = [
                    row
                    for row in made.exec_driver_sql(f"pragma {pragma}")
                    if "alembic" not in str(row) and row[2] != "view"
                ]
                have = [
                    row
                    for row in migrated.execute(f"pragma {pragma}")
                    if "alembic" not in str(row) and row[2] != "view"
                ]
                assert sorted(map(tuple, told)) == sorted(have)
            indices = "select name, sql from sqlite_master where type = 'index' and sql is not null"
            told_indices = {
                name: " ".join(sql.split()).lower() for name, sql in made.exec_driver_sql(indices)
            }
            assert {
                name: " ".join(sql.split()).lower() for name, sql in migrated.execute(indices)
            } == told_indices
    engine.dispose()


@pytest.mark.parametrize("fresh", [True, False])
def test_a_view_that_does_not_fit_leaves_everything_as_it_was(
    fresh: bool, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = Path(shutil.copytree(sql_files.folder("sql"), tmp_path / "sql"))
    (sql / "job" / "zz.sql").write_text("-- Grain: none.\nselect missing from process\n")
    real = sql_files.folder
    monkeypatch.setattr(sql_files, "folder", lambda name: sql if name == "sql" else real(name))
    path = tmp_path / "elsa.db"
    if not fresh:
        shutil.copy(template, path)
    before = dump(path) if path.exists() else ["BEGIN TRANSACTION;", "COMMIT;"]
    with pytest.raises(ElsaError, match="no such column: missing"):
        upgrade(path)
    assert dump(path) == before


def test_a_warehouse_of_a_newer_version_is_left_alone(db: Path) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    before = dump(db)
    with pytest.raises(ConfigError, match="newer ELSA"):
        upgrade(db)
    assert dump(db) == before


def test_what_is_no_warehouse_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "elsa.db"
    path.write_bytes(b"a letter to a friend" * 100)
    with pytest.raises(ConfigError, match="not a sound SQLite warehouse"):
        upgrade(path)
    assert path.read_bytes() == b"a letter to a friend" * 100


def test_no_warehouse_is_made_in_a_folder_that_others_can_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PrivilegeError, match="others can write"):
        upgrade(tmp_path / "elsa.db")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="Not a directory; name another place"):
        upgrade(tmp_path / "file" / "elsa" / "elsa.db")


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table theirs (a)")
    with pytest.raises(ConfigError, match="another program"):
        upgrade(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select name from sqlite_master").fetchall() == [("theirs",)]


def test_an_unknown_revision_is_reported_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "elsa.db"
    upgrade(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("update alembic_version set version_num = '0000'")
    with pytest.raises(ConfigError, match="this ELSA does not know revision 0000"):
        upgrade(path)


def test_a_warehouse_in_memory_is_made_of_the_same_statements(tmp_path: Path) -> None:
    def made(connection: sqlite3.Connection) -> set[tuple[str, str]]:
        rows = connection.execute(
            "select name, sql from sqlite_master"
            " where sql is not null and name <> 'alembic_version'"
        )
        return {(name, " ".join(sql.split())) for name, sql in rows}

    upgrade(tmp_path / "elsa.db")
    with (
        closing(sqlite3.connect(tmp_path / "elsa.db")) as stored,
        closing(statements.empty()) as empty,
    ):
        assert made(empty) == made(stored)
