"""What the role of a host may do: write and read its own rows, whatever it tries. Readers read."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from elsa.cli.report import report
from elsa.errors import ConfigError, ElsaError, PrivilegeError, RetryError, UsageError
from elsa.fleet import database, hosts, schema
from elsa.fleet.hosts import add, listed, remove
from elsa.fleet_url import FleetUrl
from tests.support.fleets import assert_equal, pushed
from tests.support.postgres import Server

TABLES = [name for name in schema.OF_HOST if name != "host"]


@pytest.fixture
def roles(postgres: Server, fleet: str, url: str, db: Path, tmp_path: Path) -> tuple[str, str]:
    """The roles of two hosts, of which the first is honest; both have pushed."""
    honest, hostile = f"honest_{fleet}", f"hostile_{fleet}"
    for role in (honest, hostile):
        add(FleetUrl(url), role, password=False)
    pushed(db, postgres.url(fleet, honest))
    other = Path(shutil.copy(db, tmp_path / "other.db"))
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("update host set machine_id = 'hostile'")
        connection.execute("update boot set uuid = 'hostile-' || id")
    pushed(other, postgres.url(fleet, hostile))
    return honest, hostile


def test_a_host_that_was_broken_into_neither_sees_nor_changes_others(
    postgres: Server, fleet: str, db: Path, roles: tuple[str, str]
) -> None:
    honest, hostile = roles
    refused = [
        "insert into elsa.host (machine_id, name, version, role)"
        f" values ('x', 'x', '1', '{honest}')",
        "insert into elsa.host (id, machine_id, name, version)"
        " overriding system value values (1, 'x', 'x', '1')",
        f"update elsa.host set role = '{honest}'",
        "update elsa.host set id = 1",
        "insert into elsa.host (machine_id, name, version) values ('" + "m" * 32 + "', 'x', '1')"
        " on conflict (machine_id) do update set name = 'mine'",
        *(f"update elsa.{name} set host_id = 1" for name in TABLES),
        *(f"truncate elsa.{name}" for name in schema.OF_HOST),
        *(f"alter table elsa.{name} disable row level security" for name in schema.OF_HOST),
        *(f"copy elsa.{name} from program 'true'" for name in schema.OF_HOST),
        *(
            f"create policy mine on elsa.{name} to {hostile} using (true)"
            for name in schema.OF_HOST
        ),
        *(f"drop table elsa.{name}" for name in schema.OF_HOST),
        "insert into elsa.hour values (1, 1, 1)",
        "insert into elsa.rollup_user (host_id, hour, in_job) values (1, 1, 0)",
        "insert into elsa.rollup_user select 1 as host_id from elsa.rollup_user limit 1",
        "insert into elsa.tariff select 1",
        "select * from elsa.tariff",
        "update elsa.alembic_version set version_num = '9999'",
        "create function elsa.mine() returns int language sql as 'select 1'",
        "create table elsa.mine (x int)",
        f"set role {honest}",
        "set role elsa_reader",
        f"grant {honest} to {hostile}",
        f"alter role {honest} password 'x'",
        "set row_security = off; select * from elsa.host",
    ]
    with postgres.connect(fleet, hostile) as connection:
        for statement in refused:
            # An update of an empty table changes nothing.
            with suppress(psycopg.Error):
                assert connection.execute(statement).rowcount == 0, statement
            connection.execute("reset all")
        for name in schema.OF_HOST:
            of_host = "id" if name == "host" else "host_id"
            seen = connection.execute(f"select distinct {of_host} from elsa.{name}").fetchall()
            assert seen in ([(2,)], []), name
            deleted = connection.execute(f"delete from elsa.{name} where {of_host} = 1")
            assert deleted.rowcount == 0
            changed = f"update elsa.{name} set {'name = name' if name == 'host' else 'host_id = 2'}"
            assert connection.execute(f"{changed} where {of_host} = 1").rowcount == 0
    assert_equal(postgres, fleet, db)


MOST = 2**63 - 1


IMPOSSIBLE = (
    "update elsa.host set until_hour = 2147483647",
    "update elsa.host set until_hour = -2147483648",
    "update elsa.host set since_hour = -1",
    f"update elsa.host set pushed_at_ns = {MOST}",
    f"update elsa.boot set started_at_ns = -{MOST}",
    f"update elsa.clock set offset_ns = {MOST}",
    f"update elsa.gap set to_ns = {MOST}",
    f"update elsa.gap set lost = {MOST}",
    f"update elsa.job set created_at_ns = {MOST}",
    f"update elsa.job set id = id + {MOST // 2}",
    f"update elsa.job_tag set job_id = job_id + {10**9}",
    "update elsa.rollup_user set hour = 2147483647",
    f"update elsa.rollup_day_user set processes = {MOST}",
    "update elsa.rollup_day_user set day = -1",
    f"update elsa.rollup_day_user set uid = {2**32}",
    f"update elsa.rollup_day_command set records = {MOST}",
    f"update elsa.rollup_job set job_id = job_id + {10**9}",
    f"update elsa.rollup_audit set minutes = {MOST}",
    *(
        f"update elsa.rollup_day_user set coremem_mb_us = '{figure}'"
        for figure in ("NaN", "Infinity", "-1e308")
    ),
)


def test_a_host_cannot_write_what_would_break_the_reports_of_all(
    postgres: Server, fleet: str, roles: tuple[str, str]
) -> None:
    with postgres.connect(fleet, roles[1]) as connection:
        for statement in IMPOSSIBLE:
            with pytest.raises(psycopg.errors.CheckViolation):
                connection.execute(statement)


def test_a_table_that_a_host_locks_lets_readers_go_with_one_line(
    postgres: Server, fleet: str, url: str, roles: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(database.READING, "lock_timeout", "1s")
    with postgres.connect(fleet, roles[1]) as connection, connection.transaction():
        connection.execute("lock table elsa.rollup_day_user, elsa.gap in access exclusive mode")
        with pytest.raises(RetryError, match=r"^postgresql://.*lock timeout"):
            listed(FleetUrl(url))
        done = CliRunner().invoke(report, ["users", "--db", url])
    assert isinstance(done.exception, RetryError)
    assert str(done.exception).startswith(f"{FleetUrl(url)}: the server is busy")


def test_sums_that_no_report_can_add_up_are_one_line(
    postgres: Server, fleet: str, url: str, roles: tuple[str, str]
) -> None:
    with postgres.connect(fleet) as connection:
        connection.execute(
            "alter table elsa.rollup_day_user drop constraint rollup_day_user_possible"
        )
    with postgres.connect(fleet, roles[1]) as connection:
        connection.execute(f"update elsa.rollup_day_user set processes = {MOST}")
    done = CliRunner().invoke(report, ["users", "--db", url])
    assert type(done.exception) is ElsaError
    assert str(done.exception).startswith(f"{FleetUrl(url)}: the rows of the hosts cannot be added")


def test_a_machine_id_of_another_role_is_refused(
    postgres: Server, fleet: str, db: Path, roles: tuple[str, str]
) -> None:
    with pytest.raises(ConfigError, match=r"has the machine id m+ from another role: .*clone"):
        pushed(db, postgres.url(fleet, roles[1]))
    for history in ("keep", "forget"):
        with pytest.raises(ConfigError, match="from another role"):
            pushed(db, postgres.url(fleet, roles[1]), history=history)
    assert_equal(postgres, fleet, db)


def test_a_reader_reads_everything_and_writes_nothing(
    postgres: Server, fleet: str, url: str, roles: tuple[str, str]
) -> None:
    reader = f"reader_{fleet}"
    with postgres.connect(fleet) as connection:
        connection.execute(f"create role {reader} login")
        connection.execute(f"grant elsa_reader to {reader}")
    with postgres.connect(fleet, reader) as connection:
        for name in schema.OF_HOST:
            if name in ("account", "job_cgroup", "gap"):
                continue
            of_host = "id" if name == "host" else "host_id"
            seen = connection.execute(f"select distinct {of_host} from elsa.{name} order by 1")
            assert seen.fetchall() == [(1,), (2,)], name
        connection.execute("select * from elsa.tariff")
        for name in schema.OF_HOST:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"delete from elsa.{name}")
    # One who is host and reader still writes only the own rows.
    with postgres.connect(fleet) as connection:
        connection.execute(f"grant elsa_reader to {roles[1]}")
    with postgres.connect(fleet, roles[1]) as connection:
        assert connection.execute("delete from elsa.hour where host_id = 1").rowcount == 0
    assert [host.role for host in listed(FleetUrl(postgres.url(fleet, reader)))][:2] == [*roles]


def test_a_host_reports_on_its_own_rows_and_lists_itself_alone(
    postgres: Server, fleet: str, url: str, roles: tuple[str, str]
) -> None:
    idle = f"idle_{fleet}"
    add(FleetUrl(url), idle, password=False)
    mine = postgres.url(fleet, roles[0])
    done = CliRunner().invoke(report, ["users", "--format", "json", "--db", mine])
    assert done.exit_code == 0
    of_owner = CliRunner().invoke(report, ["users", "--format", "json", "--db", url])
    own, both = (len(json.loads(each.stdout)["rows"]) for each in (done, of_owner))
    assert 0 < 2 * own == both
    assert [host.role for host in listed(FleetUrl(mine))] == [roles[0]]
    assert [host.role for host in listed(FleetUrl(postgres.url(fleet, idle)))] == [idle]
    assert [host.role for host in listed(FleetUrl(url))] == [*roles, idle]


def test_a_fleet_leaves_the_roles_of_another_on_the_server_alone(
    postgres: Server, fleet: str, url: str, fleet_template: str, roles: tuple[str, str]
) -> None:
    database_name = postgres.database(fleet_template)
    other = FleetUrl(postgres.url(database_name))
    assert listed(other) == []
    with pytest.raises(UsageError, match=f"the fleet has no host {roles[0]}"):
        remove(other, roles[0])
    # One that both use stays until the last has removed it.
    with postgres.connect(database_name) as connection:
        connection.execute(f"grant usage on schema elsa to {roles[0]}")
    assert [host.role for host in listed(other)] == [roles[0]]
    assert remove(other, roles[0])[1] is False
    assert remove(FleetUrl(url), roles[0])[1] is False
    assert [host.role for host in listed(FleetUrl(url))] == [roles[1], roles[0]]


def test_the_url_of_a_host_verifies_the_server_as_that_of_the_owner(
    fleet: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = {"sslmode": "verify-full", "sslrootcert": "/etc/elsa/ca b.pem"}
    own = {"sslcert": "/root/me.pem", "sslkey": "/root/me.key", "passfile": "/root/.pgpass"}
    place = ("web1", None, "db.example.org", "5432", fleet)
    server = f"postgresql://web1@db.example.org:5432/{fleet}"
    verified = f"{server}?sslmode=verify-full&sslrootcert=/etc/elsa/ca%20b.pem"
    assert hosts.login(*place, tls | own) == (verified, None)
    assert hosts.login("web1", "x", *place[2:], tls) == (
        f"{verified}&passfile=/etc/elsa/pgpass",
        f"db.example.org:5432:{fleet}:web1:x",
    )
    assert hosts.login(*place, {}) == (server, None)
    # On the socket there is no TLS.
    on_socket = add(FleetUrl(f"{url}&sslmode=verify-full"), f"tls_{fleet}", password=False)
    assert "sslmode" not in on_socket.push_to


def test_a_role_without_any_right_gets_one_line(postgres: Server, fleet: str, db: Path) -> None:
    with postgres.connect(fleet) as connection:
        connection.execute(f"create role stranger_{fleet} login")
    with pytest.raises(PrivilegeError, match=r"this role may not do that; see docs/fleet\.md"):
        pushed(db, postgres.url(fleet, f"stranger_{fleet}"))


def test_hosts_are_added_listed_and_removed(
    postgres: Server, fleet: str, url: str, roles: tuple[str, str]
) -> None:
    owner = FleetUrl(url)
    with pytest.raises(UsageError, match=r"has a role .* already"):
        add(owner, roles[0], password=True)
    with pytest.raises(UsageError, match="begin with pg_"):
        add(owner, "pg_x", password=True)
    quoted = f'odd "name":{fleet}'
    login = add(owner, quoted, password=True)
    assert login.passfile is not None
    assert f'odd "name"\\:{fleet}:' in login.passfile
    assert "odd%20%22name%22%3A" in login.push_to
    states = {host.role: host.state for host in listed(owner)}
    assert states.pop(quoted) == "never"
    assert {states[role] for role in roles} <= {"late", "current"}
    removed, role_too = remove(owner, quoted)
    assert (removed.id, role_too) == (None, True)
    with pytest.raises(UsageError, match=r"may be one of 2 hosts: name it by its id, one of 1, 2"):
        remove(owner, listed(owner)[0].name or "")
    # By the name that it has in reports.
    removed, role_too = remove(owner, f"{listed(owner)[0].name}#2")
    assert (removed.id, role_too) == (2, True)
    assert [host.id for host in listed(owner) if host.id] == [1]
    with pytest.raises(UsageError, match="the fleet has no host"):
        remove(owner, roles[1])
    with postgres.connect(fleet) as connection:
        for name in TABLES:
            query = f"select count(*) from elsa.{name} where host_id = 2"
            assert connection.execute(query).fetchone() == (0,), name
