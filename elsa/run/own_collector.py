"""The collector within one command: hears the kernel for as long as a command and its descendants
live, and changes nothing on the host.

The same ears as jobd's, without warehouse and control socket: a thread listens while the command
runs, the caller itself afterwards.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from elsa.config import Config
from elsa.errors import ElsaError, PrivilegeError, UnavailableError
from elsa.host import checks
from elsa.jobd.batcher import MS, SECOND
from elsa.jobd.event_reader import Hearing
from elsa.kernel import clocks
from elsa.kernel.connector import Connector
from elsa.kernel.procfs import Procfs
from elsa.kernel.taskstats import TaskstatsSocket
from elsa.run.usage_sums import Member, Tally, Used
from elsa.state.clock import Clock, Clocks
from elsa.state.codes import How
from elsa.state.incarnation import Incarnation
from elsa.state.jobs import Jobs
from elsa.state.process_table import Processes
from elsa.store import schema

HOUSEKEEPING_NS = 5 * SECOND
# How often the queue is emptied in one go: a storm may fill it as fast.
DRAIN_TURNS = 10
# How long what was lost may take to be concluded when all is over; and a starved host to let us
# hear what was said by then.
PATIENCE_NS = 3 * SECOND
STARVED_NS = 20 * SECOND
_PLACES = [list(schema.usage.columns.keys()).index(name) for name in Used._fields]


class Memory:
    """What ears tell of losses is counted, and nothing kept."""

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
        """CPU time of the command that was ours: before it was let go."""
        self._connector, self._taskstats = _ears(config)
        self._memory = Memory()
        self._processes = Processes(Jobs(), clocks=Clocks())
        self._hearing = Hearing(
            self._connector, self._taskstats, Procfs(), self._processes, self._memory, 1, None
        )
        self._hearing.look_at_clock()
        self._job = self._processes.jobs.create("run", 0, 0)
        self._root: Incarnation | None = None
        self._untold: dict[int, Incarnation] = {}
        self._used: dict[int, Used] = {}
        self._tally = Tally(clocks.tick_ns())
        self._kept_house_ns = 0
        self._pause_s = config.drain_ms * MS / SECOND
        self._over = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)

    # --- while the command runs
    # -------------------------------------------------------------------------------------------------

    def register(self, pid: int) -> None:
        """Called with the pid of the command, which waits to be let go: its fork has been heard."""
        self._turn()
        life = self._processes.living.get(pid)
        if life is None:
            raise UnavailableError(
                "the fork of the command was not heard: is this host out of memory for events?"
            )
        self._root = life
        self._processes.add(life, self._job, 0, How.LAUNCHED)
        self._untold[life.id] = life
        self._listener.start()

    def ended(self, status: int) -> None:
        """The command has ended so, which the bill tells."""

    def _listen(self) -> None:
        while not self._over.wait(self._pause_s):
            self._turn()

    def _turn(self) -> None:
        """Take in what has happened, and add up who has ended."""
        for _ in range(DRAIN_TURNS):
            if self._hearing.drain():
                break
        now_ns = clocks.monotonic_ns()
        self._hearing.tick(now_ns)
        if now_ns - self._kept_house_ns > HOUSEKEEPING_NS:
            self._kept_house_ns = now_ns
            self._hearing.keep_house(now_ns)
        changes = self._processes.take_changes()
        self._untold.update(
            (life.id, life) for life in changes.started if self._job.id in life.jobs
        )
        for row in changes.usage:
            process_id = cast(int, row[0])
            if process_id in self._untold:
                self._used[process_id] = Used._make(
                    cast("list[int]", [row[place] for place in _PLACES])
                )
        for process_id in list(self._used):
            if self._untold[process_id].elapsed_ns is not None:
                self._count(self._untold.pop(process_id), self._used.pop(process_id))

    def _count(self, life: Incarnation, used: Used | None) -> None:
        root = self._root
        assert root is not None  # noqa: S101
        if life is root and used is not None:
            used = used.without(self.ours_ns)
        self._tally.add(Member(life.comm, _end_ns(life), used), _end_ns(root))

    # --- afterwards
    # -------------------------------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        """From here on the caller listens, and not the thread."""
        self._over.set()
        if self._listener.is_alive():
            self._listener.join()
        self._turn()

    def wait(self, enough: Callable[[], bool]) -> None:
        """Until the last descendant has ended, or it is enough."""
        self._take_over()
        while self._job.living and not enough():
            time.sleep(self._pause_s)
            self._turn()

    def tally(self) -> Tally:
        """All members, those that still run too; to be called once."""
        self._take_over()
        began_ns = clocks.monotonic_ns()
        while not (self._hearing.settled and self._all_told()):
            if (
                self._hearing.statistics_ns > began_ns + PATIENCE_NS
                or clocks.monotonic_ns() > began_ns + STARVED_NS
            ):
                break
            time.sleep(self._pause_s)
            self._turn()
        for life in self._untold.values():
            self._count(life, None)
        self._untold.clear()
        return self._tally

    def _all_told(self) -> bool:
        return all(life.elapsed_ns is None for life in self._untold.values())

    def living(self) -> Sequence[Mapping[str, Any]]:
        """The members that still run, as `elsa.run.live_usage.running` wants them."""
        realtime_ns = clocks.offsets().realtime_ns
        return [
            {
                "pid": life.pid,
                "since_at_ns": life.start_ns + realtime_ns,
                "from_birth": True,
                "ended_threads": self._hearing.ended_threads(life.pid),
            }
            for life in self._processes.living.values()
            if self._job.id in life.jobs
        ]

    def lost(self) -> int:
        """How many events and statistics were lost, or more."""
        return self._memory.lost

    def close(self) -> None:
        """Hear no more."""
        self._over.set()
        if self._listener.is_alive():
            self._listener.join()
        self._connector.close()
        self._taskstats.close()


def _end_ns(life: Incarnation) -> int | None:
    return None if life.elapsed_ns is None else life.start_ns + life.elapsed_ns


def _ears(config: Config) -> tuple[Connector, TaskstatsSocket]:
    """Both sockets; or the error that says what to do in this situation."""
    hint = f"no jobd answers on {config.socket}, and without one"
    try:
        taskstats = _proven_taskstats()
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


def _proven_taskstats() -> TaskstatsSocket:
    taskstats = TaskstatsSocket()
    if checks.canary_arrives(taskstats):
        return taskstats
    taskstats.close()
    raise UnavailableError(
        "a canary's statistics did not arrive; run it in the host's own namespaces"
    )
