"""Which processes are in which jobs, and since when. Pure.

A membership that a process inherited is a column of its row, others are rows of their own; what has
to be stored of both is noted in `changes`.
"""

from __future__ import annotations

from collections.abc import Iterable

from elsa.state.codes import How
from elsa.state.incarnation import Changes, Incarnation, Moves
from elsa.state.jobs import Jobs

_INHERITED = int(How.INHERITED)  # a plain number, as in elsa/state/incarnation.py


class Memberships:
    """Puts incarnations into jobs and takes them out."""

    def __init__(self, jobs: Jobs, changes: Changes) -> None:
        self._jobs = jobs
        self.changes = changes
        self.late_entries: list[tuple[Incarnation, int]] = []
        """Processes, and the ids of jobs that they are to enter: they existed when their parent
        entered with all its descendants, but their fork was read afterwards. For the caller, who
        empties the list.
        """
        self.late_leaves: list[tuple[Incarnation, int]] = []
        """The same of members of jobs that were closed before the fork of the process was read."""

    def inherit(
        self, life: Incarnation, parent: Incarnation, jobs: Iterable[int], how: int
    ) -> None:
        """Put a process into these jobs of its parent, into the automatic one first: the first is
        the column.
        """
        automatic = parent.automatic
        if automatic is not None and automatic in jobs:
            life.automatic = automatic
            self.enter(life, automatic, 0, how)
        for job_id in jobs:
            self.enter(life, job_id, 0, how)

    def change_automatic(
        self, life: Incarnation, entered: int | None, time_ns: int, how: int, *, from_start: bool
    ) -> None:
        """Put a process into another automatic job, or with None into none. With `from_start` it
        was in that one from its start, and never in the one before.
        """
        if life.automatic is not None:
            if from_start:
                self._drop(life, life.automatic, time_ns)
            else:
                self.leave(life, life.automatic, time_ns)
        life.automatic = entered
        if entered is not None:
            if from_start and how == _INHERITED:
                self._store_as_row(life)  # a manual job: the column is for the automatic one
            self.enter(life, entered, 0 if from_start else time_ns, how)

    def enter(self, life: Incarnation, job_id: int, since_ns: int, how: int) -> bool:
        """Put a process into a job, with 0 since its start; False if it is a member already."""
        if job_id in life.jobs:
            return False
        life.jobs = (*life.jobs, job_id)
        if since_ns:
            life.moves = life.moves or Moves()
            life.moves.since[job_id] = since_ns
        self._count(life, job_id, 1, time_ns=0)
        if how == _INHERITED and since_ns == 0 and life.inherited_job_id is None:
            life.inherited_job_id = job_id
            self.changes.amend(life)
        elif since_ns or self.changes.dropped.pop((job_id, life.id), self) is self:
            self.changes.entered.append((job_id, life.id, since_ns, None, how))
        return True

    def leave(self, life: Incarnation, job_id: int, time_ns: int) -> None:
        """Take a member out of a job from now on. All forks that are read afterwards count as later
        than that.
        """
        life.jobs = tuple(other for other in life.jobs if other != job_id)
        self._count(life, job_id, -1, time_ns)
        if life.inherited_job_id == job_id:
            self._store_as_row(life)
        self.changes.left.append((time_ns, job_id, life.id))

    def retract(self, life: Incarnation, job_id: int, time_ns: int) -> None:
        """Take a member out of a job; if the process is not stored yet, as if it had never been
        in.
        """
        self.leave(life, job_id, time_ns)
        if not life.stored:
            self.changes.left.pop()
            self.changes.entered = [
                entry for entry in self.changes.entered if entry[:2] != (job_id, life.id)
            ]

    def remove(self, life: Incarnation, job_id: int, now_ns: int) -> bool:
        """Remove a process from a job, which may be closed; False if it was not a member. Forks
        before now that are read afterwards are in the job.
        """
        if job_id not in life.jobs:
            return False
        life.moves = life.moves or Moves()
        life.moves.left[job_id] = life.member_since(job_id), now_ns
        self.leave(life, job_id, now_ns)
        return True

    def sweep(self, life: Incarnation, job_id: int) -> None:
        """A process is about to enter a job with all its descendants: those whose forks have not
        been read will be in `late_entries`.
        """
        life.moves = life.moves or Moves()
        life.moves.swept = tuple({*life.moves.swept, job_id})

    def follow(self, life: Incarnation, moves: Moves, jobs: Iterable[int], time_ns: int) -> None:
        """A fork may be read after its parent has entered jobs or left them: what the child would
        have done with its parent, it is to do now.
        """
        late_leaves = [(life, job_id) for job_id in jobs if job_id not in self._jobs.open]
        late_entries = [
            (life, job_id)
            for job_id in moves.swept
            if job_id in self._jobs.open
            and job_id not in jobs
            and (job_id not in moves.left or time_ns < moves.left[job_id][1])
        ]
        if late_leaves or late_entries:
            # Its children follow it.
            life.moves = life.moves or Moves()
            life.moves.swept += tuple(job_id for _, job_id in late_entries)
            self.late_leaves += late_leaves
            self.late_entries += late_entries

    def note_end(self, life: Incarnation, moves: Moves, end_ns: int) -> None:
        """A process ended at this time. If it entered or left a job then or later, that was before
        its end was read.
        """
        left = (until_ns for _, until_ns in moves.left.values())
        if any(time_ns >= end_ns for time_ns in (*moves.since.values(), *left)):
            self.changes.over.append((life.id, end_ns))

    def _drop(self, life: Incarnation, job_id: int, time_ns: int) -> None:
        life.jobs = tuple(other for other in life.jobs if other != job_id)
        self._count(life, job_id, -1, time_ns)
        if life.inherited_job_id == job_id:
            life.inherited_job_id = None
            self.changes.amend(life)
        else:
            self.changes.dropped[job_id, life.id] = None

    def _store_as_row(self, life: Incarnation) -> None:
        """The membership in the column, if there is one, becomes a row of table membership."""
        if life.inherited_job_id is not None:
            self.changes.entered.append((life.inherited_job_id, life.id, 0, None, _INHERITED))
            life.inherited_job_id = None
            self.changes.amend(life)

    def _count(self, life: Incarnation, job_id: int, step: int, time_ns: int) -> None:
        """Count a living member of a job. One that has ended may have been the job's last."""
        if life.end_source is None:
            self._jobs.count((job_id,), step, time_ns)
        elif step > 0:
            self._jobs.note_if_empty(job_id, life.end_ns)


def jobs_at(parent: Incarnation, moves: Moves, time_ns: int) -> tuple[int, ...]:
    """The jobs that a process was in at a moment: it may have entered or left some since."""
    jobs = [job_id for job_id in parent.jobs if moves.since.get(job_id, 0) <= time_ns]
    for job_id, (since_ns, until_ns) in moves.left.items():
        if since_ns <= time_ns < until_ns and job_id not in jobs:
            jobs.append(job_id)
    return tuple(jobs)
