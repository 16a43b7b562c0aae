"""Numbers of a fleet that reports read without the modules that push."""

LATE_HOURS = 2
"""An hour is rolled up a quarter of an hour after its end, and pushed within the hour after."""
IDS_OF_HOST = 10**9
"""Ids in a report are host_id * IDS_OF_HOST + the id at the host: job 12 of host 3 is 3000000012.
"""
