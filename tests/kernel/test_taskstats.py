"""The real taskstats: the record of a thread that ends arrives."""

from __future__ import annotations

import gc
import subprocess
import time
from collections.abc import Callable

import pytest

from elsa.errors import ElsaError
from elsa.kernel.taskstats import TaskstatsSocket, thread_id

pytestmark = pytest.mark.kernel


def test_a_childs_record_arrives_under_its_id(require_kernel: Callable[[object, str], None]) -> None:
    reason, listener = "", None
    try:
        listener = TaskstatsSocket()
    except ElsaError as error:
        reason = str(error)
    require_kernel(listener, reason)
    assert listener is not None
    with listener:
        child = subprocess.Popen(["true"])
        child.wait()
        found: list[int] = []
        deadline = time.monotonic() + 2
        while child.pid not in found and time.monotonic() < deadline:
            found += map(thread_id, listener.drain(10_000))
    assert child.pid in found
    listener.close()
    gc.collect()


def test_a_short_message_has_no_thread() -> None:
    assert thread_id(b"\0" * 20) == 0
