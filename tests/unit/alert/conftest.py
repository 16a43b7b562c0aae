"""The warehouse of given rows that the tests of reports use."""

from tests.unit.report.conftest import reports

__all__ = ["reports"]
