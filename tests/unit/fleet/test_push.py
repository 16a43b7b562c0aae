"""Pushing a host's sums: what the fleet has is what the host has, to the last unit, whatever
changed there and whatever happened on the way.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from elsa.cli.main import group
from elsa.errors import ConfigError, PrivilegeError, RetryError, UsageError
from elsa.fleet import push as module
from elsa.fleet import tables
from elsa.fleet.hosts import add, listed, remove
from elsa.fleet.hosts import prune as prune_fleet
from elsa.fleet.push import History, Pushed, push
from elsa.fleet_url import FleetUrl
from elsa.state.codes import How
from elsa.store import retention, rollups
from elsa.units import HOUR_NS
from tests.support.fleets import (
    LATER_NS,
    add_up,
    assert_equal,
    host_total,
    pushed,
    week,
)
from tests.support.month import BEGIN_NS
from tests.support.postgres import Server

FIRST_HOUR = BEGIN_NS // HOUR_NS


@contextmanager
def changing(path: Path, now_ns: int = LATER_NS) -> Iterator[sqlite3.Connection]:
    """A connection for changes to a warehouse, which is rolled up afterwards."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection
        rollups.refresh(connection, path, now_ns)


def test_a_push_makes_the_fleet_equal_to_the_host_and_a_second_sends_nothing(
    postgres: Server, fleet: str, db: Path, url: str
) -> None:
    first = pushed(db, url)
    assert first.hours >= 90
    assert first.jobs >= 10
    assert first.others > 5
    assert first.until_hour == rollups.first_unsettled(LATER_NS)
    assert_equal(postgres, fleet, db)
    assert pushed(db, url) == Pushed(until_hour=first.until_hour, ahead=first.ahead)
    assert_equal(postgres, fleet, db)


def test_the_fleet_knows_whether_a_host_records(
    postgres: Server, fleet: str, db: Path, url: str
) -> None:
    """As of its last push; LATER_NS is three days after the warehouse's last event."""

    def state() -> tuple[str, int | None, int | None]:
        (host,) = listed(FleetUrl(url))
        return host.state, host.silent_since_ns, host.unread_since_ns

    def run_until(at_ns: int, pid: int) -> None:
        with changing(db) as connection:
            (offset_ns,) = connection.execute(
                "select offset_ns from clock where boot_id = (select max(id) from boot)"
                " order by since_ns desc limit 1"
            ).fetchone()
            connection.execute(
                "update collector set heard_ns = ?, pid = ?, stopped_ns = null"
                " where id = (select max(id) from collector)",
                (at_ns - offset_ns, pid),
            )
            connection.execute("update acct_file set read_at_ns = ?", (at_ns,))

    # The server's clock decides what is late.
    now_ns = time.time_ns()
    run_until(now_ns, os.getpid())
    pushed(db, url, now_ns)
    assert state() == ("current", None, None)
    pushed(db, url, now_ns + 60 * 10**9)
    assert state() == ("silent", now_ns, None)
    with changing(db) as connection:
        connection.execute("update acct_file set read_at_ns = ?", (now_ns - 30 * 3600 * 10**9,))
    pushed(db, url, now_ns)
    assert state() == ("unread", None, now_ns - 30 * 3600 * 10**9)
    with changing(db) as connection:
        connection.execute(
            "update collector set stopped_ns = heard_ns where id = (select max(id) from collector)"
        )
    pushed(db, url, now_ns + 10**9)
    assert state() == ("silent", now_ns, None)
    with postgres.connect(fleet) as theirs:
        theirs.execute("update elsa.host set until_hour = until_hour - 9")
    assert state() == ("late", now_ns, None)


def test_a_dry_run_counts_what_a_push_sends_and_sends_nothing(
    postgres: Server, fleet: str, db: Path, url: str
) -> None:
    planned = pushed(db, url, dry_run=True)
    with postgres.connect(fleet) as connection:
        assert connection.execute("select count(*) from elsa.host").fetchone() == (0,)
    done = pushed(db, url)
    assert (planned.hours, planned.jobs) == (done.hours, done.jobs)
    assert pushed(db, url, dry_run=True)[:3] == (0, 0, 0)


def test_a_corrected_hour_is_corrected_in_the_fleet_and_no_other_is_sent(
    postgres: Server, fleet: str, db: Path, url: str
) -> None:
    pushed(db, url)
    before = add_up(postgres, fleet, "minflt")
    with changing(db) as connection:
        # Late statistics: more page faults of one record.
        (number,) = connection.execute(
            "select min(a.id) from acct as a join process as p on p.id = a.process_id"
        ).fetchone()
        connection.execute("update acct set minflt = minflt + 1000 where id = ?", (number,))
    assert pushed(db, url).hours == 1
    assert add_up(postgres, fleet, "minflt") == before + 1000
    assert_equal(postgres, fleet, db)


