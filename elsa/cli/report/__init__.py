"""`elsa report`: what jobs, commands and users cost. Each file has a group of similar reports, and
is imported only when one of them is called; shared_options.py has the options that all share.
"""

from elsa.cli.report.group import report

__all__ = ["report"]
