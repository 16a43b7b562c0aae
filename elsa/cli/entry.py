"""Where the installed programs begin: Ctrl-C while Python still imports them ends them at once, without a traceback."""

from __future__ import annotations

import importlib
import signal


def _door(name: str) -> None:
    """Nothing has begun yet that would have to be ended in order; `elsa.cli.main.run` takes Ctrl-C over from here."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
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