def test_a_job_defined_later_a_tag_and_a_close_are_sent(
    postgres: Server, fleet: str, db: Path, url: str
) -> None:
    pushed(db, url)
    with changing(db) as connection:
        connection.execute(
            "insert into job (id, boot_id, name, owner_uid, created_at_ns, closes_itself)"
            " values (9001, 1, 'late', 1000, ?, 0)",
            (LATER_NS,),
        )
        connection.execute(
            "insert into membership (job_id, process_id, since_ns, how)"
            " select 9001, id, 0, ? from process where elapsed_ns is not null limit 30",
            (int(How.DEFINED),),
        )
    assert pushed(db, url).jobs == 1
    assert_equal(postgres, fleet, db)
    for change in (
        "insert into job_tag values (9001, 'customer', 'anna')",
        "update job_tag set value = 'ben' where job_id = 9001",
        f"update job set closed_at_ns = {LATER_NS}, close_reason = 'request' where id = 9001",
        "delete from job_tag where job_id = 9001",
    ):
        with changing(db) as connection:
            connection.execute(change)
        assert pushed(db, url)[:2] == (0, 1)
        assert_equal(postgres, fleet, db)


def test_a_job_has_what_its_members_used_in_hours_that_are_not_over(
    postgres: Server, fleet: str, a_week: Path, tmp_path: Path, url: str, template: Path
) -> None:
    middle = FIRST_HOUR + 48
    db = week(tmp_path / "elsa.db", template, rolled_up_ns=middle * HOUR_NS)
    first = pushed(db, url, middle * HOUR_NS)
    assert first.until_hour <= middle
    # Hours of the fleet and unsettled sums of jobs add up to the host's jobs: assert_equal.
    assert_equal(postgres, fleet, db)
    with postgres.connect(fleet) as connection:
        query = "select count(*) from elsa.rollup_job where hour is null"
        assert connection.execute(query).fetchone() != (0,)
    for hours in (1, 5, 200):
        now_ns = (middle + hours) * HOUR_NS
        with changing(db, now_ns):
            pass
        pushed(db, url, now_ns)
        assert_equal(postgres, fleet, db)


