"""`elsa report`: what jobs, commands and users cost; one file per family of reports, and request.py
for what they all understand.
"""

from elsa.cli.report import (
    bill,  # noqa: F401
    gnu,  # noqa: F401
    jobs,  # noqa: F401
    processes,  # noqa: F401
    trees,  # noqa: F401
    usage,  # noqa: F401
    witnesses,  # noqa: F401
)
from elsa.cli.report.group import report

__all__ = ["report"]
