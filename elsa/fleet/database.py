"""Connections to a fleet database, and what its driver raises as ELSA errors of one line. No
message has a password in it.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

from elsa.errors import ConfigError, ElsaError, PrivilegeError, RetryError, UnavailableError
from elsa.fleet_url import FleetUrl
from elsa.store import sql_files

if TYPE_CHECKING:
    from psycopg import Connection, Error

OLDEST = 150_000
"""The oldest server that is supported, as PostgreSQL numbers its versions: 15."""
CONNECT_S = 10
_WRITING = {
    # How long a statement may take, and wait for a lock, before the server ends it.
    **{"statement_timeout": "600s", "lock_timeout": "60s"},
    # The server too notices within a minute that a connection was cut without a word: until then
    # it keeps the row of the host locked.
    **{"tcp_keepalives_idle": "20", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "4"},
    **{"tcp_user_timeout": "60s"},
}
READING = {
    **_WRITING,
    # Only changes of the tables take a lock, and hosts that are up to no good.
    "lock_timeout": "10s",
    # The sums of 1,000 hosts with ten users need 25 MB; in 4 MB, PostgreSQL's usual, it would first
    # sort all rows on disk. Programs compiled for a statement (jit) take longer than they save, and
    # so do parallel processes where these give each other as many rows of sums as there are users.
    **{"work_mem": "64MB", "jit": "off", "parallel_tuple_cost": "1"},
}
"""Settings of a connection for reports. The URL's own options replace all of them."""

# SQLSTATE prefixes, the ELSA error for them, and what the user can do.
_MEANINGS: tuple[tuple[tuple[str, ...], type[ElsaError], str], ...] = (
    (("28",), PrivilegeError, "the server refuses this role; see its pg_hba.conf and the password"),
    (("42501",), PrivilegeError, "this role may not do that; see docs/fleet.md for the roles"),
    (
        ("3D000",),
        ConfigError,
        "there is no such database on the server; create it with: createdb --template template0"
        " --encoding UTF8 NAME",
    ),
    (
        ("57014", "55P03", "40", "08", "57P", "53", "25006", "25P03", "58"),
        RetryError,
        "the server is busy, stops, is full or is read-only; try again later",
    ),
    (
        ("23514",),
        ConfigError,
        "a time or figure of this host cannot be true (was its clock far wrong?), so this batch was"
        " not taken",
    ),
    (("3F000", "42P01"), ConfigError, "not a fleet database yet; run: elsa db upgrade --db URL"),
)
# Before a connection exists, the driver has no SQLSTATE but only its own or the server's words.
_BEFORE: tuple[tuple[str, type[ElsaError], str], ...] = (
    (
        "no password supplied",
        PrivilegeError,
        "the server wants a password; put it into the file that passfile= of the URL or PGPASSFILE"
        " names, or ~/.pgpass, with mode 0600",
    ),
    (r"authentication|pg_hba\.conf|role .* does not exist", *_MEANINGS[0][1:]),
    (
        r"invalid .*(value|number)|file .*does not exist|certificate"
        r"|(SSL|GSSAPI|encryption).* (support|compiled|required)",
        ConfigError,
        "the URL, or a setting of libpq, is wrong",
    ),
    (r"database .* does not exist", *_MEANINGS[2][1:]),
)
_WORDS = re.compile(r"\s+")
# How often it is looked at whether somebody still waits, and how long a request to cancel may take.
_LOOK_S = 0.1
_CANCEL_S = 2.0


class Limit(NamedTuple):
    """How long somebody waits for an answer."""

    seconds: float
    given_up: Callable[[], bool]
    """Whether nobody waits any more."""


def driver() -> Any:  # noqa: ANN401 (the module)
    """The driver, psycopg. Raises UnavailableError where it is not installed."""
    try:
        import psycopg
    except ImportError as error:
        raise UnavailableError(
            "a fleet database needs psycopg and libpq; install them with: pip install"
            " 'elsa-accounting[fleet]', or beside the package of ELSA libpq5 (Debian) or libpq (Red"
            f" Hat) ({' '.join(str(error).split())})"
        ) from None
    return psycopg


