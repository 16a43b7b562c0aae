"""`elsa report` over a warehouse of given rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner, Result

from elsa.cli.report import report
from tests.support.given import Warehouse


class Reports(NamedTuple):
    """A warehouse, and the command over it."""

    path: Path
    warehouse: Warehouse

    def run(self, *arguments: str) -> Result:
        """Run `elsa report ...`; exceptions pass through."""
        return CliRunner().invoke(
            report, [*arguments, "--db", str(self.path)], catch_exceptions=False
        )

    def json(self, *arguments: str) -> Any:
        """The rows that `--format json` prints, or the job, audit or comparison."""
        printed = json.loads(self.run(*arguments, "--format", "json").stdout)
        (key,) = printed.keys() & {"rows", "job", "audit", "comparison"}
        return printed[key]
