"""What jobd does for a request on the control socket: who may do what, and the answer.
docs/protocol.md has the details.

Root and the elsa group manage everything; other users may create jobs, add their own processes to
their own jobs, and see these. A change is answered when it is committed, so a job whose id a client
has got is not lost whatever happens next.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

from elsa.config import Config
from elsa.control import operations
from elsa.control.server import Answer, Peer, Reply
from elsa.errors import ElsaError, PrivilegeError, RetryError, UsageError
from elsa.host import proc_scan
from elsa.jobd import define_job, send_own_records
from elsa.jobd.batcher import Batcher
from elsa.jobd.cgroup_reader import CgroupReader
from elsa.jobd.counter_reader import CounterReader
from elsa.jobd.helper_programs import HelperPrograms
from elsa.jobd.interval_reader import IntervalReader
from elsa.kernel import clocks
from elsa.kernel.pid_namespace import ForeignPids
from elsa.kernel.procfs import Procfs
from elsa.state.codes import How
from elsa.state.incarnation import Incarnation, ProcSnapshot, same_start
from elsa.state.jobs import Job
from elsa.state.process_table import Processes
from elsa.store.defined_jobs import DEFINING

# A person may have many uids (subuids). So there are limits for all users together, managers not
# counted: this many times the limit of a user, for the jobs of a process and for open jobs.
OWNERS_OF_A_PROCESS = 4
OWNERS_OF_JOBS = 20
# Counters that /proc loses when a thread ends.
_IO = ("read_chars", "write_chars", "read_bytes", "write_bytes")
# Fields of the status that are about all users together.
_OF_ALL = ("heard_at_ns", "events", "lost", "gaps", "backlog", "processes", "withheld")


class Daemon(Protocol):
    """The parts of the collector that requests use."""

    processes: Processes
    batcher: Batcher
    counter_reader: CounterReader
    intervals: IntervalReader
    helpers: HelperPrograms
    groups: CgroupReader | None

    def sync(self, reply: Reply) -> None:
        """Answer when all that happened so far is in the warehouse."""

    def status(self) -> dict[str, Any]:
        """The state of the daemon."""

    def ended_jobs(self, uid: int | None, kinds: Collection[str]) -> list[dict[str, Any]]:
        """The newest jobs that have ended, of a user or of all, and of some kinds."""


class RequestHandler:
    """Answers requests; `handle` is what ControlServer calls."""

    def __init__(self, collector: Daemon, config: Config) -> None:
        self._collector = collector
        self._config = config
        self._by_kind: dict[type, Callable[[Any, Peer, Reply], None]] = {
            operations.Create: self._create,
            operations.Define: self._define,
            operations.Reserve: self._reserve,
            operations.Add: self._add,
            operations.Remove: self._remove,
            operations.Ended: self._ended,
            operations.Close: self._close,
            operations.List: self._list,
            operations.Show: self._show,
            operations.Of: self._of,
            operations.Own: self._own_records,
            operations.Status: self._status,
            operations.Sync: self._sync,
        }

    def handle(self, request: operations.Request, peer: Peer, reply: Reply) -> None:
        """Answer a request. All events before it have been read, so new processes are known."""
        # The pids on record are the host's, whoever reads them.
        if peer.foreign is None or isinstance(request, operations.Own):
            self._by_kind[type(request)](request, peer, reply)
            return
        translated = self._translated(request, peer.foreign)
        try:
            self._by_kind[type(request)](translated, peer, _translating(reply, peer.foreign))
        except ElsaError as error:
            note = " (pids are the host's)" if operations.pids_of(request) else ""
            raise type(error)(f"{error}{note}") from None

    def _translated(self, request: operations.Request, foreign: ForeignPids) -> operations.Request:
        """The request of a client in another pid namespace, with its pids translated to ours."""
        named = operations.pids_of(request)
        if not named:
            return request
        if not foreign.known:
            raise UsageError(
                "these pids cannot be translated: the client has ended, or is in a pid namespace"
                " that jobd does not see"
            )
        if isinstance(request, operations.Define):
            raise UsageError(define_job.FOREIGN)
        shown = {pid: self._find_foreign(pid, foreign) for pid in named}
        # The forks of all processes that existed when the request was sent have been read.
        ours = {
            pid: process.pid
            for pid, process in shown.items()
            if process is not None and self._is_living(process)
        }
        missing = [pid for pid in named if pid not in ours]
        if missing:
            raise UsageError(f"no such process in your pid namespace: {_some(missing)}")
        return operations.with_pids(request, ours)

    def _find_foreign(self, theirs: int, foreign: ForeignPids) -> ProcSnapshot | None:
        """The process with a pid of another namespace, as /proc shows it. The pid is translated
        twice, so that the process in between is certain to be the one that is meant.
        """
        ours = foreign.ours(theirs)
        if ours is None:
            return None
        monotonic = self._processes.clocks.from_boottime_ns
        shown = proc_scan.find(Procfs(), ours, monotonic, with_uid=False)
        return shown if foreign.ours(theirs) == ours else None

    def _is_living(self, shown: ProcSnapshot) -> bool:
        life = self._processes.living.get(shown.pid)
        return life is not None and same_start(life, shown.start_ns)

    @property
    def _processes(self) -> Processes:
        return self._collector.processes

    def _create(self, request: operations.Create, peer: Peer, reply: Reply) -> None:
        jobs = self._processes.jobs
        self._check_open_jobs(peer)
        self._check_ids()
        lives = self._own(request.pids, peer)
        self._check_memberships(lives, peer.uid, peer)
        now_at_ns = clocks.realtime_ns()
        job = jobs.create(
            request.name,
            peer.uid,
            now_at_ns,
            closes_itself=request.closes_itself,
            tags=dict(request.tags),
        )
        groups = self._collector.groups
        for life in lives:
            if life.pid == request.launched and groups is not None:
                groups.launched(job, life)
        self._collector.batcher.job(job)
        for life in lives:
            if life.pid == request.launched:
                # Since its start: until now it has only waited.
                self._processes.add(life, job, 0, How.LAUNCHED)
            else:
                self._enter(life, job)
        self._collector.batcher.commit(
            reply, {"job": describe(job), "added": [life.pid for life in lives]}
        )

    def _check_open_jobs(self, peer: Peer) -> None:
        jobs, most = self._processes.jobs, self._config.jobs_per_user
        if peer.manages:
            return
        if _manual(jobs.of_owner(peer.uid).values()) >= most:
            raise UsageError(f"you have {most} open jobs already; close some: elsa-job close JOB")
        if _manual(jobs.open.values()) >= OWNERS_OF_JOBS * most:
            raise RetryError(
                "all users together have too many open jobs; try again later, or ask root or the"
                " elsa group"
            )

    def _check_memberships(self, lives: Iterable[Incarnation], owner_uid: int, peer: Peer) -> None:
        """Refuse to add processes to one more job of an owner if they are in too many: each process
        that they start from then on costs work for each of their jobs.
        """
        most, owned = self._config.jobs_per_process, self._processes.jobs.of_owner(owner_uid)
        for life in lives:
            jobs = [job_id for job_id in life.jobs if job_id != life.automatic]
            if sum(job_id in owned for job_id in jobs) >= most:
                whose = "yours" if owner_uid == peer.uid else f"user {owner_uid}"
                raise UsageError(
                    f"process {life.pid} is in {most} open jobs of {whose} already, the most that"
                    " jobs_per_process allows; close a job, or remove the process from one:"
                    " elsa-job remove JOB PID"
                )
            if not peer.manages and len(jobs) >= OWNERS_OF_A_PROCESS * most:
                raise UsageError(
                    f"process {life.pid} is in too many open jobs; only root and the elsa group may"
                    " add it to more"
                )

    def _check_ids(self) -> None:
        if self._processes.jobs.next_id >= self._collector.batcher.job_ids_until:
            raise RetryError(
                "too many new jobs wait because the warehouse cannot be written; try again later"
            )

    def _define(self, request: operations.Define, peer: Peer, reply: Reply) -> None:
        """Start a program that searches the warehouse, which may take long; it then sends a
        `reserve`.
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

    def _own_records(self, request: operations.Own, peer: Peer, reply: Reply) -> None:
        """Start a program that sends the client what it may see of the warehouse."""
        if not isinstance(reply, Answer):
            raise UsageError("only a client on the socket can be sent its records")
        config = self._config
        order = send_own_records.order(config.db, config.socket, peer.uid, request.since_ns)
        self._collector.helpers.start_with_connection(
            send_own_records.__name__, order, peer.uid, reply, config.define_s
        )

    def _reserve(self, request: operations.Reserve, peer: Peer, reply: Reply) -> None:
        """Make a job without living members, which is closed from the start; a program that may
        write the warehouse adds its members there.
        """
        # The program that jobd starts for a define runs as jobd's user.
        if not peer.manages and peer.uid != os.geteuid():
            raise PrivilegeError("only root and the elsa group may reserve jobs; use define")
        self._check_ids()
        jobs, now_at_ns = self._processes.jobs, clocks.realtime_ns()
        job = jobs.create(request.name, request.owner_uid, now_at_ns, tags=dict(request.tags))
        self._collector.batcher.job(job)
        jobs.close(job, now_at_ns, DEFINING)
        self._collector.batcher.close(job)
        self._collector.batcher.commit(reply, {"job": describe(job)})

    def _add(self, request: operations.Add, peer: Peer, reply: Reply) -> None:
        job = self._manual_job(request.job, peer)
        lives = self._own(request.pids, peer)
        if request.tree:
            # Descendants of other users are left out without an error: it would reveal them.
            lives = [
                life for life in self._processes.with_descendants(lives) if _manages(peer, life)
            ]
        entering = (life for life in lives if job.id not in life.jobs)
        self._check_memberships(entering, job.owner_uid, peer)
        added = {life.pid: self._enter(life, job, tree=request.tree) for life in lives}
        answer = {
            "job": describe(job),
            "added": [pid for pid, new in added.items() if new],
            "already": [pid for pid, new in added.items() if not new],
        }
        self._collector.batcher.commit(reply, answer)

    def _remove(self, request: operations.Remove, peer: Peer, reply: Reply) -> None:
        job = self._manual_job(request.job, peer)
        living = self._processes.living
        not_members = [
            pid for pid in request.pids if pid not in living or job.id not in living[pid].jobs
        ]
        if not_members:
            raise UsageError(f"not in job {job.id} ({job.name}): {_some(not_members)}")
        lives = [living[pid] for pid in request.pids]
        for life in lives:
            self._leave(life, job.id)
        self._collector.batcher.commit(
            reply, {"job": describe(job), "removed": [life.pid for life in lives]}
        )

    def _ended(self, request: operations.Ended, peer: Peer, reply: Reply) -> None:
        """Record the wait status of a job's command. The job may be closed already, so it has to be
        named by its id.
        """
        if not isinstance(request.job, int):
            raise UsageError("name the job by its id")
        self._processes.report_status(request.job, request.status, _sees_of(peer))
        reply({})

    def _close(self, request: operations.Close, peer: Peer, reply: Reply) -> None:
        job = self._manual_job(request.job, peer)
        for life in self._processes.members(job):
            self._leave(life, job.id)
        self._processes.jobs.close(job, clocks.realtime_ns(), "request")
        self._collector.batcher.close(job)
        self._collector.batcher.commit(reply, {"job": describe(job)})

    def _enter(self, life: Incarnation, job: Job, *, tree: bool = False) -> bool:
        """Add a process to a job now, and read its counters; False if it is a member already."""
        now_ns = clocks.monotonic_ns()
        if not self._processes.add(life, job, now_ns, tree=tree):
            return False
        self._collector.intervals.edge(life, now_ns)
        return True

    def _leave(self, life: Incarnation, job_id: int) -> None:
        """Remove a process from a job now, and read its counters."""
        now_ns = clocks.monotonic_ns()
        if self._processes.memberships.remove(life, job_id, now_ns):
            self._collector.intervals.edge(life, now_ns)

    def follow(self) -> None:
        """Events have been read: processes that existed when a request was carried out, and were
        not known then, enter jobs or leave them as their parents have.
        """
        memberships = self._processes.memberships
        if not (memberships.late_entries or memberships.late_leaves):
            return
        entries, memberships.late_entries = memberships.late_entries, []
        leaves, memberships.late_leaves = memberships.late_leaves, []
        for life, job_id in entries:
            job = self._processes.jobs.open.get(job_id)
            if job is not None and life.end_source is None:
                self._enter(life, job, tree=True)
        for life, job_id in leaves:
            if life.end_source is None:
                self._leave(life, job_id)

    def _list(self, request: operations.List, peer: Peer, reply: Reply) -> None:
        kinds = request.chosen_kinds
        jobs = [
            describe(job)
            for job in self._processes.jobs.of_owner(_sees_of(peer)).values()
            if job.kind in kinds
        ]
        ended = self._collector.ended_jobs(_sees_of(peer), kinds) if request.all else []
        reply({"jobs": sorted([*jobs, *ended], key=lambda job: int(job["id"]))})

    def _show(self, request: operations.Show, peer: Peer, reply: Reply) -> None:
        job = self._job(request.job, peer)
        pids = {life.id: life.pid for life in self._processes.living.values()}
        members = self._processes.members(job)[: request.limit]
        described = [self._describe_member(life, job, pids) for life in members]
        reply({"job": describe(job), "living": job.living, "members": described})

    def _describe_member(
        self, life: Incarnation, job: Job, pids: Mapping[int, int]
    ) -> dict[str, Any]:
        """A member as the protocol shows it; `pids` are those of all living processes, by id."""
        since_ns = life.member_since(job.id)
        offset_ns = clocks.realtime_ns() - clocks.monotonic_ns()
        ended = self._collector.counter_reader.ended_threads(life.pid)
        return {
            "pid": life.pid,
            "process_id": life.id,
            "ppid": pids.get(life.parent_id) if life.parent_id is not None else None,
            "comm": life.comm,
            "uid": life.uid,
            "since_at_ns": offset_ns + (since_ns or life.start_ns),
            "from_birth": since_ns == 0,
            "ended_threads": {name: ended[name] for name in _IO} if ended else None,
        }

    def _of(self, request: operations.Of, peer: Peer, reply: Reply) -> None:
        visible = self._processes.jobs.of_owner(_sees_of(peer))
        life = self._processes.living.get(request.pid)
        job_ids = life.jobs if life is not None else ()
        jobs = [describe(visible[job_id]) for job_id in job_ids if job_id in visible]
        if not jobs:  # a user may ask about any process in a job of his, else only about his own
            self._own([request.pid], peer)
        reply({"pid": request.pid, "jobs": jobs})

    def _status(self, _request: operations.Status, peer: Peer, reply: Reply) -> None:
        status = self._collector.status()
        if not peer.manages:  # nothing about other users
            own_jobs = len(self._processes.jobs.of_owner(peer.uid))
            status |= dict.fromkeys(_OF_ALL) | {"jobs": own_jobs}
        reply(status)

    def _sync(self, _request: operations.Sync, _peer: Peer, reply: Reply) -> None:
        self._collector.sync(reply)

    def _job(self, key: int | str, peer: Peer) -> Job:
        """The open job that the peer names. Jobs that the peer may not see do not exist for it."""
        return self._processes.jobs.find(key, _sees_of(peer))

    def _manual_job(self, key: int | str, peer: Peer) -> Job:
        """The same for a request that changes the job, which no request may do to an automatic job:
        its processes are those of its control group.
        """
        job = self._job(key, peer)
        if job.automatic:
            raise UsageError(
                f"job {job.id} ({job.name}) is automatic: "
                + (
                    "it ends with its last process"
                    if job.is_run
                    else "it ends with its control group"
                )
            )
        return job

    def _own(self, pids: Iterable[int], peer: Peer) -> list[Incarnation]:
        """The processes with these pids, which the peer has to be allowed to manage. The error does
        not reveal to a user whether another user's process exists.
        """
        living = self._processes.living
        refused = [pid for pid in pids if pid not in living or not _manages(peer, living[pid])]
        if refused and peer.manages:
            raise UsageError(f"no such process: {_some(refused)}")
        if refused:
            raise PrivilegeError(
                f"not your process: {_some(refused)}; only root and the elsa group may manage"
                " processes of others"
            )
        return [living[pid] for pid in pids]


