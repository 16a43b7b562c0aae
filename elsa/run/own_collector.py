"""A collector for one command: it receives the kernel's events as long as the command and its
descendants run, and changes nothing on the host.

It reads the same sockets as jobd, without warehouse and control socket. A thread reads them while
the command runs, the caller itself afterwards.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from elsa.config import Config
from elsa.errors import ElsaError, PrivilegeError, UnavailableError
from elsa.host import canaries
from elsa.jobd.event_reader import EventReader
from elsa.jobd.job_memory_reader import JobMemoryReader
from elsa.kernel import clocks
from elsa.kernel.connector import Connector
from elsa.kernel.procfs import Procfs
from elsa.kernel.taskstats import TaskstatsSocket
from elsa.matching.usage_matcher import USAGE_COLUMNS
from elsa.run import live_usage
from elsa.run.usage_sums import TASKSTATS_COLUMNS, JobPeak, JobTotals, Member, TaskstatsSum, Usage
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import How, MemoryBy
from elsa.state.incarnation import Incarnation
from elsa.state.jobs import Jobs
from elsa.state.process_table import Processes
from elsa.units import MS_NS, SECOND_NS

HOUSEKEEPING_NS = 5 * SECOND_NS
# How often the memory of all members is read in the end.
MEMORY_NS = 60 * SECOND_NS
# How often the queue is emptied in one go: a storm may fill it as fast.
DRAIN_TURNS = 10
# How long to wait at the end for statistics that may have been lost; and for a host that is so busy
# that this process hardly runs.
PATIENCE_NS = 3 * SECOND_NS
STARVED_NS = 20 * SECOND_NS
# From a row for the table `usage`.
_PROCESS_ID = USAGE_COLUMNS.index("process_id")
_counters = itemgetter(*map(USAGE_COLUMNS.index, TASKSTATS_COLUMNS))


class Memory:
    """Counts the losses that are reported, and keeps nothing."""

    def __init__(self) -> None:
        self.events = self.lost = self.gaps = self.heard_ns = 0

    def gap(
        self, kind: str, from_ns: int, to_ns: int, lost: int | None, note: str | None = None
    ) -> None:
        """A loss."""
        self.gaps += 1
        self.lost += lost or 1

    def clock(self, clock: Clock) -> None:
        """Nothing depends on real time here."""


class OwnCollector:
    """Accounts one command."""

    job: tuple[int, str] | None = None
    notes: Sequence[str] = ()

    def __init__(self, config: Config) -> None:
        self.ours_ns = 0
        """CPU time of the command's process that was our own: before it became the command."""
        self._connector, self._taskstats = _sockets(config)
        self._memory = Memory()
        self._processes = Processes(Jobs(), clocks=Clocks())
        self._reader = EventReader(
            self._connector, self._taskstats, Procfs(), self._processes, self._memory, 1, None
        )
        self._reader.check_clock()
        self._job = self._processes.jobs.create("run", 0, 0)
        self._root: Incarnation | None = None
        self._unreported: dict[int, Incarnation] = {}
        self._used: dict[int, TaskstatsSum] = {}
        self._totals = JobTotals(clocks.tick_ns())
        self._memory_reader = JobMemoryReader(
            self._processes, Procfs(), lambda _job: False, MEMORY_NS, clocks.monotonic_ns()
        )
        self._kept_house_ns = 0
        self._pause_s = config.drain_ms * MS_NS / SECOND_NS
        self._turning = threading.RLock()
        """The thread, the caller and who watches the budget read the sockets one after another."""
        self._over = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)

    # --- while the command runs

    def register(self, pid: int) -> None:
        """Make the command's process, which waits, a member; its fork event was received."""
        self._turn()
        life = self._processes.living.get(pid)
        if life is None:
            raise UnavailableError(
                "the fork event of the command was not received: is this host out of memory for"
                " events?"
            )
        self._root = life
        self._processes.add(life, self._job, 0, How.LAUNCHED)
        self._unreported[life.id] = life
        self._listener.start()

    def ended(self, status: int) -> None:
        """The wait status is in the cost report; nothing else needs it."""

    def _listen(self) -> None:
        while not self._over.wait(self._pause_s):
            self._turn()

    def _turn(self) -> None:
        """Process the events that came, and add up the members that have ended."""
        with self._turning:
            self._read()

    def _read(self) -> None:
        for _ in range(DRAIN_TURNS):
            if self._reader.drain():
                break
        now_ns = clocks.monotonic_ns()
        self._reader.tick(now_ns)
        if now_ns - self._kept_house_ns > HOUSEKEEPING_NS:
            self._kept_house_ns = now_ns
            self._reader.drop_overdue(now_ns)
        self._memory_reader.tick(now_ns, wait=False)
        changes = self._processes.take_changes()
        self._unreported.update(
            (life.id, life) for life in changes.started if self._job.id in life.jobs
        )
        for row in changes.usage:
            process_id: Any = row[_PROCESS_ID]
            if process_id in self._unreported:
                self._used[process_id] = TaskstatsSum(*_counters(row))
        for process_id in list(self._used):
            if self._unreported[process_id].elapsed_ns is not None:
                self._count(self._unreported.pop(process_id), self._used.pop(process_id))

    def _count(self, life: Incarnation, used: TaskstatsSum | None) -> None:
        root = self._root
        assert root is not None  # noqa: S101
        if life is root and used is not None:
            used.subtract_cpu(self.ours_ns)
        self._totals.add(Member(life.comm, _end_ns(life), used), _end_ns(root))

    # --- afterwards

    def _take_over(self) -> None:
        """Stop the thread; from here on the caller reads the sockets."""
        self._over.set()
        if self._listener.is_alive():
            self._listener.join()
        self._turn()

    def wait(self, enough: Callable[[], bool]) -> None:
        """Wait until the last descendant has ended, or `enough`."""
        self._take_over()
        while self._job.living and not enough():
            time.sleep(self._pause_s)
            self._turn()

    def totals(self) -> JobTotals:
        """All members, those that still run too; to be called once."""
        self._take_over()
        started_ns = clocks.monotonic_ns()
        while not (self._reader.settled and self._all_reported()):
            if (
                self._reader.taskstats_ns > started_ns + PATIENCE_NS
                or clocks.monotonic_ns() > started_ns + STARVED_NS
            ):
                break
            time.sleep(self._pause_s)
            self._turn()
        for life in self._unreported.values():
            self._count(life, None)
        self._unreported.clear()
        if self._job.memory_peak is not None:
            kib, by = self._job.memory_peak
            self._totals.whole = JobPeak(kib, f"sampled {MemoryBy(by).name.lower()}")
        return self._totals

    def _all_reported(self) -> bool:
        return all(life.elapsed_ns is None for life in self._unreported.values())

    def members(self) -> Sequence[Mapping[str, Any]]:
        """The members that still run, after all events that came."""
        with self._turning:
            self._turn()
            return self.living()

    def used_now(self) -> Usage:
        """What the members have used so far, or more: what is not known of some is left out."""
        with self._turning:
            members = self.members()
            offsets = clocks.offsets()
            ended = self._totals.so_far()
        running = [live_usage.running(Procfs(), member, offsets) for member in members]
        return ended.plus(live_usage.total(running))

    def living(self) -> Sequence[Mapping[str, Any]]:
        """The members that still run, as `elsa.run.live_usage.running` takes them."""
        realtime_ns = clocks.offsets().realtime_ns
        return [
            {
                "pid": life.pid,
                "since_at_ns": life.start_ns + realtime_ns,
                "from_birth": True,
                "ended_threads": self._reader.ended_threads(life.pid),
            }
            for life in self._processes.living.values()
            if self._job.id in life.jobs
        ]

    def lost(self) -> int:
        """How many events and statistics were lost, or more."""
        return self._memory.lost

    def close(self) -> None:
        """Close the sockets."""
        self._over.set()
        if self._listener.is_alive():
            self._listener.join()
        self._connector.close()
        self._taskstats.close()


def _end_ns(life: Incarnation) -> int | None:
    return None if life.elapsed_ns is None else life.start_ns + life.elapsed_ns


def _sockets(config: Config) -> tuple[Connector, TaskstatsSocket]:
    """Both sockets; or the error that says what to do in this situation."""
    hint = f"no jobd answers on {config.socket}, and without one"
    try:
        taskstats = canaries.proven_taskstats()
        try:
            return Connector(config.receive_buffer_mib << 20), taskstats
        except BaseException:
            taskstats.close()
            raise
    except PrivilegeError:
        raise PrivilegeError(
            f"{hint} only root can account a command; start one (elsa jobd), or run this as root"
        ) from None
    except ElsaError as error:
        raise UnavailableError(f"{hint} this does not work: {error}") from None