def test_a_push_that_is_cut_off_counts_nothing_of_a_job_twice(
    postgres: Server,
    fleet: str,
    tmp_path: Path,
    url: str,
    template: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    middle = FIRST_HOUR + 48
    db = week(tmp_path / "elsa.db", template, rolled_up_ns=middle * HOUR_NS)
    pushed(db, url, middle * HOUR_NS)
    with changing(db):
        pass
    monkeypatch.setattr(module, "MOST_HOURS", 6)

    def cut(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pushed(db, url, progress=cut)
    sums = "select job_id, sum(processes) from {} group by job_id"
    with closing(sqlite3.connect(db)) as connection, postgres.connect(fleet) as theirs:
        most = dict(connection.execute(sums.format("job_usage_part")))
        found = dict(theirs.execute(sums.format("elsa.rollup_job")).fetchall())
    assert found
    assert all(found[job] <= most[job] for job in found)
    pushed(db, url)
    assert_equal(postgres, fleet, db)


def test_an_hour_that_is_stale_during_a_push_is_not_counted_twice(
    postgres: Server, fleet: str, db: Path, url: str
) -> None:
    pushed(db, url)
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        # As a late record would; nothing is rolled up again yet.
        stale = FIRST_HOUR + 30
        connection.execute("delete from rollup_hour where hour = ?", (stale,))
        done = pushed(db, url)
        assert done.until_hour == stale
        sums = "select job_id, sum(processes) from {} where {} group by job_id order by job_id"
        rows = connection.execute(sums.format("job_usage_part", "1")).fetchall()
    with postgres.connect(fleet) as fleet_connection:
        found = fleet_connection.execute(sums.format("elsa.rollup_job", "true")).fetchall()
    assert [tuple(map(int, row)) for row in found] == rows


def test_pruning_at_the_host_loses_nothing_in_the_fleet(
    postgres: Server, fleet: str, db: Path, url: str
) -> None:
    pushed(db, url)
    before = add_up(postgres, fleet)
    cutoff = (FIRST_HOUR + 60) * HOUR_NS

    def prune(**cutoffs: int) -> None:
        given = {"events_ns": None, "processes_ns": None, "rollups_ns": None} | cutoffs
        with changing(db) as connection:
            retention.prune(connection, db, retention.Cutoffs(**given), lambda *_: None)

    prune(processes_ns=cutoff)
    assert pushed(db, url).hours > 0
    assert add_up(postgres, fleet) == before == host_total(db)
    assert_equal(postgres, fleet, db)
    prune(rollups_ns=cutoff)
    assert host_total(db) < before
    # The hours are rolled up again without these sums: as days are, or after a correction.
    with changing(db) as connection:
        connection.execute("delete from rollup_hour where hour < ?", (FIRST_HOUR + 60,))
        connection.execute("delete from rollup_day")
    pushed(db, url)
    assert add_up(postgres, fleet) == before


def test_hours_that_were_deleted_in_the_fleet_stay_in_their_days(
    postgres: Server, fleet: str, db: Path, url: str
) -> None:
    pushed(db, url)
    total = host_total(db, "minflt")
    middle = FIRST_HOUR + 50
    planned = prune_fleet(FleetUrl(url), middle, dry_run=True)
    assert add_up(postgres, fleet, "minflt") == total
    assert prune_fleet(FleetUrl(url), middle) == planned > 0
    kept = add_up(postgres, fleet, "minflt")
    assert 0 < kept < total
    with changing(db) as connection:
        for first, last in ((0, middle - 24), (middle, middle + 24)):
            connection.execute(
                "update acct set minflt = minflt + 1000 where id = (select min(a.id) from acct as a"
                " join process as p on p.id = a.process_id where p.ended_hour between ? and ?)",
                (first, last),
            )
    # The correction of the deleted hour is not taken over.
    assert pushed(db, url).hours == 1
    assert add_up(postgres, fleet, "minflt") == kept + 1000
    with postgres.connect(fleet) as theirs:
        row = theirs.execute("select sum(minflt) from elsa.rollup_day_user").fetchone()
    assert row == (total + 1000,)
    assert prune_fleet(FleetUrl(url), middle) == 0


def test_sums_that_exceed_64_bits_are_exact(
    postgres: Server, fleet: str, db: Path, url: str
) -> None:
    most = 2**63 - 1
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute(
            "update rollup_user set uid = 7, gid = 7, in_job = 0, cpu_ns = ? where pruned = 0",
            (most,),
        )
        (rows,) = connection.execute("select count(*) from rollup_user").fetchone()
    pushed(db, url)
    assert_equal(postgres, fleet, db)
    assert add_up(postgres, fleet) == rows * most
    with postgres.connect(fleet) as fleet_connection:
        (total,) = fleet_connection.execute(
            "select sum(cpu_ns) from elsa.rollup_day_user"
        ).fetchone() or (None,)
    assert total == rows * most


def test_the_warehouse_can_be_checkpointed_while_the_server_writes(
    db: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_hours = tables.replace_hours
    results = []

    def checked(*arguments: object) -> None:
        with closing(sqlite3.connect(db)) as connection:
            connection.execute("update host set name = name || '+'")
            connection.commit()
            results.append(connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0])
        replace_hours(*arguments)  # type: ignore[arg-type]

    with closing(sqlite3.connect(db)) as connection:
        connection.execute("pragma journal_mode = wal")
    monkeypatch.setattr(tables, "replace_hours", checked)
    pushed(db, url)
    assert set(results) == {0}


def test_a_clock_that_is_wrong_is_named_and_loses_nothing(
    postgres: Server, fleet: str, db: Path, url: str
) -> None:
    with postgres.connect(fleet) as connection:
        (now,) = connection.execute(
            "select floor(extract(epoch from now()) / 3600)::bigint"
        ).fetchone() or (0,)
    done = pushed(db, url, (now + 1000) * HOUR_NS)
    assert 998 <= done.ahead <= 1000
    assert_equal(postgres, fleet, db)
    # The clock is set right: the host is no longer ahead, and nothing is sent again.
    again = pushed(db, url, (now - 3) * HOUR_NS)
    assert again[:3] == (0, 0, 0)
    assert again.until_hour == now - 4
    (host,) = (host for host in listed(FleetUrl(url)) if host.id)
    assert host.state == "late"


def test_a_clone_is_refused_with_what_to_do(
    postgres: Server, fleet: str, db: Path, url: str, tmp_path: Path
) -> None:
    clone = Path(shutil.copy(db, tmp_path / "clone.db"))
    pushed(db, url)
    with closing(sqlite3.connect(clone)) as connection, connection:
        connection.execute("insert into boot (id, host_id, uuid) values (77, 1, 'of-the-clone')")
    # The clone has all that the fleet has, so far; from then on the original is refused.
    pushed(clone, url)
    with pytest.raises(ConfigError, match=r"boot of-the-clone .*\(a clone; .*systemd-machine-id-"):
        pushed(db, url)
    other = Path(shutil.copy(db, tmp_path / "new.db"))
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("update boot set uuid = 'new-' || id")
    with pytest.raises(ConfigError, match="--history keep, or forget"):
        pushed(other, url)
    assert_equal(postgres, fleet, clone)


def make_another(db: Path, name: str) -> None:
    """Make it the warehouse of other boots, whose hours were rolled up at other times."""
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("update boot set uuid = ? || '-' || id", (name,))
        connection.execute("update rollup_hour set made_at_ns = made_at_ns + 1")


def test_a_new_warehouse_keeps_or_forgets_the_history(
    postgres: Server, fleet: str, db: Path, url: str
) -> None:
    pushed(db, url)
    once = add_up(postgres, fleet)
    with pytest.raises(UsageError, match="the fleet has this very warehouse"):
        pushed(db, url, history="keep")
    assert add_up(postgres, fleet) == once
    make_another(db, "new")
    assert pushed(db, url, history="keep").hours > 0
    assert add_up(postgres, fleet) == 2 * once
    assert_equal(postgres, fleet, db)
    hosts = {host.machine_id: host.name for host in listed(FleetUrl(url)) if host.id}
    name = hosts["m" * 32]
    assert hosts == {"m" * 32: name, "m" * 32 + "#1": f"{name}#1"}
    make_another(db, "newer")
    pushed(db, url, history="forget")
    assert add_up(postgres, fleet) == 2 * once
    assert_equal(postgres, fleet, db)


@pytest.mark.parametrize("corrected", [False, True])
def test_a_warehouse_that_was_kept_is_not_pushed_a_second_time(
    postgres: Server, fleet: str, db: Path, url: str, tmp_path: Path, *, corrected: bool
) -> None:
    other = Path(shutil.copy(db, tmp_path / "other.db"))
    make_another(other, "other")
    pushed(db, url)
    once = add_up(postgres, fleet)
    pushed(other, url, history="keep")
    if corrected:  # each hour has another version since
        with closing(sqlite3.connect(db)) as connection, connection:
            connection.execute("update rollup_hour set made_at_ns = made_at_ns + 2")
    kept = r"this warehouse already, kept as \S+#1, .* run: elsa fleet remove 1$"
    histories: tuple[History, ...] = ("keep", "forget")
    for history in histories:
        with pytest.raises(ConfigError, match=kept):
            pushed(db, url, history=history)
    remove(FleetUrl(url), "m" * 32)
    with pytest.raises(ConfigError, match=kept):
        pushed(db, url)
    assert add_up(postgres, fleet) == once
    remove(FleetUrl(url), "1")
    pushed(db, url)
    assert_equal(postgres, fleet, db)


def test_an_old_copy_of_a_warehouse_is_not_kept_beside_it(
    postgres: Server, fleet: str, db: Path, url: str, tmp_path: Path
) -> None:
    backup = Path(shutil.copy(db, tmp_path / "backup.db"))
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("insert into boot (id, host_id, uuid) values (77, 1, 'later')")
    pushed(db, url)
    with pytest.raises(UsageError, match=r"a later state of it, .*from a backup"):
        pushed(backup, url, history="keep")
    assert_equal(postgres, fleet, db)
    pushed(backup, url, history="forget")
    assert_equal(postgres, fleet, backup)


def test_a_name_that_a_user_gets_later_is_pushed(
    postgres: Server, fleet: str, db: Path, url: str
) -> None:
    accounts = "select kind, id, name from elsa.account order by 1, 2"
    push(db, FleetUrl(url), LATER_NS, names=lambda *_: None)
    with postgres.connect(fleet) as connection:
        assert connection.execute(accounts).fetchall() == []
        assert pushed(db, url).others > 0
        names = connection.execute(accounts).fetchall()
        assert pushed(db, url).others == 0
    with closing(sqlite3.connect(db)) as connection:
        assert (
            names
            == connection.execute(
                "select 'group', gid, 'group' || gid from rollup_user where gid is not null union"
                " select 'user', uid, 'user' || uid from rollup_user where uid is not null union"
                " select 'user', owner_uid, 'user' || owner_uid from job order by 1, 2"
            ).fetchall()
        )


def test_hosts_are_kept_apart_and_removed_alone(
    postgres: Server, fleet: str, db: Path, url: str, tmp_path: Path
) -> None:
    other = Path(shutil.copy(db, tmp_path / "other.db"))
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("update host set machine_id = 'other', name = 'other'")
        connection.execute("update boot set uuid = 'other-' || id")
    pushed(db, url)
    pushed(other, url)
    assert_equal(postgres, fleet, db)
    assert_equal(postgres, fleet, other)
    host, role_too = remove(FleetUrl(url), "other")
    assert (host.id, role_too) == (2, False)
    assert_equal(postgres, fleet, db)
    assert add_up(postgres, fleet) == host_total(db)


def test_two_pushes_at_once_send_every_hour_once(
    postgres: Server, fleet: str, db: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_HOURS", 10)
    done: list[Pushed] = []
    threads = [threading.Thread(target=lambda: done.append(pushed(db, url))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(sqlite3.connect(db)) as connection:
        (hours,) = connection.execute("select count(*) from rollup_hour").fetchone()
    assert sum(one.hours for one in done) == hours
    assert len(done) == 2
    assert_equal(postgres, fleet, db)


def test_what_was_imported_of_other_hosts_is_not_sent(
    postgres: Server, fleet: str, db: Path, url: str, tmp_path: Path
) -> None:
    alone = Path(shutil.copy(db, tmp_path / "alone.db"))
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("insert into host values (2, null, 'imported')")
        connection.execute("insert into boot (id, host_id) values (50, 2)")
        connection.execute(
            "insert into job (id, boot_id, name, owner_uid, created_at_ns, closes_itself)"
            " values (9001, 50, 'theirs', 0, 1, 0)"
        )
        connection.execute("insert into job_tag values (9001, 'whose', 'theirs')")
        connection.execute("insert into gap (id, boot_id, kind) values (901, 50, 'down')")
        hour = FIRST_HOUR + 5
        for table, columns, values in (
            ("rollup_user", "in_job, host_id", "0, 2"),
            ("rollup_command", "host_id", "2"),
            ("rollup_job", "job_id", "9001"),
        ):
            connection.execute(
                f"insert into {table} (hour, pruned, processes, {columns})"
                f" values ({hour}, 0, 1, {values})"
            )
        connection.execute(
            "insert into rollup_audit (hour, boot_id, class, processes)"
            f" values ({hour}, 50, 'own', 1)"
        )
        # Of no boot that is known: of which host it is cannot be said.
        connection.execute("delete from rollup_audit where boot_id is null")
    with closing(sqlite3.connect(alone)) as connection, connection:
        connection.execute("delete from rollup_audit where boot_id is null")
    pushed(db, url)
    assert_equal(postgres, fleet, alone)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("delete from host", "nothing to push"),
        ("update host set machine_id = null", "no machine id"),
        ("insert into host values (2, 'x', 'second')", r"2 hosts .*; only that of one host"),
    ],
)
def test_a_warehouse_that_cannot_be_pushed_is_refused(
    db: Path, url: str, change: str, words: str
) -> None:
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute(change)
    with pytest.raises(ConfigError, match=words):
        pushed(db, url)


def test_the_command_pushes_and_shows_no_password(
    postgres: Server, fleet: str, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = FleetUrl(postgres.url(fleet))
    login = add(owner, f"host_{fleet}", password=True)
    assert login.passfile is not None
    password = login.passfile.rsplit(":", 1)[1]
    good = postgres.tcp_url(fleet, f"host_{fleet}", password)
    monkeypatch.setenv("ELSA_DB", str(db))
    monkeypatch.setenv("ELSA_CONFIG", "/dev/null")

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(group, [*arguments], catch_exceptions=False)
        assert done.exit_code == 0
        assert password not in done.output
        return done.output

    assert "nowhere to push to" in run("push")
    monkeypatch.setenv("ELSA_PUSH_TO", good)
    assert "would be sent" in run("push", "--dry-run")
    assert f"postgresql://host_{fleet}@127.0.0.1:{postgres.port}/{fleet}: " in run("push")
    assert "nothing was sent" in run("push")
    assert f"host_{fleet}@127.0.0.1" in run("config")
    assert password not in run("config", "--format", "json")
    shown = run("fleet", "list", "--db", owner.url)
    assert " silent " in shown
    for wrong in (good.replace(password, f"{password}x"), good.replace(fleet, "nowhere")):
        with pytest.raises((PrivilegeError, ConfigError)) as raised:
            pushed(db, wrong)
        assert password not in str(raised.value)
    with pytest.raises(RetryError) as refused:
        pushed(db, good.replace(str(postgres.port), "1"))
    assert password not in str(refused.value)
    assert "deleted; role" in run("fleet", "remove", f"host_{fleet}", "--db", owner.url)