# Lists of pids in replies.
_PID_LISTS = ("added", "already", "removed")


def _translating(reply: Reply, foreign: ForeignPids) -> Reply:
    """The reply for a client in another pid namespace: with its own pids, and null for processes
    that it does not see.
    """

    def translated(answer: Mapping[str, Any] | ElsaError) -> None:
        if isinstance(answer, ElsaError):
            reply(answer)
            return
        fields: dict[str, Any] = {
            name: [foreign.theirs(pid) for pid in answer[name]]
            for name in _PID_LISTS
            if name in answer
        }
        if "members" in answer:
            fields["members"] = [_member(member, foreign) for member in answer["members"]]
        if "pid" in answer:
            fields["pid"] = foreign.theirs(answer["pid"])
        reply({**answer, **fields})

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
    """The user whose jobs the peer may see; None: all users."""
    return None if peer.manages else peer.uid


def _some(pids: list[int]) -> str:
    return ", ".join(map(str, pids[:10])) + (", ..." if len(pids) > 10 else "")


def _manual(jobs: Iterable[Job]) -> int:
    """How many of these jobs were made by a request."""
    return sum(not job.automatic for job in jobs)


def describe(job: Job) -> dict[str, Any]:
    """A job as the protocol shows it."""
    return {
        "id": job.id,
        "name": job.name,
        "kind": job.kind,
        "owner_uid": job.owner_uid,
        "created_at_ns": job.created_at_ns,
        "closed_at_ns": job.closed_at_ns,
        "closes_itself": job.closes_itself,
        "living": job.living,
        "tags": job.tags,
    }
