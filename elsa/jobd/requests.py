"""What jobd does for a request that came over the control socket: who may do what, and the answer.
docs/protocol.md has the details.

Root and the elsa group manage everything; any user may create jobs, put own processes into own jobs
and see own jobs. A change is answered when it is committed, so that a job whose id was told
survives whatever happens next.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from elsa.config import Config
from elsa.control import protocol
from elsa.control.server import Peer, Reply
from elsa.errors import ElsaError, PrivilegeError, RetryError, UsageError
from elsa.host import proc_scan
from elsa.jobd import define_job
from elsa.jobd.batcher import Storing
from elsa.jobd.counter_snapshots import Counting
from elsa.jobd.helper_programs import Helpers
from elsa.kernel import clocks
from elsa.kernel.pid_namespace import ForeignPids
from elsa.kernel.procfs import Procfs
from elsa.state.codes import How
from elsa.state.incarnation import Incarnation, ProcSnapshot, same_start
from elsa.state.jobs import Job
from elsa.state.process_table import Processes
from elsa.store.defined_jobs import DEFINING

# One person may have many uids (subuids). All users that do not manage have so many times what one
# may have: a process in jobs of theirs, and they in open jobs.
OWNERS_OF_A_PROCESS = 4
OWNERS_OF_JOBS = 20
# What /proc forgets of a thread when it ends.
_IO = ("read_chars", "write_chars", "read_bytes", "write_bytes")
# What the status tells of all users together.
_OF_ALL = ("heard_at_ns", "events", "lost", "gaps", "backlog", "processes", "withheld")


class Collector(Protocol):
    """What the requests need of the collector."""

    processes: Processes
    storing: Storing
    counting: Counting
    helpers: Helpers

    def sync(self, reply: Reply) -> None:
        """Answer when all that happened so far is in the warehouse."""

    def status(self) -> dict[str, Any]:
        """How the daemon is."""

    def ended_jobs(self, uid: int | None) -> list[dict[str, Any]]:
        """The newest jobs that are over, of one user or of all."""


class Service:
    """Answers requests; `handle` is what ControlServer calls."""

    def __init__(self, collector: Collector, config: Config) -> None:
        self._collector = collector
        self._config = config
        self._by_kind: dict[type, Callable[[Any, Peer, Reply], None]] = {
            protocol.Create: self._create,
            protocol.Define: self._define,
            protocol.Reserve: self._reserve,
            protocol.Add: self._add,
            protocol.Remove: self._remove,
            protocol.Ended: self._ended,
            protocol.Close: self._close,
            protocol.List: self._list,
            protocol.Show: self._show,
            protocol.Of: self._of,
            protocol.Status: self._status,
            protocol.Sync: self._sync,
        }

    def handle(self, request: protocol.Request, peer: Peer, reply: Reply) -> None:
        """Answer one request. Whatever happened before it was sent has been taken in, so that a new
        process is known.
        """
        if peer.foreign is None:
            self._by_kind[type(request)](request, peer, reply)
            return
        translated = self._translated(request, peer.foreign)
        try:
            self._by_kind[type(request)](translated, peer, _translating(reply, peer.foreign))
        except ElsaError as error:
            raise type(error)(
                f"{error} (pids are the host's)" if protocol.pids_of(request) else str(error)
            ) from None

    def _translated(self, request: protocol.Request, foreign: ForeignPids) -> protocol.Request:
        """The request of a client in another pid namespace, with our pids for its own."""
        named = protocol.pids_of(request)
        if not named:
            return request
        if not foreign.known:
            raise UsageError(
                "whose pids these are is not known: the client has ended, or is in a pid namespace"
                " that jobd does not see"
            )
        if isinstance(request, protocol.Define):
            raise UsageError(define_job.FOREIGN)
        starts = {pid: self._found_abroad(pid, foreign) for pid in named}
        # Whoever was there when it was asked has been heard of by now.
        ours = {
            pid: one.pid for pid, one in starts.items() if one is not None and self._is_living(one)
        }
        missing = [pid for pid in named if pid not in ours]
        if missing:
            raise UsageError(f"no such process in your pid namespace: {_some(missing)}")
        return protocol.with_pids(request, ours)

    def _found_abroad(self, theirs: int, foreign: ForeignPids) -> ProcSnapshot | None:
        """The process that they mean, as /proc shows it; the number is asked for twice, so that
        what lies in between is of one process.
        """
        ours = foreign.ours(theirs)
        found = (
            proc_scan.find(Procfs(), ours, self._processes.clocks.from_boottime_ns, with_uid=False)
            if ours is not None
            else None
        )
        return found if found is not None and foreign.ours(theirs) == ours else None

    def _is_living(self, found: ProcSnapshot) -> bool:
        life = self._processes.living.get(found.pid)
        return life is not None and same_start(life, found.start_ns)

    @property
    def _processes(self) -> Processes:
        return self._collector.processes

    def _create(self, request: protocol.Create, peer: Peer, reply: Reply) -> None:
        jobs = self._processes.jobs
        self._check_open_jobs(peer)
        self._check_ids()
        lives = self._own(request.pids, peer)
        self._check_stays(lives, peer.uid, peer)
        now_at_ns = clocks.realtime_ns()
        job = jobs.create(
            request.name,
            peer.uid,
            now_at_ns,
            closes_itself=request.closes_itself,
            tags=dict(request.tags),
        )
        self._collector.storing.job(job)
        for life in lives:
            if life.pid == request.launched:
                # Since its birth: until it was let go it only waited.
                self._processes.add(life, job, 0, How.LAUNCHED)
            else:
                self._enter(life, job)
        self._collector.storing.commit(
            reply, {"job": describe(job), "added": [life.pid for life in lives]}
        )

    def _check_open_jobs(self, peer: Peer) -> None:
        jobs, most = self._processes.jobs, self._config.jobs_per_user
        if peer.manages:
            return
        if len(jobs.of_owner(peer.uid)) >= most:
            raise UsageError(f"you have {most} open jobs already; close some: elsa-job close JOB")
        if len(jobs.open) >= OWNERS_OF_JOBS * most:
            raise RetryError(
                "all users together have too many open jobs; try again later, or ask root or the"
                " elsa group"
            )

    def _check_stays(self, lives: Iterable[Incarnation], owner_uid: int, peer: Peer) -> None:
        """Refuse to put processes into one more job of an owner: whatever they start from then on
        costs work for each of their jobs.
        """
        most, owned = self._config.jobs_per_process, self._processes.jobs.of_owner(owner_uid)
        for life in lives:
            if sum(job_id in owned for job_id in life.jobs) >= most:
                whose = "yours" if owner_uid == peer.uid else f"user {owner_uid}"
                raise UsageError(
                    f"process {life.pid} is in {most} open jobs of {whose} already, and may be in"
                    " no more (setting jobs_per_process); close one, or take it out of one:"
                    " elsa-job remove JOB PID"
                )
            if not peer.manages and len(life.jobs) >= OWNERS_OF_A_PROCESS * most:
                raise UsageError(
                    f"process {life.pid} is in too many open jobs; only root and the elsa group put"
                    " it into more"
                )

    def _check_ids(self) -> None:
        if self._processes.jobs.next_id >= self._collector.storing.job_ids_until:
            raise RetryError(
                "too many new jobs wait for the warehouse, which cannot be written; try again later"
            )

    def _define(self, request: protocol.Define, peer: Peer, reply: Reply) -> None:
        """Have a program of its own look through the warehouse, which may take long; it comes back
        with a `reserve`.
        """
        config, only_uid = self._config, None if peer.manages else peer.uid
        order = define_job.Order(
            str(config.db),
            str(config.socket),
            request.name,
            request.tags,
            peer.uid,
            only_uid,
            request.selection,
            request.dry_run,
            config.define_s,
        )
        self._collector.helpers.start(
            define_job.__name__, define_job.as_json(order), peer.uid, reply, config.define_s
        )

    def _reserve(self, request: protocol.Reserve, peer: Peer, reply: Reply) -> None:
        """A job that holds nobody who lives, so it is closed from the start; whoever may write the
        warehouse fills it there.
        """
        if (
            not peer.manages and peer.uid != os.geteuid()
        ):  # the program that jobd itself has started for a define
            raise PrivilegeError("only root and the elsa group reserve jobs; use define")
        self._check_ids()
        jobs, now_at_ns = self._processes.jobs, clocks.realtime_ns()
        job = jobs.create(request.name, request.owner_uid, now_at_ns, tags=dict(request.tags))
        self._collector.storing.job(job)
        jobs.close(job, now_at_ns, DEFINING)
        self._collector.storing.close(job)
        self._collector.storing.commit(reply, {"job": describe(job)})

    def _add(self, request: protocol.Add, peer: Peer, reply: Reply) -> None:
        job = self._job(request.job, peer)
        lives = self._own(request.pids, peer)
        if request.tree:
            # What others run below it is left out without a word, which would tell what they run.
            lives = [
                life for life in self._processes.with_descendants(lives) if _manages(peer, life)
            ]
        self._check_stays((life for life in lives if job.id not in life.jobs), job.owner_uid, peer)
        added = {life.pid: self._enter(life, job) for life in lives}
        answer = {
            "job": describe(job),
            "added": [pid for pid, new in added.items() if new],
            "already": [pid for pid, new in added.items() if not new],
        }
        self._collector.storing.commit(reply, answer)

    def _remove(self, request: protocol.Remove, peer: Peer, reply: Reply) -> None:
        job = self._job(request.job, peer)
        living = self._processes.living
        outside = [
            pid for pid in request.pids if pid not in living or job.id not in living[pid].jobs
        ]
        if outside:
            raise UsageError(f"not in job {job.id} ({job.name}): {_some(outside)}")
        lives = [living[pid] for pid in request.pids]
        for life in lives:
            self._leave(life, job)
        self._collector.storing.commit(
            reply, {"job": describe(job), "removed": [life.pid for life in lives]}
        )

    def _ended(self, request: protocol.Ended, peer: Peer, reply: Reply) -> None:
        """The job may be closed by now, so only its id names it."""
        if not isinstance(request.job, int):
            raise UsageError("name the job by its id")
        self._processes.report_status(request.job, request.status, _sees_of(peer))
        reply({})

    def _close(self, request: protocol.Close, peer: Peer, reply: Reply) -> None:
        job = self._job(request.job, peer)
        for life in self._processes.members(job):
            self._leave(life, job)
        self._processes.jobs.close(job, clocks.realtime_ns(), "request")
        self._collector.storing.close(job)
        self._collector.storing.commit(reply, {"job": describe(job)})

    def _enter(self, life: Incarnation, job: Job) -> bool:
        """Put a process into a job now, and note what it has used so far; False if it is in it
        already.
        """
        now_ns = clocks.monotonic_ns()
        if not self._processes.add(life, job, now_ns):
            return False
        self._note_counters(life, job, now_ns, edge=0)
        return True

    def _leave(self, life: Incarnation, job: Job) -> None:
        """Take a process out of a job now, and note what it has used so far."""
        since_ns = life.member_since(job.id)
        self._processes.remove(life, job, clocks.monotonic_ns())
        self._note_counters(life, job, since_ns, edge=1)

    def _note_counters(self, life: Incarnation, job: Job, since_ns: int, edge: int) -> None:
        counters = self._collector.counting.read(life, self._processes.clocks.from_boottime_ns)
        if counters is not None:
            self._processes.changes.counter_snapshots.append(
                (job.id, life.id, since_ns, edge, *counters)
            )

    def _list(self, request: protocol.List, peer: Peer, reply: Reply) -> None:
        jobs = [describe(job) for job in self._processes.jobs.of_owner(_sees_of(peer)).values()]
        ended = self._collector.ended_jobs(_sees_of(peer)) if request.all else []
        reply({"jobs": sorted([*jobs, *ended], key=lambda job: int(job["id"]))})

    def _show(self, request: protocol.Show, peer: Peer, reply: Reply) -> None:
        job = self._job(request.job, peer)
        pids = {life.id: life.pid for life in self._processes.living.values()}
        members = [
            {
                "pid": life.pid,
                "process_id": life.id,
                "ppid": pids.get(life.parent_id) if life.parent_id is not None else None,
                "comm": life.comm,
                "uid": life.uid,
                "since_at_ns": (
                    clocks.realtime_ns()
                    - clocks.monotonic_ns()
                    + (life.member_since(job.id) or life.start_ns)
                ),
                "from_birth": life.member_since(job.id) == 0,
                "ended_threads": (
                    {name: ended[name] for name in _IO}
                    if (ended := self._collector.counting.ended_threads(life.pid))
                    else None
                ),
            }
            for life in self._processes.members(job)[: request.limit]
        ]
        reply({"job": describe(job), "living": job.living, "members": members})

    def _of(self, request: protocol.Of, peer: Peer, reply: Reply) -> None:
        seen, life = (
            self._processes.jobs.of_owner(_sees_of(peer)),
            self._processes.living.get(request.pid),
        )
        jobs = (
            [describe(seen[job_id]) for job_id in life.jobs if job_id in seen]
            if life is not None
            else []
        )
        if not jobs:  # to belong to a job of his is enough to be looked at
            self._own([request.pid], peer)
        reply({"pid": request.pid, "jobs": jobs})

    def _status(self, _request: protocol.Status, peer: Peer, reply: Reply) -> None:
        status = self._collector.status()
        if not peer.manages:  # what tells of others is not told
            status |= dict.fromkeys(_OF_ALL) | {
                "jobs": len(self._processes.jobs.of_owner(peer.uid))
            }
        reply(status)

    def _sync(self, _request: protocol.Sync, _peer: Peer, reply: Reply) -> None:
        self._collector.sync(reply)

    def _job(self, key: int | str, peer: Peer) -> Job:
        """The open job that the peer means. Another's job is no job to those who may not see it."""
        jobs = self._processes.jobs
        return jobs.find(key, _sees_of(peer))

    def _own(self, pids: Iterable[int], peer: Peer) -> list[Incarnation]:
        """The processes that the peer may manage. To who does not manage all, another's process is
        the same as none.
        """
        living = self._processes.living
        refused = [pid for pid in pids if pid not in living or not _manages(peer, living[pid])]
        if refused and peer.manages:
            raise UsageError(f"no such process: {_some(refused)}")
        if refused:
            raise PrivilegeError(
                f"not your process: {_some(refused)}; only root and the elsa group manage those of"
                " others"
            )
        return [living[pid] for pid in pids]


