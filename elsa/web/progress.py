"""Show that a page is being made, where that takes longer than a moment: what needs no query is
sent at once, then each second how long it has taken, and then the rest of the page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import wraps
from threading import Thread
from typing import Any

from flask import (
    Response,
    copy_current_request_context,
    current_app,
    g,
    render_template,
    request,
    stream_with_context,
    url_for,
)

from elsa.text import printable
from elsa.web.reading import Deadline

QUICK_S = 0.5
"""A page that takes no longer is answered whole, with its own status."""
RESULTS = "<!-- results -->"
"""In a page: what stands before it needs no query (base.html)."""
_TICK_S = 1.0
_log = logging.getLogger(__name__)

View = Callable[..., str | Response]


def shown(view: View) -> View:
    """The same page, with its progress where it takes long."""

    @wraps(view)
    def answer(**arguments: Any) -> str | Response:  # noqa: ANN401 (parts of the address)
        if request.method == "HEAD" or "format" in request.args:
            return view(**arguments)
        made: list[Response] = []
        # SQLite's connection belongs to the thread that opens it.
        work = Thread(target=_work(view, arguments, made), daemon=True)
        work.start()
        work.join(QUICK_S)
        if not work.is_alive():
            return made[0]
        head = render_template("base.html").partition(RESULTS)[0]
        done = url_for("static", filename="done.css")
        pieces = _pieces(head, done, work, made, g.deadline)
        # A proxy that collected the answer before it sends it would show nothing.
        return Response(stream_with_context(pieces), headers={"X-Accel-Buffering": "no"})

    return answer


def _work(view: View, arguments: dict[str, Any], made: list[Response]) -> Callable[[], None]:
    """Makes the page, or the one that explains an error, for the same reader."""
    reader, deadline = g.reader, g.deadline

    @copy_current_request_context
    def work() -> None:
        g.reader, g.deadline = reader, deadline
        try:
            answer: Any = view(**arguments)
        except Exception as error:
            answer = current_app.handle_user_exception(error)
        made.append(current_app.make_response(answer))

    return work


def _pieces(
    head: str, done: str, work: Thread, made: list[Response], deadline: Deadline
) -> Iterator[str]:
    try:
        yield head
        yield (
            '<div class="working"><p role="status">Working.'
            f" After {deadline.limit_s:g} s this page is given up.</p>"
        )
        while work.is_alive():
            yield f'<p class="tick" aria-hidden="true">{deadline.taken_s():.0f} s</p>'
            work.join(_TICK_S)
        yield f'</div><link rel="stylesheet" href="{done}">'
        if made[0].status_code != 200:
            path = printable(request.full_path)
            _log.warning("%s: status %d after the head was sent", path, made[0].status_code)
        yield made[0].get_data(as_text=True).partition(RESULTS)[2]
    finally:
        # The reader may have left: nobody waits for the query, and it must not run beside others.
        deadline.pass_now()
        work.join()
