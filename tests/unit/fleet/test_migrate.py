"""Creating fleet databases, and the URLs that name them."""

from __future__ import annotations

import re
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from elsa import config
from elsa.cli.main import group
from elsa.errors import ConfigError, ElsaError, PrivilegeError, RetryError, UsageError
from elsa.fleet import database, schema
from elsa.fleet.migrate import upgrade
from elsa.fleet_url import FleetUrl, refused
from elsa.store import schema as warehouse
from tests.support.postgres import Server


def test_an_upgrade_creates_every_table_with_row_level_security(postgres: Server) -> None:
    name = postgres.database()
    url = FleetUrl(postgres.url(name))
    assert upgrade(url) == (None, database.head(), True)
    assert upgrade(url) == (database.head(), database.head(), False)
    with postgres.connect(name) as connection:
        rows = connection.execute(
            "select relname, relrowsecurity from pg_class where relkind = 'r'"
            " and relnamespace = 'elsa'::regnamespace"
        ).fetchall()
    secured = dict(rows)
    assert secured.keys() - {"alembic_version"} == {
        table.name for table in schema.metadata.tables.values()
    }
    assert {name for name, on in secured.items() if on} == set(schema.OF_HOST)


def test_the_fleet_has_every_column_of_the_sums_of_a_warehouse() -> None:
    for name in ("rollup_user", "rollup_command", "rollup_job", "rollup_audit", "rollup_day_job"):
        here = set(schema.metadata.tables[f"elsa.{name}"].columns.keys())
        there = set(warehouse.metadata.tables[name].columns.keys()) - {"pruned"}
        assert there - here <= {"comm_id"}
        assert here - there <= {"command", "host_id"}


def test_upgrade_works_on_a_url_and_other_commands_refuse_it(postgres: Server) -> None:
    url = postgres.url(postgres.database())
    done = CliRunner().invoke(group, ["db", "upgrade", "--db", url])
    assert done.exit_code == 0, done.output
    assert "created at revision 0001" in done.output
    with pytest.raises(
        UsageError, match=r"--db: postgresql://.* is a fleet database; this command"
    ):
        CliRunner().invoke(
            group, ["db", "check", "--db", url], standalone_mode=False, catch_exceptions=False
        )
    with pytest.raises(UsageError, match=r"ELSA_DB: .*fleet database"):
        config.load({}, {"ELSA_DB": url})
    assert config.fleet({}, {"ELSA_DB": url}) == FleetUrl(url)
    assert config.fleet({"db": Path("/x")}, {"ELSA_DB": url}) is None


def test_a_schema_of_another_program_is_refused(postgres: Server) -> None:
    name = postgres.database()
    with postgres.connect(name) as connection:
        connection.execute("create schema elsa")
        connection.execute("create table elsa.frozen (let int, it int, go int)")
    with pytest.raises(ConfigError, match="tables of another program"):
        upgrade(FleetUrl(postgres.url(name)))


def test_a_database_without_tables_or_of_another_revision_is_refused(
    postgres: Server, fleet: str
) -> None:
    with pytest.raises(ConfigError, match="not a fleet database yet; run: elsa db upgrade"):
        database.connect(FleetUrl(postgres.url(postgres.database())))
    with postgres.connect(fleet) as connection:
        connection.execute("update elsa.alembic_version set version_num = '9999'")
    with pytest.raises(ConfigError, match="made by a newer ELSA"):
        database.connect(FleetUrl(postgres.url(fleet)))
    with pytest.raises(ConfigError, match="made by a newer ELSA"):
        upgrade(FleetUrl(postgres.url(fleet)))


def test_a_server_that_is_missing_or_refuses_gives_one_line(postgres: Server) -> None:
    with pytest.raises(RetryError, match="the server cannot be reached; try again later"):
        database.connect(FleetUrl("postgresql://a:hush@127.0.0.1:1/x"))
    with pytest.raises(ConfigError, match="no such database"):
        database.connect(FleetUrl(postgres.url("nowhere")))
    with pytest.raises(PrivilegeError, match="the server refuses this role"):
        database.connect(FleetUrl(postgres.url(user="nobody_there")))


