"""Chromium and axe-core for tests of the web pages: where they are (scripts/browser.sh)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_BUILD = Path(__file__).resolve().parents[2] / "build" / "browser"
_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib")


def folder() -> Path:
    """Where they are unpacked."""
    return Path(os.environ.get("ELSA_BROWSER") or _BUILD)


def axe() -> str:
    """The text of axe-core; where it is nowhere the test skips with the reason."""
    path = folder() / "axe.min.js"
    if not path.exists():
        pytest.skip(
            "axe-core is not there: `make test` fetches it, or name a folder in ELSA_BROWSER"
        )
    return path.read_text(encoding="utf-8")


@contextmanager
def chromium() -> Iterator[Any]:
    """A chromium that playwright drives; where it is nowhere the test skips with the reason."""
    unpacked = folder() / "usr/lib/chromium/chromium"
    program = shutil.which("chromium") or (str(unpacked) if unpacked.exists() else None)
    if program is None:
        pytest.skip("chromium is not there: `make test` fetches it, or install it")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    environ = dict(os.environ)
    if program == str(unpacked):
        places = [folder() / name for name in _LIBRARIES]
        places += [place / "pulseaudio" for place in places]
        environ["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, places))
    with playwright.sync_playwright() as driver:
        # The sandbox of chromium does not start as root.
        browser = driver.chromium.launch(
            executable_path=program, args=["--no-sandbox"], env=environ
        )
        try:
            yield browser
        finally:
            browser.close()
