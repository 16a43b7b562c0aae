"""`elsa report`: what jobs, commands and users cost; one file per family of reports, and request.py for what they all understand."""

from elsa.cli import gnu
from elsa.cli.report import bill, jobs, processes, usage, witnesses  # noqa: F401 (each adds its commands)
from elsa.cli.report.group import report

__all__ = ["report"]

for command in gnu.COMMANDS:
    report.add_command(command)
