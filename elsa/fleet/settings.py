"""What holds for the whole site: settings that the owner of a fleet database stores in it, so that
everybody's reports are the same.
"""

from __future__ import annotations

from contextlib import closing

from elsa.fleet import database
from elsa.fleet_url import FleetUrl

SAME_USERS = "same_users"
"""yes: a user or group that has the same id and the same name on several hosts is the same."""
DEFAULTS = {SAME_USERS: "no"}
QUERY = "select s.name, s.value from elsa.setting as s"


def settings(url: FleetUrl) -> dict[str, str]:
    """All settings with their values."""
    with database.translated(url), closing(database.connect(url)) as fleet:
        return DEFAULTS | dict(fleet.execute(QUERY).fetchall())


def change(url: FleetUrl, name: str, value: str) -> None:
    """Change a setting. Raises PrivilegeError for a role that does not own the database."""
    with database.translated(url), closing(database.connect(url)) as fleet:
        fleet.execute(
            "insert into elsa.setting (name, value) values (%s, %s)"
            " on conflict (name) do update set value = excluded.value",
            [name, value],
        )
