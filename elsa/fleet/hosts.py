"""The hosts of a fleet database, and the roles that push them."""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import quote

from elsa.errors import UsageError
from elsa.fleet import database, tables
from elsa.fleet.lacking import LATE_HOURS
from elsa.fleet.migrate import HOST_ROLE
from elsa.fleet_url import FleetUrl

_LONGEST = 63


class Login(NamedTuple):
    """How a new host gets into the fleet."""

    push_to: str
    """What to set push_to to."""
    passfile: str | None
    """The line for its password file; None if it has no password."""


class FleetHost(NamedTuple):
    """A host, or a role that has pushed nothing yet."""

    id: int | None
    name: str | None
    role: str
    machine_id: str | None = None
    version: str | None = None
    pushed_at_ns: int | None = None
    since_hour: int | None = None
    until_hour: int | None = None
    gaps: int = 0
    silent_since_ns: int | None = None
    """Since when its jobd was silent, as of its last push; None: it was not."""
    unread_since_ns: int | None = None
    """Since when no accounting record was read although jobd ran."""
    state: str = "never"
    """never: it has not come to the end of a push; late; silent or unread: its jobd was silent, or
    its accounting was not read; or current.
    """


def add(url: FleetUrl, name: str, *, password: bool) -> Login:
    """Create the login role of a host. Raises UsageError if there is such a role."""
    if not (1 <= len(name.encode()) <= _LONGEST and name.isprintable()):
        raise UsageError(f"the name of a role has 1 to {_LONGEST} printable characters")
    if name.startswith("pg_"):
        raise UsageError("names of roles that begin with pg_ are PostgreSQL's own; take another")
    psycopg = database.driver()
    sql = psycopg.sql
    with database.translated(url), closing(database.connect(url)) as fleet:
        if fleet.execute("select 1 from pg_roles where rolname = %s", [name]).fetchone():
            raise UsageError(f"the server has a role {name} already; take another name")
        role, secret = sql.Identifier(name), None
        with fleet.transaction():
            if password:
                secret = secrets.token_urlsafe(24)
                # The server gets, and logs, the hash alone.
                hashed = fleet.pgconn.encrypt_password(
                    secret.encode(), name.encode(), b"scram-sha-256"
                ).decode()
                create = sql.SQL("create role {} login password {}")
                fleet.execute(create.format(role, sql.Literal(hashed)))
            else:
                fleet.execute(sql.SQL("create role {} login").format(role))
            fleet.execute(sql.SQL("grant {} to {}").format(sql.Identifier(HOST_ROLE), role))
        info = fleet.info
        place = (info.host, str(info.port), info.dbname)
    return _login(name, secret, *place)


def _login(name: str, secret: str | None, host: str, port: str, database_name: str) -> Login:
    on_socket = host.startswith("/")
    server = "" if on_socket else f"{host}:{port}"
    options = [f"host={quote(host, safe='')}", f"port={port}"] if on_socket else []
    line = None
    if secret is not None:
        options.append("passfile=/etc/elsa/pgpass")
        where = "localhost" if on_socket else host
        fields = (where, port, database_name, name, secret)
        line = ":".join(field.replace("\\", "\\\\").replace(":", "\\:") for field in fields)
    query = f"?{'&'.join(options)}" if options else ""
    user = quote(name, safe="")
    return Login(f"postgresql://{user}@{server}/{quote(database_name, safe='')}{query}", line)


