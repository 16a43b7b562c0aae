"""Pushes that are killed, cut off, or whose server is killed: the next push goes on, and the fleet
then has what the host has, to the last unit.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from elsa.errors import RetryError
from elsa.fleet import database
from elsa.fleet import push as module
from elsa.fleet.hosts import add
from elsa.fleet_url import FleetUrl
from tests.support.fleets import LATER_NS, add_up, assert_equal, host_total, pushed
from tests.support.postgres import Server, running

# For each line on stdin it starts a push in small batches, and prints its pid.
PUSHER = """
import os, signal, sys
from pathlib import Path
from elsa.fleet import database, push
from elsa.fleet_url import FleetUrl
push.MOST_HOURS = 6
database.driver()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        push.push(Path(sys.argv[1]), FleetUrl(sys.argv[2]), int(sys.argv[3]))
        os._exit(0)
    print(pid, flush=True)
"""


def test_a_push_that_is_killed_at_any_place_is_completed_by_the_next(
    postgres: Server, fleet: str, db: Path, url: str
) -> None:
    rng = random.Random(20)
    totals, all_s = [0], 0.3
    with subprocess.Popen(
        [sys.executable, "-c", PUSHER, str(db), url, str(LATER_NS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as pusher:
        assert pusher.stdin is not None
        assert pusher.stdout is not None
        for _ in range(20):
            pusher.stdin.write("\n")
            pusher.stdin.flush()
            pid = int(pusher.stdout.readline())
            time.sleep(rng.uniform(0.0, all_s))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            totals.append(add_up(postgres, fleet))
            if totals[-1] == totals[-2] < host_total(db):
                all_s *= 1.2  # on a busy machine a batch takes longer
            assert_days_are_their_hours(postgres, fleet)
        pusher.stdin.close()
    assert totals == sorted(totals)
    # Some of them were killed in the middle.
    assert any(0 < total < host_total(db) for total in totals)
    pushed(db, url)
    assert_equal(postgres, fleet, db)


def assert_days_are_their_hours(server: Server, database: str) -> None:
    """What is committed is always whole batches."""
    with server.connect(database) as connection:
        query = "select coalesce(sum(cpu_ns), 0) from elsa.{}"
        hours = connection.execute(query.format("rollup_user")).fetchone()
        assert hours == connection.execute(query.format("rollup_day_user")).fetchone()
        assert hours == connection.execute(query.format("rollup_command")).fetchone()


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGINT])
def test_a_server_that_is_killed_and_started_again_loses_nothing(
    db: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    from elsa.fleet.migrate import upgrade

    monkeypatch.setattr(module, "MOST_HOURS", 6)
    with running() as server:
        database = server.database()
        url = server.url(database)
        upgrade(FleetUrl(url))
        for batches in (1, 4):
            seen = iter(range(1, 1000))

            def stop(*_: int, seen: Iterator[int] = seen, last: int = batches) -> None:
                if next(seen) == last:
                    server.stop(how)

            with pytest.raises(RetryError, match=r"try again later"):
                pushed(db, url, progress=stop)
            with pytest.raises(RetryError, match=r"the server cannot be reached"):
                pushed(db, url)
            server.start()
            assert 0 < add_up(server, database) < host_total(db)
        pushed(db, url)
        assert_equal(server, database, db)


@contextmanager
def proxy(port: int, most_bytes: int) -> Iterator[int]:
    """A TCP proxy that drops its only connection after so many bytes from the client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                with client, server:
                    back = threading.Thread(target=pump, args=(server, client, 1 << 40))
                    back.start()
                    pump(client, server, most_bytes)
                    for end in (client, server):
                        with suppress(OSError):
                            end.shutdown(socket.SHUT_RDWR)
                    back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def pump(source: socket.socket, sink: socket.socket, most_bytes: int) -> None:
    """Copy bytes until the end or the limit."""
    with suppress(OSError):
        while most_bytes > 0 and (data := source.recv(min(most_bytes, 65536))):
            sink.sendall(data)
            most_bytes -= len(data)


def test_a_connection_that_is_dropped_anywhere_loses_nothing(
    postgres: Server, fleet: str, db: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_HOURS", 24)
    role = f"dropped_{fleet}"
    login = add(FleetUrl(url), role, password=True)
    assert login.passfile is not None
    password = login.passfile.rsplit(":", 1)[1]
    dropped = 0
    for most_bytes in (0, 50, 500, 5_000, 50_000, 200_000, 500_000, 700_000, 900_000):
        with proxy(postgres.port, most_bytes) as port:
            try:
                pushed(db, postgres.tcp_url(fleet, role, password, port))
            except RetryError as error:
                dropped += 1
                assert password not in str(error)
        assert_days_are_their_hours(postgres, fleet)
    assert dropped >= 6
    pushed(db, postgres.tcp_url(fleet, role, password))
    assert_equal(postgres, fleet, db)


def test_the_server_notices_a_cut_network_within_a_minute(
    postgres: Server, fleet: str, url: str
) -> None:
    login = add(FleetUrl(url), f"noticed_{fleet}", password=True)
    assert login.passfile is not None
    password = login.passfile.rsplit(":", 1)[1]
    over_tcp = FleetUrl(postgres.tcp_url(fleet, f"noticed_{fleet}", password))
    with closing(database.connect(over_tcp)) as connection:
        rows = connection.execute(
            "select name, setting::int from pg_settings where name like 'tcp_%'"
        )
        settings = dict(rows.fetchall())
    probes_s = settings["tcp_keepalives_interval"] * settings["tcp_keepalives_count"]
    assert 0 < settings["tcp_keepalives_idle"] + probes_s <= 60
    assert 0 < settings["tcp_user_timeout"] <= 60_000
