"""When a host of a fleet is late. Reports read it without the modules that push."""

LATE_HOURS = 2
"""An hour is rolled up a quarter of an hour after its end, and pushed within the hour after."""
