"""`elsa web`: the reports as pages for a browser."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path

import click

from elsa import config
from elsa.cli import options
from elsa.cli.main import print_stderr
from elsa.errors import RetryError, UnavailableError, UsageError
from elsa.fleet_url import FleetUrl

_PORT = 8421
_HEADER = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
# What every request has for itself; WSGI has the last two under other names.
_OF_REQUESTS = ("host", "connection", "cookie", "user-agent", "content-type", "content-length")
_HOST = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help=f"The port on 127.0.0.1; {_PORT} if none is given.",
)
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Instead: a unix socket, for a reverse proxy that logs users in. Needs --user-header.",
)
@click.option(
    "--socket-group",
    metavar="GROUP",
    help="Members of this group may open the unix socket: the proxy alone, and the user that"
    " runs elsa web.",
)
@click.option(
    "--user-header",
    metavar="NAME",
    help="The header in which the proxy names the user, such as X-Remote-User.",
)
@click.option(
    "--host-name",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Serve the pages under this name of the host too; repeated: several.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a page may take.",
)
@options.db_or_fleet
def web(
    *,
    port: int | None,
    socket: Path | None,
    socket_group: str | None,
    user_header: str | None,
    hosts: tuple[str, ...],
    time_limit: float,
    db: Path | FleetUrl | None,
) -> None:
    """Serve the reports as pages for a browser, read only, at http://127.0.0.1:8421/ of this host.

    Root and members of the group `elsa` see everything, any other user his own jobs and processes.
    The pages of a fleet are for root and that group alone.
    Over 127.0.0.1 the kernel says whose browser it is; from another machine, forward the port:
    ssh -L 8421:127.0.0.1:8421 HOST. With --socket a reverse proxy says who has logged in.

    Run it as a user who may read the warehouse. It needs Flask and waitress: pip install
    'elsa-accounting[web]'.

    \b
    Examples:
      elsa web
      elsa web --port 9000 --time-limit 30
      elsa web --db postgresql://pages@db.example.org/elsa
      elsa web --socket /run/elsa-web/web.sock --socket-group www-data \\
               --user-header X-Remote-User --host-name elsa.example.org
    """
    if (socket is None) != (user_header is None):
        raise UsageError("--socket and --user-header belong together; see docs/web.md")
    if socket_group is not None and socket is None:
        raise UsageError("--socket-group is of a unix socket; add --socket")
    if port is not None and socket is not None:
        raise UsageError("--port and --socket are two ways to serve; give one of them")
    if user_header is not None and (
        not _HEADER.fullmatch(user_header) or user_header.lower() in _OF_REQUESTS
    ):
        raise UsageError(
            f"--user-header: {user_header!r} cannot be the header of a user; write for example"
            " X-Remote-User"
        )
    for name in hosts:
        if not _HOST.fullmatch(name):
            raise UsageError(
                f"--host-name: {name!r} is no name of a host; write for example elsa.example.org,"
                " without a port"
            )
    if not math.isfinite(time_limit):
        raise UsageError(
            f"--time-limit: {time_limit} is no number of seconds; write for example 10"
        )
    try:
        from elsa.web import app as made
        from elsa.web import server
        from elsa.web.settings import Settings
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"{error.name} is not installed; the pages need it: pip install 'elsa-accounting[web]'"
        ) from None
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # What the driver of a fleet database warns of is raised too.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    settings = {name: each.value for name, each in config.settle({"db": db}).items()}
    place: Path | FleetUrl = settings["db"]
    shown = None if db is None else str(db)
    if isinstance(place, FleetUrl):
        shown = _try_fleet(place)
    else:
        _try_warehouse(place)
    identify = (
        server.by_kernel(settings["group"])
        if user_header is None
        else server.by_header(user_header, settings["group"])
    )
    app = made.create_app(
        Settings(
            place,
            server.LOCAL_NAMES | {name.lower() for name in hosts},
            identify,
            time_limit,
            settings["keep_rollups"],
            shown,
        )
    )
    address = server.Address(port or _PORT, socket, socket_group)
    with server.listening(address) as listener:
        print_stderr(f"serving {socket or f'http://127.0.0.1:{address.port}/'}")
        server.serve(app, listener)


def _try_warehouse(path: Path) -> None:
    """Say what is wrong with a warehouse."""
    from elsa.report.query import warehouse

    with warehouse.reading(path):
        pass


def _try_fleet(url: FleetUrl) -> str:
    """Say what is wrong with a fleet database, and return its URL as commands on pages have it. A
    server that does not answer may answer later, and its pages say so until then.
    """
    from elsa.fleet import database, reports
    from elsa.fleet.copy import Wanted
    from elsa.report.render.output import Output

    shown = database.without_secrets(url)
    try:
        # A bill reads tariffs too, which not every role may.
        with reports.reading(url, Wanted("bill", {}, Output())):
            pass
    except RetryError as error:
        print_stderr(f"elsa-web: {error}")
    return shown
