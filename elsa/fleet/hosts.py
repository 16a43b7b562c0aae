"""The hosts of a fleet database, and the roles that push them."""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from elsa.errors import UsageError
from elsa.fleet import database, tables
from elsa.fleet.ids import HOSTS
from elsa.fleet.lacking import LATE_HOURS
from elsa.fleet.migrate import HOST_ROLE, READER_ROLE
from elsa.fleet.schema import SCHEMA
from elsa.fleet_url import FleetUrl
from elsa.formats import local_time, utc_time
from elsa.units import HOUR_NS

_LONGEST = 63
# What the URL of a host takes over from that of the owner: how it knows the server.
_OF_SERVER = (
    *("sslmode", "sslnegotiation", "sslrootcert", "sslcrl", "sslcrldir"),
    "ssl_min_protocol_version",
)
# Roles belong to the whole server, perhaps with other fleet databases. `add` grants a role the use
# of this one's schema by name, which also keeps it from being dropped elsewhere.
_ADDED = f"""select r.rolname
    from pg_namespace as n, aclexplode(n.nspacl) as a, pg_roles as r
    where n.nspname = '{SCHEMA}' and r.oid = a.grantee and r.rolcanlogin and not r.rolsuper
        and r.oid <> n.nspowner and pg_has_role(r.oid, '{HOST_ROLE}', 'member')"""


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
    known_as: str | None = None
    """Its name in reports, which no other host has."""
    state: str = "never"
    """never: it has not come to the end of a push; late; silent or unread: its jobd was silent, or
    its accounting was not read; or current.
    """


HEADINGS = ("id", "host", "role", "state", "since", "until", "pushed", "gaps", "silent since")
"""Of `cells`."""


def cells(host: FleetHost) -> tuple[object, ...]:
    """A host as a row of a list."""
    return (
        *(host.id, host.name, host.role, host.state),
        *(
            None if hour is None else local_time(utc_time(hour * HOUR_NS))
            for hour in (host.since_hour, host.until_hour)
        ),
        _time(host.pushed_at_ns),
        host.gaps,
        _time(host.silent_since_ns),
    )


def _time(at_ns: int | None) -> str | None:
    return None if at_ns is None else local_time(utc_time(at_ns))


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
            use = sql.SQL("grant usage on schema {} to {}")
            fleet.execute(use.format(sql.Identifier(SCHEMA), role))
        info = fleet.info
        place = (info.host, str(info.port), info.dbname)
        given = info.get_parameters()
    return login(name, secret, *place, given)


def login(
    name: str, secret: str | None, host: str, port: str, database_name: str, given: dict[str, str]
) -> Login:
    """What a host needs to log in at a server. `given` are the options of the owner's login."""
    on_socket = host.startswith("/")
    server = "" if on_socket else f"{host}:{port}"
    tls = {key: given[key] for key in _OF_SERVER if key in given}
    options = {"host": host, "port": port} if on_socket else tls
    line = None
    if secret is not None:
        options["passfile"] = "/etc/elsa/pgpass"
        where = "localhost" if on_socket else host
        fields = (where, port, database_name, name, secret)
        line = ":".join(field.replace("\\", "\\\\").replace(":", "\\:") for field in fields)
    query = f"?{urlencode(options, safe='/', quote_via=quote)}" if options else ""
    user = quote(name, safe="")
    return Login(f"postgresql://{user}@{server}/{quote(database_name, safe='')}{query}", line)


def listed(url: FleetUrl, limit: database.Limit | None = None) -> list[FleetHost]:
    """Every host, by name, then the roles that were added and have pushed none; for the role of a
    host, only its own.
    """
    with database.reading(url, limit) as fleet:
        rows = fleet.execute(
            f"""select h.id, h.name, h.role, h.machine_id, h.version, h.pushed_at_ns, h.since_hour,
                   h.until_hour, (select count(*) from elsa.gap as g where g.host_id = h.id),
                   h.silent_since_ns, h.unread_since_ns, n.name,
                   floor(extract(epoch from clock_timestamp()) / 3600)::bigint
               from elsa.host as h join ({HOSTS}) as n on n.id = h.id order by h.name, h.id"""
        ).fetchall()
        # A host sees of the table only its own rows, so that all other roles would look idle.
        idle = fleet.execute(
            f"""select a.rolname from ({_ADDED}) as a
                where a.rolname not in (select h.role from elsa.host as h)
                    and (a.rolname = current_user or pg_has_role('{READER_ROLE}', 'usage')
                        or not row_security_active('elsa.host'))
                order by 1"""
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
        if host in (one.name, one.known_as, str(one.id), one.machine_id)
        or (one.role == host and not one.id)
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
    """Delete a role that was added to this fleet and is no other host's. It stays if it has rights
    or owns anything elsewhere on the server.
    """
    idle = fleet.execute(
        f"""select 1 from ({_ADDED}) as a where a.rolname = %s and a.rolname <> current_user
            and not exists (select 1 from elsa.host as h where h.role = a.rolname)""",
        [role],
    ).fetchone()
    if not idle:
        return False
    sql = database.driver().sql
    try:
        with fleet.transaction():
            for statement in (f"revoke usage on schema {SCHEMA} from {{}}", "drop role {}"):
                fleet.execute(sql.SQL(statement).format(sql.Identifier(role)))
    except database.driver().errors.DependentObjectsStillExist:
        return False
    return True
