"""The URL of a fleet database, which never shows its password."""

from __future__ import annotations

import re
from typing import Any

SCHEMES = ("postgresql://", "postgres://")
# One with a slip in the punctuation is one of a fleet database all the same.
_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]*://|postgres[a-z0-9+.-]*([:;]/*|//))", re.IGNORECASE)
_LOGIN = re.compile(r"[^/]*(:[^/]*@|\bpassword\s*=)")


def is_url(value: object) -> bool:
    """Whether a text names a fleet database, and not the file of a warehouse."""
    return isinstance(value, str) and value.lower().startswith(SCHEMES)


def refused(value: object) -> str | None:
    """Why a text is a URL, but none of a fleet database; None if it is. It would become the path of
    a file with the password in its name.
    """
    if not isinstance(value, str) or is_url(value):
        return None
    found = _SCHEME.match(value)
    if found is None and not _LOGIN.match(value):
        return None
    what = "this has a password, and is no path"
    if found is not None:
        what = f"{found[0].lower()} begins no URL that is known here"
    return (
        f"{what}; a fleet database has a URL that begins with postgresql://, and a warehouse is the"
        " path of a file"
    )


class FleetUrl:
    """Where a fleet database is: a URL of libpq, with any options and perhaps a password. As text
    it is without both.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        """The whole URL, for the driver only."""

    def __str__(self) -> str:
        # Up to the last @ there may be a password that was not encoded, and after it too if it
        # stands in an option.
        scheme, rest = self.url.split("://", 1)
        login, at, server = rest.rpartition("@")
        user = re.split("[:/?@]", login, maxsplit=1)[0]
        server = "..." if "?" in login else server.split("?", 1)[0]
        return f"{scheme.lower()}://{user}{at}{server}"

    def __repr__(self) -> str:
        return f"FleetUrl({str(self)!r})"

    def __eq__(self, other: Any) -> bool:  # noqa: ANN401
        return isinstance(other, FleetUrl) and self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)