def listed(url: FleetUrl) -> list[FleetHost]:
    """Every host, by name, then the roles that have pushed none."""
    connection = database.connect(url, settings=database.READING)
    with database.translated(url), closing(connection) as fleet:
        rows = fleet.execute(
            """select h.id, h.name, h.role, h.machine_id, h.version, h.pushed_at_ns, h.since_hour,
                   h.until_hour, (select count(*) from elsa.gap as g where g.host_id = h.id),
                   h.silent_since_ns, h.unread_since_ns,
                   floor(extract(epoch from clock_timestamp()) / 3600)::bigint
               from elsa.host as h order by h.name, h.id"""
        ).fetchall()
        idle = fleet.execute(
            """select r.rolname from pg_auth_members as m
               join pg_roles as r on r.oid = m.member
               join pg_roles as g on g.oid = m.roleid and g.rolname = %s
               where r.rolname not in (select h.role from elsa.host as h)
               order by 1""",
            [HOST_ROLE],
        ).fetchall()
    hosts = [_with_state(FleetHost(*row), now) for *row, now in rows]
    return hosts + [FleetHost(None, None, role) for (role,) in idle]


def _with_state(host: FleetHost, now: int) -> FleetHost:
    """The host with its state; `now` is an hour."""
    states = {
        "never": host.pushed_at_ns is None or host.until_hour is None,
        "late": (host.until_hour or 0) < now - LATE_HOURS,
        "silent": host.silent_since_ns is not None,
        "unread": host.unread_since_ns is not None,
    }
    return host._replace(state=next((state for state, true in states.items() if true), "current"))


def prune(url: FleetUrl, before_hour: int, *, dry_run: bool = False) -> int:
    """Delete sums by hour of users and commands of days that are before an hour, where those of
    the days are complete; return how many rows. Sums of days, jobs and the audit stay.
    """
    rows = 0
    with database.translated(url), closing(database.connect(url)) as fleet:
        ids = fleet.execute("select id from elsa.host order by id").fetchall()
        for (number,) in ids:
            # A transaction for each host, since it locks out the host's push.
            with fleet.transaction(force_rollback=dry_run):
                marked = fleet.execute(
                    "update elsa.host set pruned_hour = greatest("
                    " pruned_hour, least(%s::integer, until_hour) / 24 * 24)"
                    " where id = %s returning pruned_hour",
                    [before_hour, number],
                ).fetchone()
                for table in ("rollup_user", "rollup_command"):
                    rows += fleet.execute(
                        f"delete from elsa.{table} where host_id = %s and hour < %s",
                        [number, marked and marked[0]],
                    ).rowcount
    return rows


def remove(url: FleetUrl, host: str) -> tuple[FleetHost, bool]:
    """Delete everything of the host with this name, id, machine id or role, and its login role
    unless it pushes other hosts too. Returns the host, and whether the role was deleted.

    Raises UsageError if no host or several are meant.
    """
    meant = [
        one
        for one in listed(url)
        if host in (one.name, str(one.id), one.machine_id) or (one.role == host and not one.id)
    ] or [one for one in listed(url) if one.role == host]
    if not meant:
        raise UsageError(f"the fleet has no host {host}; see: elsa fleet list")
    if len(meant) > 1:
        ids = ", ".join(str(one.id or one.role) for one in meant)
        raise UsageError(
            f"{host} may be one of {len(meant)} hosts: name it by its id, one of {ids}"
        )
    (one,) = meant
    with database.translated(url), closing(database.connect(url)) as fleet, fleet.transaction():
        if one.id is not None:
            # A push of it that is under way ends first.
            fleet.execute("select 1 from elsa.host where id = %s for update", [one.id])
            tables.forget(fleet, one.id)
        return one, _drop_role(fleet, one.role)


def _drop_role(fleet: Any, role: str) -> bool:  # noqa: ANN401 (a connection)
    """Delete a role that was made for a host and is no other host's."""
    (mine,) = fleet.execute(
        """select r.rolcanlogin and not r.rolsuper and r.rolname <> current_user
               and pg_has_role(r.oid, %s, 'member')
               and not exists (select 1 from elsa.host as h where h.role = r.rolname)
           from pg_roles as r where r.rolname = %s
           union all select false limit 1""",
        [HOST_ROLE, role],
    ).fetchone()
    if mine:
        identifier = database.driver().sql.Identifier(role)
        fleet.execute(database.driver().sql.SQL("drop role {}").format(identifier))
    return bool(mine)
