"""Entry points of the installed programs: what must be set before anything is imported.

Ctrl-C while Python still imports modules ends the program at once, without a traceback. Rows are
hundreds of thousands of tuples without cycles: at Python's default threshold, garbage collection
would take a tenth of the time of commands that handle many.
"""

from __future__ import annotations

import gc
import importlib
import signal

GC_THRESHOLD = 200_000


def _start(name: str) -> None:
    """Start a program of elsa.cli.main. Until `elsa.cli.main.run` handles Ctrl-C, there is nothing
    to clean up.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(GC_THRESHOLD)
    getattr(importlib.import_module("elsa.cli.main"), name)()


def elsa() -> None:
    """`elsa`."""
    _start("elsa")


def elsa_job() -> None:
    """`elsa-job`."""
    _start("elsa_job")


def elsa_jobd() -> None:
    """`elsa-jobd`."""
    _start("elsa_jobd")


def elsa_ingest() -> None:
    """`elsa-ingest`."""
    _start("elsa_ingest")


def elsa_report() -> None:
    """`elsa-report`."""
    _start("elsa_report")