def test_what_trying_again_does_not_mend_is_no_matter_of_time(
    postgres: Server, fleet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")
    url = postgres.tcp_url(fleet, "postgres", "hush")
    refused = {
        url.replace(":hush", ""): (PrivilegeError, "the server wants a password"),
        f"{url}?sslmode=require": (ConfigError, "SSL"),
        "postgresql://a@127.0.0.1:99999/x": (ConfigError, "port number"),
        f"{url}?gssencmode=require": (ConfigError, "GSSAPI"),
        f"{url}?nonsense=1": (ConfigError, "libpq knows no option nonsense"),
    }
    for wrong, (kind, said) in refused.items():
        with pytest.raises(kind, match=said):
            database.connect(FleetUrl(wrong))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hush@h:5/d?sslmode=require", "postgresql://u@h:5/d"),
        ("postgres://h/d?password=hush", "postgres://h/d"),
        ("postgresql://u:hu@sh@h/d", "postgresql://u@h/d"),
        ("postgresql://u:hu/sh@h/d", "postgresql://u@h/d"),
        ("postgresql://u:hu?sh@h/d", "postgresql://u@..."),
        ("postgresql://h/d?password=hush&user=a@b", "postgresql://h@..."),
        ("postgresql://u@h/d?password=us@hush", "postgresql://u@..."),
        ("postgresql://u@/d?host=/run/pg", "postgresql://u@/d"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert str(FleetUrl(url)) == shown
    assert "hush" not in repr(FleetUrl(url))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hu%sh@h.invalid/d",
        "postgresql://u:hu@sh@h.invalid/d",
        "postgresql://u:hu/sh@h.invalid/d",
        "postgresql://u:hu?sh@h.invalid/d",
        "postgresql://u:hu@sh/sh@h.invalid/d",
        "postgresql://u:hu?sh=sh@h.invalid/d",
    ],
)
def test_a_password_that_is_not_encoded_is_not_printed(url: str) -> None:
    with pytest.raises(ElsaError) as raised:
        database.connect(FleetUrl(url))
    assert not re.search(r"hu|\bsh", str(raised.value))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hush@h:5/d?sslmode=require", "postgresql://u@h:5/d?sslmode=require"),
        ("postgres://h/d?password=hush&passfile=/e/p", "postgresql://h/d?passfile=%2Fe%2Fp"),
        ("postgresql://u@h/d?password=us@hush", "postgresql://u@h/d"),
        ("postgresql://u:hu?sh@h/d?sslpassword=hush", "postgresql://u@h/d"),
        ("postgresql://a%40b@/d?host=/run/pg&port=7", "postgresql://a%40b@/d?host=%2Frun%2Fpg&port=7"),
        ("postgresql://u@h,i:7/d", "postgresql://u@/d?host=h%2Ci&port=%2C7"),
        ("postgresql://u@[::1]:7/d", "postgresql://u@/d?host=%3A%3A1&port=7"),
    ],
)  # fmt: skip
def test_a_url_for_others_has_its_options_and_no_secret(url: str, shown: str) -> None:
    parse = database.driver().conninfo.conninfo_to_dict
    assert database.without_secrets(FleetUrl(url)) == shown
    secrets = ("password", "sslpassword")
    kept = {name: value for name, value in parse(url).items() if name not in secrets}
    assert parse(shown) == kept


def test_nothing_runs_on_the_server_once_nobody_waits(postgres: Server, fleet: str) -> None:
    left = threading.Event()
    url = FleetUrl(postgres.url(fleet))
    with closing(database.connect(url)) as connection, closing(database.connect(url)) as other:
        threading.Timer(0.3, left.set).start()
        with (
            pytest.raises(RetryError),
            database.translated(url),
            database.ending(connection, url, left.is_set),
        ):
            connection.execute("select pg_sleep(60)")
        running = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'"
        until = (
            time.monotonic() + 10
        )  # the signal to cancel may come after the end of the connection
        while other.execute(running + " and state = 'active'").fetchone() != (0,):
            assert time.monotonic() < until
            time.sleep(0.01)
        with pytest.raises(RetryError), database.translated(url):
            connection.execute("select 1")


def test_what_python_adds_up_ends_too_once_nobody_waits(postgres: Server, fleet: str) -> None:
    url = FleetUrl(postgres.url(fleet))
    began = time.monotonic()
    with closing(database.connect(url)) as connection:
        with (
            pytest.raises(database._GivenUpError),
            database.ending(connection, url, lambda: time.monotonic() > began + 0.3),
        ):
            while time.monotonic() < began + 20:
                pass
    assert time.monotonic() < began + 5


def test_a_server_that_does_not_even_cancel_is_silent(
    postgres: Server, fleet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_CANCEL_S", 0.3)
    url = FleetUrl(postgres.url(fleet))
    with (
        closing(database.connect(url)) as connection,
        postgres.stopped(),
        pytest.raises(database.SilentError, match="the server does not answer"),
        database.translated(url),
        database.ending(connection, url, lambda: True),
    ):
        connection.execute("select pg_sleep(60)")


def test_a_limit_holds_for_each_statement_whatever_the_url_says(
    postgres: Server, fleet: str
) -> None:
    url = FleetUrl(postgres.url(fleet) + "&options=-c%20statement_timeout%3D0")
    with closing(database.connect(url, limit_s=0.2)) as connection:
        with pytest.raises(RetryError, match="statement timeout"), database.translated(url):
            connection.execute("select pg_sleep(60)")


@pytest.mark.parametrize(
    "begin",
    [
        *("postgresql+psycopg://", "mysql://", "sqlite://", "HTTP://"),
        *("postgresql:/", "postgresql:", "Postgres//", "postgresql+psycopg:/", "postgresql;//"),
    ],
)
def test_a_url_of_another_scheme_makes_no_file(
    begin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"{begin}admin:hush@h/d"
    runner = CliRunner()
    by_flag = runner.invoke(group, ["db", "upgrade", "--db", url])
    by_variable = runner.invoke(group, ["db", "upgrade"], env={"ELSA_DB": url})
    assert (by_flag.exit_code, type(by_variable.exception)) == (2, ConfigError)
    for text in (by_flag.output, str(by_variable.exception)):
        assert f"{begin.lower()} begins no URL that is known here" in text
        assert "hush" not in text
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("admin:hush@h/d", "this has a password, and is no path"),
        ("host=h user=admin password = hush", "this has a password, and is no path"),
        (" postgresql://admin:hush@h/d", "begins no URL that is known here"),
        ("postgresql:///admin:hush@h/d", "not a URL that PostgreSQL reads"),
    ],
)
def test_no_message_has_the_password_of_what_is_no_url(place: str, words: str) -> None:
    done = CliRunner().invoke(group, ["report", "users", "--db", place])
    said = f"{done.output} {done.exception}"
    assert words in said
    assert "hush" not in said


@pytest.mark.parametrize("path", ["postgres/elsa.db", "/srv/a:b@c.db", "elsa@home.db"])
def test_a_path_is_no_url(path: str) -> None:
    assert refused(path) is None
