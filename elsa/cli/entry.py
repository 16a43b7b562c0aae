"""Where the installed programs begin: what must be settled before anything is imported.

Ctrl-C while Python still imports them ends them at once, without a traceback. And rows are tuples
by the hundred thousand, none of them in a cycle: to look for cycles as often as Python does
otherwise takes a tenth of the time of whoever handles many.
"""

from __future__ import annotations

import gc
import importlib
import signal

GC_THRESHOLD = 200_000


def _door(name: str) -> None:
    """Nothing has begun yet that would have to be ended in order; `elsa.cli.main.run` takes Ctrl-C
    over from here.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(GC_THRESHOLD)
    getattr(importlib.import_module("elsa.cli.main"), name)()


def elsa() -> None:
    """`elsa`."""
    _door("elsa")


def elsa_job() -> None:
    """`elsa-job`."""
    _door("elsa_job")


def elsa_jobd() -> None:
    """`elsa-jobd`."""
    _door("elsa_jobd")


def elsa_ingest() -> None:
    """`elsa-ingest`."""
    _door("elsa_ingest")


def elsa_report() -> None:
    """`elsa-report`."""
    _door("elsa_report")
