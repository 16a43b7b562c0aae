"""The pages of the Webmin module, run as Webmin runs them, with a stub of its interface."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest

STUB = Path(__file__).parent
MODULE = Path(__file__).resolve().parents[3] / "webmin" / "elsa"


def perl() -> str:
    """The interpreter; where it is nowhere the test skips with the reason."""
    found = shutil.which("perl")
    if found is None:
        pytest.skip("perl is not installed, in which the pages of Webmin are written")
    return found


class Answer(NamedTuple):
    """What a page printed."""

    html: str
    log: str

    def cells(self) -> list[list[str]]:
        """The text of each row of its tables of figures."""
        return [
            [_text(cell) for cell in re.findall(r"<td>(.*?)</td>", row, re.DOTALL)]
            for row in re.findall(r"<tr class='row'>(.*?)</tr>", self.html, re.DOTALL)
        ]

    def figures(self) -> dict[str, str]:
        """The labelled values."""
        rows = re.findall(r"<tr><th>([^<]*)</th><td>(.*?)</td></tr>", self.html, re.DOTALL)
        return {label: _text(value) for label, value in rows}

    @property
    def problem(self) -> str | None:
        """What it says went wrong."""
        found = re.search(
            r"(?:<p class='elsa_problem' role='alert'>|<h3 class='error'>)(.*)", self.html
        )
        return _text(found[1]) if found else None


def _text(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", markup.replace("<br>", "\n")))


class Site:
    """An installed module, with its configuration in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def configure(self, **settings: object) -> None:
        """Change the module's configuration."""
        with (self.folder / "config").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())

    def allow(self, user: str, /, **acl: object) -> None:
        """What a Webmin user may do."""
        lines = "".join(f"{name}={value}\n" for name, value in acl.items())
        (self.folder / f"{user}.acl").write_text(lines)

    def program(self, name: str, text: str) -> Path:
        """A program that stands for one of elsa."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def get(self, page: str, user: str, /, **query: str) -> Answer:
        """The answer to GET."""
        return self._run(page, user, "GET", urlencode(query), b"")

    def post(self, page: str, user: str, /, **fields: str) -> Answer:
        """The answer to POST."""
        return self._run(page, user, "POST", "", urlencode(fields).encode())

    def _run(self, page: str, user: str, method: str, query: str, body: bytes) -> Answer:
        environ = {
            "PATH": os.environ["PATH"],
            "PERL5LIB": str(STUB),
            "TZ": "UTC",
            "WEBMIN_CONFIG": str(self.folder),
            "REMOTE_USER": user,
            "REQUEST_METHOD": method,
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(body)),
            "SECRET": "of the server",
        }
        done = subprocess.run(
            [perl(), "-w", page], cwd=MODULE, env=environ, input=body, capture_output=True
        )
        answer = done.stdout.decode()
        assert done.stderr == b"", done.stderr.decode()
        assert answer.startswith("Content-type: text/html\n\n")
        log = self.folder / "log"
        return Answer(answer, log.read_text() if log.exists() else "")
