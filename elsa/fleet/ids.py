"""Ids of jobs, boots and so on, and names of hosts, that are unique in a fleet."""

from __future__ import annotations

from collections.abc import Iterable

IDS_OF_HOST = 10**9
"""Ids in a report are host_id * IDS_OF_HOST + the id at the host: job 12 of host 3 is 3000000012.
"""
HOSTS = """
    select t.id, t.machine_id, case
        when right(t.name, length(t.id::text) + 1) = '#' || t.id then t.name
        when position('#' in t.name) = 0 and count(*) over (partition by t.name) = 1 then t.name
        else t.name || '#' || t.id end as name
    from elsa.host as t"""
"""The hosts, each with a name that no other has, whatever names they give themselves: a name with #
ends with the id of its host.
"""


def split_ids(ids: Iterable[int]) -> list[list[int]]:
    """Such ids as ids of hosts and ids at the hosts."""
    pairs = [divmod(id_, IDS_OF_HOST) for id_ in ids]
    return [[host_id for host_id, _ in pairs], [id_ for _, id_ in pairs]]
