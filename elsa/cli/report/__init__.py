"""`elsa report`: what jobs, commands and users cost; one file per family of reports, and request.py for what they all understand."""

from elsa.cli.report import bill, gnu, jobs, processes, trees, usage, witnesses  # noqa: F401 (each adds its commands)
from elsa.cli.report.group import report

__all__ = ["report"]
