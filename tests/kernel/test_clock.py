"""The wall clock set during the life of processes: durations, ends and joins stay right. The clock
is put back to where it would be.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from elsa.kernel import clocks
from tests.support.elsa_host import Host, wait_until

pytestmark = pytest.mark.kernel

SECOND = 1_000_000_000
STEP_S = 3600


@pytest.fixture
def set_clock(require_kernel: Callable[[object, str], None]) -> Iterator[Callable[[int], None]]:
    """A function that sets the wall clock to so many seconds beside the right time."""
    right_ns = clocks.offsets().realtime_ns

    def set_beside(seconds: int) -> None:
        time.clock_settime_ns(
            time.CLOCK_REALTIME, clocks.monotonic_ns() + right_ns + seconds * SECOND
        )

    try:
        set_beside(0)
    except PermissionError:
        require_kernel(False, "setting the clock needs CAP_SYS_TIME")
    try:
        yield set_beside
    finally:
        set_beside(0)


def test_setting_the_clock_moves_no_duration_and_no_join(
    host: Host, set_clock: Callable[[int], None]
) -> None:
    """Processes that live through a step forward, through a step back and through both, and the
    pids of all are joined exactly.
    """
    host.start()
    job_id = host.create("steps")
    truth: dict[int, tuple[int, int, int]] = {}
    running: dict[subprocess.Popen[bytes], int] = {}

    def begin() -> subprocess.Popen[bytes]:
        began_ns = clocks.monotonic_ns()
        child = subprocess.Popen(["sleep", "100"])
        host.request("add", job=job_id, pids=[child.pid])
        running[child] = began_ns
        return child

    def end(child: subprocess.Popen[bytes]) -> None:
        child.kill()
        child.wait()
        truth[child.pid] = (running.pop(child), clocks.monotonic_ns(), clocks.realtime_ns())

    def step(seconds: int) -> None:
        set_clock(seconds)
        wait_until(
            "jobd saw the step",
            lambda: abs(host.request("status")["heard_at_ns"] - clocks.realtime_ns()) < 60 * SECOND,
        )

    through_both, through_forward = begin(), begin()
    step(STEP_S)
    end(through_forward)
    through_back = begin()
    step(-STEP_S)
    end(through_back)
    end(begin())
    step(0)
    end(through_both)

    host.ingest()
    rows = host.sql(
        "select pid, elapsed_s, ended_ns, record, exit_signal from job_process_usage where"
        " job_id = ?",
        job_id,
    )
    assert len(rows) == len(truth) == 4
    for pid, elapsed_s, ended_ns, record, signal in rows:
        began_ns, gone_ns, gone_at_ns = truth[pid]
        assert record == "exact"
        assert signal == 9
        assert 0 <= elapsed_s <= (gone_ns - began_ns) / SECOND
        assert abs(ended_ns - gone_at_ns) < SECOND / 2
    host.assert_sound()
