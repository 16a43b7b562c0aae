"""The memberships that the state has to be stored, whichever way each is."""

from __future__ import annotations

from elsa.state.codes import How
from elsa.state.incarnation import Changes


def memberships(changes: Changes) -> list[tuple[int, int, int, None, int]]:
    """The memberships of new processes and of those that entered a job: job_id, process_id,
    since_ns, until_ns, how.
    """
    in_table = [row for row in changes.entered if row[:2] not in changes.dropped]
    in_column = [
        (life.inherited_job_id, life.id, 0, None, int(How.INHERITED))
        for life in changes.started
        if life.inherited_job_id is not None
    ]
    return in_table + in_column
