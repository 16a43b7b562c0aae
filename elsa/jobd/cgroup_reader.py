"""Control groups for the collector: reads the kernel's cgroup events, passes them in order to
elsa/state/automatic_jobs.py, and looks up what the events do not contain.

Without cgroup events (no privilege, an old kernel), /proc/PID/cgroup is read at each exec instead:
processes that end before are missed, and every membership is marked as inferred.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path

from elsa.decode import cgroups as decoding
from elsa.decode.cgroup_events import Decoder, Emptied, Lost, Record
from elsa.errors import DataError, ElsaError
from elsa.host import proc_scan
from elsa.jobd import stored_events
from elsa.jobd.group_counters import GroupCounterReader
from elsa.jobd.taskstats_reader import Recorder
from elsa.kernel import accounts, cgroups, clocks
from elsa.kernel.cgroup_events import open_unread
from elsa.kernel.cgroups import Hierarchy
from elsa.kernel.perf_events import PerfEvents
from elsa.kernel.procfs import Procfs
from elsa.names import maker_of_group
from elsa.state.automatic_jobs import AutomaticJobs
from elsa.state.codes import How
from elsa.state.incarnation import Incarnation, still_runs
from elsa.state.job_rules import AutomaticJob, Decision, Rules
from elsa.state.jobs import Job
from elsa.state.loss_counter import Losses
from elsa.state.process_table import Processes
from elsa.store.batch import GroupCounterRow
from elsa.units import MS_NS, SECOND_NS

log = logging.getLogger(__name__)

# How often CPUs that came online and exact counts of losses are looked at.
CHECK_NS = 10 * SECOND_NS
# How long in one call groups are read that were emptied; a group takes about 0.06 ms.
EMPTIED_NS = 5 * MS_NS


class CgroupSource:
    """The hierarchy to follow, and the kernel's events of it, open from the moment this exists."""

    def __init__(self) -> None:
        """Raises UnavailableError if there are no control groups at all."""
        self.hierarchy: Hierarchy = cgroups.find_hierarchy()
        self.events: PerfEvents | None = None
        self.refusal: ElsaError | None = None
        """Why there are no events."""
        try:
            opened = stored_events.take() or open_unread(self.hierarchy)
            self.events = PerfEvents(opened)
        except ElsaError as error:
            self.refusal = error

    def skip(self) -> None:
        """Drop the records that wait: what they report is about to be read from /proc."""
        if self.events is not None:
            self.events.drain()

    def close(self) -> None:
        """Stop listening."""
        if self.events is not None:
            self.events.close()


