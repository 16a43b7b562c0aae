"""Ids of jobs, boots and so on that are unique in a fleet."""

from __future__ import annotations

from collections.abc import Iterable

IDS_OF_HOST = 10**9
"""Ids in a report are host_id * IDS_OF_HOST + the id at the host: job 12 of host 3 is 3000000012.
"""


def split_ids(ids: Iterable[int]) -> list[list[int]]:
    """Such ids as ids of hosts and ids at the hosts."""
    pairs = [divmod(id_, IDS_OF_HOST) for id_ in ids]
    return [[host_id for host_id, _ in pairs], [id_ for _, id_ in pairs]]
