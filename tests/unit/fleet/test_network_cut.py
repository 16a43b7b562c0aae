"""A host whose network is cut without a word while it pushes: the push notices it after a time and
says so, and the next push makes the fleet equal. The host is in a network namespace of its own, at
the end of a pair of virtual interfaces whose other end goes down.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from elsa.fleet.hosts import add
from elsa.fleet.migrate import upgrade
from elsa.fleet_url import FleetUrl
from tests.support.fleets import add_up, assert_equal, host_total
from tests.support.postgres import Server, running

# Of TEST-NET-2, which is used nowhere else.
SERVER, HOST = "198.51.100.1", "198.51.100.2"
# What takes a minute by default takes some seconds here: on the side of the host, and on that of
# the server, which keeps the row of the host locked until it notices.
QUICK = (
    "connect_timeout=2&keepalives_idle=1&keepalives_interval=1&keepalives_count=3"
    "&tcp_user_timeout=3000&options=-c%20lock_timeout%3D30s%20-c%20tcp_keepalives_idle%3D1"
    "%20-c%20tcp_keepalives_interval%3D1%20-c%20tcp_keepalives_count%3D3"
    "%20-c%20tcp_user_timeout%3D3000"
)
# `elsa push`, in batches of two hours.
PUSH = """
import sys
from elsa.fleet import push
from elsa.cli.entry import elsa
push.MOST_HOURS = 2
sys.argv = ["elsa", "push", "--to", *sys.argv[1:]]
elsa()
"""


class Link:
    """The way from the namespace of the host to the server."""

    def __init__(self) -> None:
        self.namespace = f"elsa-{os.getpid()}"
        self._ends = f"elsa{os.getpid()}s", f"elsa{os.getpid()}h"

    def make(self) -> None:
        """Skip with the reason where namespaces cannot be made."""
        try:
            self._ip("netns", "add", self.namespace)
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", None) or error
            reason = f"cutting a network needs root and ip(8): {' '.join(str(why).split())}"
            if os.environ.get("ELSA_REQUIRE_KERNEL") == "1":
                pytest.fail(reason)
            pytest.skip(reason)
        ours, theirs = self._ends
        inside = ("-n", self.namespace)
        self._ip("link", "add", ours, "type", "veth", "peer", theirs, "netns", self.namespace)
        self._ip("address", "add", f"{SERVER}/30", "dev", ours)
        self._ip(*inside, "address", "add", f"{HOST}/30", "dev", theirs)
        self._ip(*inside, "link", "set", theirs, "up")
        self.set("up")

    def set(self, state: str) -> None:
        """Bring the server's end up or down."""
        self._ip("link", "set", self._ends[0], state)

    def remove(self) -> None:
        """Remove the namespace, and the interfaces with it."""
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self._ends[0]], check=False, capture_output=True)

    @staticmethod
    def _ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link()
    try:
        made.make()
        yield made
    finally:
        made.remove()


@contextmanager
def pushing(link: Link, db: Path, url: str) -> Iterator[subprocess.Popen[str]]:
    """A push from the namespace, which is killed if it does not end."""
    command = ["ip", "netns", "exec", link.namespace, sys.executable, "-c", PUSH, url]
    with subprocess.Popen([*command, "--db", db], stderr=subprocess.PIPE, text=True) as pusher:
        try:
            yield pusher
        finally:
            pusher.kill()


def wait_for(server: Server, database: str) -> None:
    """Wait until the first batch is there."""
    until = time.monotonic() + 30
    while not add_up(server, database):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_push_whose_network_is_cut_ends_and_the_next_makes_the_fleet_equal(
    db: Path, link: Link
) -> None:
    with running(SERVER) as server:
        database = server.database()
        admin = FleetUrl(server.url(database))
        upgrade(admin)
        login = add(admin, "cut", password=True)
        assert login.passfile is not None
        password = login.passfile.rsplit(":", 1)[1]
        url = f"{server.tcp_url(database, 'cut', password)}?{QUICK}"
        with pushing(link, db, url) as pusher:
            wait_for(server, database)
            link.set("down")
            _, said = pusher.communicate(timeout=30)
            assert pusher.returncode == os.EX_TEMPFAIL, said
            assert "try again later" in said
            assert said.count("\n") == 1
            assert password not in said
        assert 0 < add_up(server, database) < host_total(db)
        with pushing(link, db, url) as pusher:
            _, said = pusher.communicate(timeout=30)
            assert pusher.returncode == os.EX_TEMPFAIL, said
            assert "the server does not answer; try again later" in said
        link.set("up")
        with pushing(link, db, url) as pusher:
            _, said = pusher.communicate(timeout=60)
            assert pusher.returncode == 0, said
        assert_equal(server, database, db)