class CgroupReader:
    """What jobd knows of control groups."""

    def __init__(
        self,
        source: CgroupSource,
        procfs: Procfs,
        processes: Processes,
        rules: Rules,
        recorder: Recorder,
        store: Callable[[Job], None],
        store_group_counters: Callable[[GroupCounterRow], None],
        read_at_edge: Callable[[Incarnation, int], None],
    ) -> None:
        """`store` and `store_group_counters` take what is to be stored; `read_at_edge` reads the
        counters of a process that enters or leaves a job at a monotonic time.
        """
        self._hierarchy, self._events = source.hierarchy, source.events
        if source.refusal is not None:
            log.warning(
                "no cgroup events, so automatic jobs are inferred from /proc and miss processes"
                " that end within milliseconds: %s",
                source.refusal,
            )
        self._procfs = procfs
        self._processes = processes
        self._rules = rules
        self._recorder = recorder
        self.store = store
        self._read_at_edge = read_at_edge
        self._decoder = (
            Decoder(self._events.opened, self._events.names) if self._events is not None else None
        )
        self._automatic = AutomaticJobs(processes, self)
        self.apply: Callable[[Record], None] = self._automatic.apply
        """Take in one record."""
        self._group_counters = GroupCounterReader(
            self._hierarchy.mount, processes.jobs, store_group_counters
        )
        self._complete_ns = self._checked_ns = self._checked_before_ns = clocks.monotonic_ns()
        self._losses = Losses()
        self._incomplete = False
        self._emptied: dict[str, tuple[int, str | None]] = {}
        """By path: when a group was emptied, and its invocation then; it may be removed before the
        records of its processes are applied.
        """
        self._walked: dict[int, str] | None = None
        self._missing: tuple[int, list[int]] | None = None
        """When a walk through all groups did not show these any more. Records of them may wait."""
        self.unseen_cpus: list[int] = []
        """They came online, and their events cannot be read without the rights of the start."""
        self._unseen_since_ns: int | None = None
        """Since when there have been such CPUs, at the earliest: one gap reaches over all of that
        time.
        """

    # --- what the state asks of the host

    def decide(self, path: str) -> Decision:
        """What the rules say of a control group."""
        return self._rules.decide(path)

    def invocation(self, path: str) -> str | None:
        """The invocation of the systemd unit that has this group; None if it is not known."""
        now = cgroups.invocation_id(self._hierarchy.mount, path)
        return now if now is not None else self._emptied.get(path, (0, None))[1]

    def path_of(self, group_id: int) -> str | None:
        """The path of a control group that no event has named; None if it does not exist.

        One walk through all groups answers for all records that were drained together.
        """
        if self._walked is None:
            self._walked = dict(cgroups.walk(self._hierarchy.mount))
        return self._walked.get(group_id)

    def uid_of(self, owner: str) -> int | None:
        """The uid of a user; None if there is no such user."""
        try:
            return accounts.uid(owner)
        except KeyError:
            return None

    def login(self, life: Incarnation) -> int | None:
        """Uid of the login that a process descends from; None if it is not known."""
        return proc_scan.login_uid(self._procfs, life.pid)

    def arguments(self, life: Incarnation) -> Sequence[str]:
        """The command line of a living process; empty if it is not known."""
        return proc_scan.arguments(self._procfs, life.pid)

    def settled(self, job: Job, _description: AutomaticJob) -> None:
        """Store a job whose name, owner, kind or tags are known only now."""
        self.store(job)

    def opened(self, job: Job, _description: AutomaticJob, *, new_group: bool) -> None:
        """A job was made; whether its control group was made for it."""
        self._group_counters.open(job, new_group=new_group)

    def closing(self, job: Job) -> None:
        """No process will enter a job any more."""
        self._group_counters.close(job)

    @property
    def hierarchy(self) -> int:
        """The number of the hierarchy that is followed."""
        return self._hierarchy.number

    # --- events

    def fileno(self) -> int | None:
        """Readable when a process was moved or a group emptied; None if there are no events."""
        return self._events.fileno() if self._events is not None else None

    def records(self, until_ns: int) -> list[Record]:
        """The records up to this time, which the connector's events have reached, in order."""
        if self._events is None or self._decoder is None:
            return []
        taken = self._events.drain()
        self._walked = None
        try:
            records = self._decoder.decode(taken.chunks, until_ns)
        except DataError as error:
            log.error("cgroup events: %s", error)
            self._incomplete = True
            return []
        self._read_emptied(self._decoder.take_emptied())
        self._losses.skipped += sum(
            record.records for record in records if isinstance(record, Lost)
        )
        return records

    def _read_emptied(self, records: Iterable[Emptied]) -> None:
        """Read what may be gone in a moment, each group once. What does not fit into the time is
        not read: a user may fill and empty groups without end.
        """
        until_ns = clocks.monotonic_ns() + EMPTIED_NS
        for group_id, path in {record.cgroup_id: record.path for record in records}.items():
            now_ns = clocks.monotonic_ns()
            in_time = now_ns < until_ns
            self._group_counters.emptied(group_id, path, in_time=in_time)
            if in_time:
                self._emptied[path] = now_ns, cgroups.invocation_id(self._hierarchy.mount, path)

    def hold(self) -> None:
        """Empty the rings, and read the counters of groups that were emptied; the other records are
        kept until `records` is called for their time.
        """
        self.records(0)

    def retry(self, now_ns: int) -> None:
        """After all events up to `now_ns`: apply the records that waited for a fork."""
        self._automatic.retry(now_ns)

    def settle(self, now_ns: int) -> None:
        """After the records up to `now_ns`: read the counters of processes that were moved. If
        records were lost, read the groups of all processes.
        """
        self.retry(now_ns)
        if self._missing is not None and now_ns >= self._missing[0]:
            self._forget_missing()
        self._emptied = {path: read for path, read in self._emptied.items() if read[0] > now_ns}
        self._note_counters()
        _, lost = self._losses.take_new()
        if lost or self._incomplete:
            self._repair(now_ns, lost)
        else:
            self._complete_ns = now_ns
        self._group_counters.tick(now_ns)

    def _note_counters(self) -> None:
        """Store the counters of processes that changed their job."""
        moves, self._automatic.moves = self._automatic.moves, []
        for life, time_ns, *_ in moves:
            self._read_at_edge(life, time_ns)

    def _repair(self, now_ns: int, lost: int) -> None:
        self._incomplete = False
        self._group_counters.forget_emptied()
        self._scan(How.INFERRED)
        since_ns = self._complete_ns if self._unseen_since_ns is None else self._unseen_since_ns
        self._recorder.gap("cgroup", since_ns, clocks.monotonic_ns(), lost or None)
        self._complete_ns = now_ns
        if not self.unseen_cpus:
            self._unseen_since_ns = None

    # --- /proc

    def start(self) -> None:
        """Go on with the stored jobs of the groups that exist, and put every process into its own.
        To be called when the processes are known.
        """
        self._automatic.resume(cgroups.walk(self._hierarchy.mount))
        self._group_counters.resume()
        self._scan(How.PRESENT)

    def rescan(self) -> None:
        """Connector events were lost: read the group of every process."""
        self._scan(How.INFERRED)

    def _scan(self, how: How) -> None:
        groups = {path: group_id for group_id, path in cgroups.walk(self._hierarchy.mount)}
        self._note_missing(set(groups.values()))
        by_start = sorted(self._processes.living.values(), key=lambda life: life.start_ns)
        for life in by_start:
            self._find(life, groups.get, how)

    def look(self, life: Incarnation, program: str | None) -> None:
        """Without cgroup events: a process has executed this program; read its group."""
        if self._events is None:
            self._find(life, self._inode, How.INFERRED)
            if program is not None:
                self._automatic.executed(life, program, clocks.monotonic_ns())

    def launched(self, job: Job, life: Incarnation) -> None:
        """A job was made for a command that waits. If `elsa run` has put it into a group of its
        own, the group's counters are the job's.
        """
        path = self._path_of_process(life.pid)
        if path is not None and maker_of_group(path.rpartition("/")[2]) is not None:
            job.cgroup, job.cgroup_inode = path, self._inode(path)
            self._group_counters.open(job, new_group=False)

    def counts_memory(self, job: Job) -> bool:
        """Whether the group of a job counts its greatest memory."""
        return self._group_counters.counts_memory(job)

    def _path_of_process(self, pid: int) -> str | None:
        data = self._procfs.read_cgroup(pid)
        try:
            return None if data is None else decoding.path_of(data, self._hierarchy.number)
        except DataError:
            return None

    def _find(self, life: Incarnation, id_of: Callable[[str], int | None], how: How) -> None:
        now_ns = clocks.monotonic_ns()
        path = self._path_of_process(life.pid)
        group_id = id_of(path) if path is not None else None
        if group_id is None:
            return
        # A zombie keeps its group. One that runs after `now_ns` had not ended then.
        if life.group == group_id or self._still_runs(life):
            self._automatic.find(life, group_id, now_ns, how)

    def _still_runs(self, life: Incarnation) -> bool:
        monotonic = self._processes.clocks.from_boottime_ns
        return still_runs(life, proc_scan.find(self._procfs, life.pid, monotonic, with_uid=False))

    def _inode(self, path: str) -> int | None:
        try:
            return Path(f"{self._hierarchy.mount}{path}").stat().st_ino
        except OSError:
            return None

    def _note_missing(self, existing: Container[int]) -> None:
        self._missing = clocks.monotonic_ns(), self._automatic.missing(existing)

    def _forget_missing(self) -> None:
        """Of these groups no record waits any more."""
        if self._missing is not None:
            for group_id in self._missing[1]:
                self._automatic.remove_group(group_id, 0)
            self._missing = None

    # --- from time to time

    def finish(self) -> None:
        """Before jobd stops: read the counters of all groups that are jobs."""
        self._group_counters.finish()

    def check(self, now_ns: int) -> None:
        """Notice CPUs without events, and losses; without events, also removed groups."""
        if now_ns - self._checked_ns < CHECK_NS:
            return
        since_ns, self._checked_before_ns = self._checked_before_ns, self._checked_ns
        self._checked_ns = now_ns
        self._automatic.forget_closed()
        if self._events is None:
            self._note_missing(dict(cgroups.walk(self._hierarchy.mount)))
            self._forget_missing()
            return
        self._losses.counted += self._events.lost() or 0
        opened, unseen = self._events.follow_cpus()
        if unseen and unseen != self.unseen_cpus:
            log.error("CPUs %s came online and their cgroup events cannot be read", unseen)
        if opened or unseen or self.unseen_cpus:
            self._incomplete = True
            # When the CPU came is not known; if it went first, the last check did not notice.
            self._complete_ns = min(self._complete_ns, since_ns)
        self.unseen_cpus = unseen
        if unseen and self._unseen_since_ns is None:
            self._unseen_since_ns = self._complete_ns
