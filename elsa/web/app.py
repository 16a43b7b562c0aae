"""The frame of the pages: who may ask, what an answer may load, and what goes wrong in one line."""

from __future__ import annotations

import logging
import re
from typing import Any

from flask import Flask, Response, abort, g, render_template, request
from werkzeug.exceptions import HTTPException

from elsa import __version__
from elsa.errors import (
    ConfigError,
    DataError,
    ElsaError,
    InputMissingError,
    PrivilegeError,
    RetryError,
    UnavailableError,
    UsageError,
)
from elsa.fleet_url import FleetUrl
from elsa.text import printable
from elsa.web import pages
from elsa.web.forms import fields_of
from elsa.web.job_pages import NoJobError
from elsa.web.page import of_fleet
from elsa.web.reading import Copies, Deadline
from elsa.web.settings import Settings
from elsa.web.tables import on_page

_METHODS = ("GET", "HEAD")
# Nothing but our own files is loaded, no script stands in a page, and no other page frames ours.
_POLICY = {
    "default-src": "'none'",
    "style-src": "'self'",
    "script-src": "'self'",
    "img-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{key} {value}" for key, value in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # What somebody may see, nobody else gets from a cache.
    "Cache-Control": "no-store",
}
_STATUS: tuple[tuple[type[ElsaError], int], ...] = (
    (NoJobError, 404),
    (pages.NotOfFleetError, 404),
    (UsageError, 400),
    (PrivilegeError, 403),
    (RetryError, 503),
    (UnavailableError, 503),
    # The warehouse is not there, is none, or is of another version.
    (InputMissingError, 503),
    (DataError, 503),
    (ConfigError, 503),
)
# What whoever runs the pages has to mend.
_LOGGED = (InputMissingError, DataError, ConfigError)
_log = logging.getLogger(__name__)


def create_app(settings: Settings) -> Flask:
    """The WSGI application."""
    app = Flask(__name__)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.config.update(SETTINGS=settings, COPIES=Copies(), MAX_CONTENT_LENGTH=0)
    app.before_request(lambda: _admit(settings))
    app.after_request(_with_headers)
    app.context_processor(_context)
    app.register_error_handler(ElsaError, _explained)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(Exception, _failed)
    pages.register(app)
    return app


def _admit(settings: Settings) -> None:
    """Refuse what is no request of a reader to these pages."""
    g.deadline = Deadline(settings.limit_s)
    if request.method not in _METHODS:
        abort(405)
    host = (request.host or "").lower()
    name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    if name not in settings.hosts:
        # Another site may have pointed its name here, so that its scripts could read the pages.
        said = "this name of the host is not served; elsa web --host-name NAME adds one\n"
        abort(Response(said, 421))
    g.reader = settings.identify(request.environ)
    if any("\0" in value for value in request.args.values()):
        # No word of a command can have it.
        abort(Response("an address cannot have a NUL byte\n", 400))
    if g.reader is None:
        said = (
            "this host does not know the user who asks: the owner of the connection, or with"
            " --user-header the user in that header\n"
        )
        abort(Response(said, 403))
    if isinstance(settings.db, FleetUrl) and not g.reader.manages:
        # A uid is another user on each host, so nothing of a fleet is his own.
        abort(Response("the pages of a fleet are for managers: they have all users of it\n", 403))
    pages.require(request.endpoint)


def _with_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint == "static":
        response.headers["Cache-Control"] = "no-cache"
    return response


def _context() -> dict[str, Any]:
    """What every template has."""
    given = {name for name, value in request.args.items() if value.strip()}
    by = request.args.get("by", "").strip() or "user"
    fields = fields_of(request.endpoint or "", of_fleet=of_fleet(), by=by, given=given)
    return {
        "version": __version__,
        "reader": g.get("reader"),
        "nav": pages.nav(),
        "of_fleet": of_fleet(),
        "fields": fields,
        "given": {field.name: request.args.get(field.name, "") for field in fields},
        "page": request.endpoint or "",
        "current": pages.current(),
        "title": pages.title(),
        "tabs": pages.tabs(),
    }


def _explained(error: ElsaError) -> tuple[str, int]:
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    if status == 500 or isinstance(error, _LOGGED):
        _log.error("%s", error)
    return render_template("error.html", title="Not possible", message=_on_page(error)), status


def _on_page(error: ElsaError) -> str:
    """What is wrong, with the fields of the page instead of the options of the command line."""
    fields = fields_of(request.endpoint or "", of_fleet=of_fleet())
    labels = {field.name: field.label for field in fields}
    (text,) = on_page([str(error)])
    return re.sub(r"--([a-z]+)\b", lambda option: labels.get(option[1], option[0]), text)


def _refused(error: HTTPException) -> Any:  # noqa: ANN401 (an answer of Flask)
    if error.response is not None:
        return error.response
    if g.get("reader") is None:
        return Response(f"{error.name}\n", error.code, {"Allow": ", ".join(_METHODS)})
    message = "there is no such page" if error.code == 404 else str(error.description)
    return render_template("error.html", title=error.name, message=message), error.code


def _failed(error: Exception) -> tuple[str, int]:
    """What should not happen is logged, and says nothing to the reader."""
    _log.exception("%s", printable(request.full_path), exc_info=error)
    message = "something went wrong; the log of elsa web says what"
    return render_template("error.html", title="Error", message=message), 500