# Lists of pids in replies.
_PIDS_TOLD = ("added", "already", "removed")


def _translating(reply: Reply, foreign: ForeignPids) -> Reply:
    """The reply for a client in another pid namespace: its own pids, null for what it does not see."""

    def translated(answer: Mapping[str, Any] | ElsaError) -> None:
        if not isinstance(answer, ElsaError):
            told: dict[str, Any] = {
                name: [foreign.theirs(pid) for pid in answer[name]]
                for name in _PIDS_TOLD
                if name in answer
            }
            if "members" in answer:
                told["members"] = [_member(member, foreign) for member in answer["members"]]
            if "pid" in answer:
                told["pid"] = foreign.theirs(answer["pid"])
            answer = {**answer, **told}
        reply(answer)

    return translated


def _member(member: Mapping[str, Any], foreign: ForeignPids) -> Mapping[str, Any]:
    ppid = member["ppid"]
    return {
        **member,
        "pid": foreign.theirs(member["pid"]),
        "ppid": None if ppid is None else foreign.theirs(ppid),
    }


def _manages(peer: Peer, life: Incarnation) -> bool:
    return peer.manages or life.uid == peer.uid


def _sees_of(peer: Peer) -> int | None:
    """Whose jobs the peer sees; None: everybody's."""
    return None if peer.manages else peer.uid


def _some(pids: list[int]) -> str:
    return ", ".join(map(str, pids[:10])) + (", ..." if len(pids) > 10 else "")


def describe(job: Job) -> dict[str, Any]:
    """A job as the protocol shows it."""
    return {
        "id": job.id,
        "name": job.name,
        "owner_uid": job.owner_uid,
        "created_at_ns": job.created_at_ns,
        "closed_at_ns": job.closed_at_ns,
        "closes_itself": job.closes_itself,
        "living": job.living,
        "tags": job.tags,
    }