def connect(
    url: FleetUrl,
    *,
    check_head: bool = True,
    settings: Mapping[str, str] = _WRITING,
    limit_s: float | None = None,
) -> Connection[tuple[Any, ...]]:
    """A connection in autocommit mode, to a server that is new enough and a database at the head
    revision. With `limit_s` no statement takes longer, whatever the URL says.

    Raises RetryError (no answer), PrivilegeError, ConfigError, UnavailableError.
    """
    psycopg = driver()
    given = _parameters(url)
    defaults = {
        "connect_timeout": CONNECT_S if limit_s is None else min(CONNECT_S, math.ceil(limit_s)),
        "application_name": "elsa",
        # A connection that is cut without a word is noticed within a minute.
        "keepalives_idle": 20,
        "keepalives_interval": 10,
        "keepalives_count": 4,
        "tcp_user_timeout": 60_000,
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }
    try:
        connection: Connection[tuple[Any, ...]] = psycopg.connect(
            url.url,
            autocommit=True,
            **{key: value for key, value in defaults.items() if key not in given},
        )
    except psycopg.errors.ConnectionTimeout:
        raise _silent(url) from None
    except psycopg.Error as error:
        raise _translate(error, url, connecting=True) from None
    try:
        with translated(url):
            # Names in our statements are ours, whatever path the role has.
            connection.execute("set search_path = pg_catalog, elsa, pg_temp")
            if limit_s is not None:
                connection.execute(f"set statement_timeout = {math.ceil(limit_s * 1000)}")
            _require_server(connection, url)
            if check_head:
                require_head(connection, url)
    except BaseException:
        connection.close()
        raise
    return connection


class SilentError(RetryError):
    """The server answers nothing at all, not even that it is busy."""


class _GivenUpError(Exception):
    """Nobody waits any more for what a thread does."""


@contextmanager
def reading(url: FleetUrl, limit: Limit | None = None) -> Iterator[Connection[tuple[Any, ...]]]:
    """A connection for reports, whose errors in the block are translated, and which ends with the
    block once nobody waits for it. Raises as `connect`.
    """
    limit_s = None if limit is None else limit.seconds
    with closing(connect(url, settings=READING, limit_s=limit_s)) as connection:
        ends = nullcontext() if limit is None else ending(connection, url, limit.given_up)
        with translated(url), ends:
            yield connection


@contextmanager
def ending(
    connection: Connection[tuple[Any, ...]], url: FleetUrl, given_up: Callable[[], bool]
) -> Iterator[None]:
    """End the statement that runs, the connection, and what Python does in the block, once nobody
    waits for it any more. Raises SilentError if the server did not even take that it is cancelled.
    """
    done = threading.Event()
    thread = threading.get_ident()
    interrupt = ctypes.pythonapi.PyThreadState_SetAsyncExc
    silent = False
    # A descriptor of its own, since the connection may be closed meanwhile.
    with socket.socket(fileno=os.dup(connection.fileno())) as line:

        def watch() -> None:
            nonlocal silent
            while not done.wait(_LOOK_S):
                if given_up():
                    silent = not _cancelled(connection)
                    with suppress(OSError):
                        line.shutdown(socket.SHUT_RDWR)
                    if not done.wait(_LOOK_S):
                        # It does not wait for the server: many rows are added up in Python, where
                        # no database looks at the time. It holds no lock that others need.
                        interrupt(ctypes.c_ulong(thread), ctypes.py_object(_GivenUpError))
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            try:
                yield
            finally:
                done.set()
                watcher.join()
                # What the thread does next is not to be interrupted.
                interrupt(ctypes.c_ulong(thread), None)
        except Exception as error:
            if silent:
                raise _silent(url) from error
            raise


def _cancelled(connection: Connection[tuple[Any, ...]]) -> bool:
    """Whether the server took the request to cancel what it does. An older libpq waits for that
    as long as TCP does, so a thread of its own waits.
    """
    taken = False

    def cancel() -> None:
        nonlocal taken
        with suppress(driver().Error):
            connection.cancel_safe(timeout=_CANCEL_S)
            taken = True

    canceller = threading.Thread(target=cancel, daemon=True)
    canceller.start()
    canceller.join(_CANCEL_S)
    return taken


def _silent(url: FleetUrl) -> SilentError:
    return SilentError(f"{url}: the server does not answer; try again later")


