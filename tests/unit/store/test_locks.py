"""A lock of a kind is held once, and open to every user who may write the warehouse."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from elsa.errors import RetryError, UnavailableError
from elsa.store import locks


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "elsa.db"
    path.touch()
    return path


def mode_of_lock(db: Path) -> int:
    with locks.only(locks.PRUNE, db):
        return stat.S_IMODE(Path(f"{db}-prune.lock").stat().st_mode)


def test_a_lock_of_a_kind_is_held_once(db: Path) -> None:
    with locks.only(locks.COLLECTOR, db), locks.only(locks.INGESTER, db):
        assert locks.held(locks.COLLECTOR, db)
        with (
            pytest.raises(UnavailableError, match="another elsa jobd"),
            locks.only(locks.COLLECTOR, db),
        ):
            pass
        with pytest.raises(RetryError, match="another elsa ingest"), locks.only(locks.INGESTER, db):
            pass
    assert not locks.held(locks.COLLECTOR, db)


@pytest.mark.parametrize(
    ("warehouse", "lock"), [(0o600, 0o600), (0o640, 0o600), (0o660, 0o660), (0o664, 0o660)]
)
def test_only_users_who_may_write_the_warehouse_may_lock_it(
    db: Path, warehouse: int, lock: int
) -> None:
    db.chmod(warehouse)
    assert mode_of_lock(db) == lock
    Path(f"{db}-prune.lock").chmod(
        0o600
    )  # of an older version, or from before the warehouse was opened to others
    assert mode_of_lock(db) == lock


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_lock_that_root_took_first_is_there_for_the_owner_of_the_warehouse(db: Path) -> None:
    os.chown(db, 12345, 12346)
    mode_of_lock(db)
    status = Path(f"{db}-prune.lock").stat()
    assert (status.st_uid, status.st_gid) == (12345, 12346)
