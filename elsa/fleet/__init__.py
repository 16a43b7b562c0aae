"""Many hosts in one PostgreSQL database: its tables, what hosts push, and what reports read."""

REPORTS = (
    *("commands", "users", "groups", "hours", "days", "months"),
    *("jobs", "job", "runs", "kinds", "bill", "audit", "gaps"),
)
"""The reports that sums can answer."""