def without_secrets(url: FleetUrl) -> str:
    """The URL with its options, for a command that somebody else may run: without the password, and
    what else libpq would not show.
    """
    _parameters(url)
    options = driver().pq.Conninfo.parse(url.url.encode())
    given = {
        option.keyword.decode(): option.val.decode()
        for option in options
        if option.val is not None and option.dispchar != b"*"
    }
    user, server, name = (given.pop(key, "") for key in ("user", "host", "dbname"))
    if re.fullmatch(r"[A-Za-z0-9._-]+", server):
        server += "".join(f":{port}" for port in [given.pop("port", "")] if port)
    elif server:
        given = {"host": server, **given}
        server = ""
    login = f"{quote(user, safe='')}@" if user else ""
    query = f"?{urlencode(given, quote_via=quote)}" if given else ""
    return f"postgresql://{login}{server}/{quote(name, safe='')}{query}"


@contextmanager
def translated(url: FleetUrl) -> Iterator[None]:
    """Translate what the driver raises in the block into ELSA errors."""
    psycopg = driver()
    try:
        yield
    except psycopg.Error as error:
        raise _translate(error, url) from None


def revision(connection: Connection[tuple[Any, ...]]) -> str | None:
    """The revision of a fleet database; None if it has none yet. Any role may see it."""
    row = connection.execute("select to_regclass('elsa.alembic_version')").fetchone()
    if row is None or row[0] is None:
        return None
    row = connection.execute("select version_num from elsa.alembic_version").fetchone()
    return None if row is None else str(row[0])


def head() -> str:
    """The newest revision that this version of ELSA knows."""
    versions = sql_files.folder("migrations") / "fleet" / "versions"
    return max(path.name for path in versions.glob("[0-9][0-9][0-9][0-9]_*.py"))[:4]


def require_head(connection: Connection[tuple[Any, ...]], url: FleetUrl) -> None:
    """Raise ConfigError unless the database is at the revision that this version knows."""
    have, need = revision(connection), head()
    if have == need:
        return
    if have is None:
        raise ConfigError(f"{url}: not a fleet database yet; run: elsa db upgrade --db {url}")
    if have > need:
        raise ConfigError(
            f"{url}: this fleet database is at revision {have}, made by a newer ELSA (this one"
            f" knows {need}); upgrade ELSA"
        )
    raise ConfigError(
        f"{url}: the fleet database is at revision {have} and {need} is needed; run: elsa db"
        f" upgrade --db {url}"
    )


def _parameters(url: FleetUrl) -> dict[str, Any]:
    """What the URL says, by libpq's names. The driver's own message would quote the URL."""
    psycopg = driver()
    try:
        given: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(url.url)
    except psycopg.Error as error:
        unknown = re.search(r'invalid URI query parameter: "(\w+)"', str(error))
        if unknown and "@" not in url.url.partition("?")[2]:
            raise ConfigError(f"{url}: libpq knows no option {unknown[1]}") from None
        given = {"host": "@"}
    port = str(given.get("port", "")).replace(",", "")
    # A password that is not encoded may look like a host, and after a slash too many like a name.
    place = url.url.partition("?")[0].partition("://")[2]
    split = "@" in str(given.get("host", "")) or place.count("@") > 1
    split = split or "@" in place.partition("/")[2]
    if split or not (port.isdigit() or not port):
        raise ConfigError(
            f"{url}: not a URL that PostgreSQL reads, such as postgresql://elsa@db.example.org/elsa;"
            " write special characters of a password as %XX, such as %40 for @, or keep it in"
            " ~/.pgpass"
        )
    return given


def _require_server(connection: Connection[tuple[Any, ...]], url: FleetUrl) -> None:
    if connection.info.server_version < OLDEST:
        version = connection.info.parameter_status("server_version")
        raise ConfigError(f"{url}: PostgreSQL {version} is too old; 15 or newer is needed")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise ConfigError(
            f"{url}: the database has the encoding {encoding}; create one with UTF8: createdb"
            " --template template0 --encoding UTF8 NAME"
        )


def _translate(error: Error, url: FleetUrl, *, connecting: bool = False) -> ElsaError:
    """The ELSA error for an error of the driver."""
    message = _WORDS.sub(" ", str(error).split("\nDETAIL:")[0]).strip()
    state = error.sqlstate or ""
    for states, kind, meaning in _MEANINGS:
        if state.startswith(states):
            return kind(f"{url}: {meaning} ({message})")
    for pattern, kind, meaning in _BEFORE if connecting else ():
        if re.search(pattern, message):
            return kind(f"{url}: {meaning} ({message})")
    if connecting or isinstance(error, driver().OperationalError):
        return RetryError(f"{url}: the server cannot be reached; try again later ({message})")
    return ElsaError(f"{url}: {message}")
