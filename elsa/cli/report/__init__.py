"""`elsa report`: what jobs, commands and users cost. Each file has a group of similar reports;
request.py has the options that all share.
"""

from elsa.cli.report import (
    bill,  # noqa: F401
    gnu,  # noqa: F401
    jobs,  # noqa: F401
    moment,  # noqa: F401
    processes,  # noqa: F401
    sacct,  # noqa: F401
    sources,  # noqa: F401
    timeline,  # noqa: F401
    trees,  # noqa: F401
    usage,  # noqa: F401
)
from elsa.cli.report.group import report

__all__ = ["report"]
