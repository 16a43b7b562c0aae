"""The control group of every process of the host, as the kernel reports it: which tracepoints, with
which filters (elsa.kernel.perf_events opens and reads them; elsa.decode.cgroup_events decodes).

    hierarchy = cgroups.find_hierarchy()
    events = open_cgroup_events(hierarchy)
    decoder = Decoder(events.opened, events.names)
    known = dict(cgroups.walk(hierarchy.mount))  # after opening, so that no group is missed

    taken = events.drain()  # after the connector; about every 20 ms, and when events is readable
    for record in decoder.decode(taken.chunks, taken.time_ns - HOLD_BACK_NS): ...

What is received for each process that starts, runs a program and ends: a sample at the exec with
the program's path, and a sample at the end, both with the id of its group (the inode number of the
group's directory): proof for processes that live less than a millisecond too. Only what concerns
the hierarchy that is followed reaches user space, and of threads nothing; before Linux 6.16 their
ends do, which the decoder passes over.

Where `hierarchy.sampled` is false (the controller perf_event is in a hierarchy of version 1, or
systemd's hierarchy of version 1 is followed), moves, names and programs are received all the same,
but no group ids of samples and no ends: a process cloned into a group has to be looked up in
/proc/PID/cgroup, and nothing is proved.
"""

from __future__ import annotations

from elsa.kernel.cgroups import Hierarchy
from elsa.kernel.perf_events import OpenEvents, PerfEvents, Tracepoint, open_events

# include/uapi/linux/sched.h
_CLONE_THREAD, _CLONE_INTO_CGROUP = 0x10000, 0x200000000
RING_BYTES = 2 << 20
"""For each CPU: a second of the most that one can do (10,000 processes that run a program, about
150 bytes each).
"""


def open_cgroup_events(
    hierarchy: Hierarchy, ring_bytes: int = RING_BYTES, *, exit_codes: bool = False
) -> PerfEvents:
    """Open them and read them in this process; see open_unread."""
    return PerfEvents(open_unread(hierarchy, ring_bytes, exit_codes=exit_codes))


def open_unread(
    hierarchy: Hierarchy, ring_bytes: int = RING_BYTES, *, exit_codes: bool = False
) -> OpenEvents:
    """Everything that says in which group of this hierarchy a process is. Raises PrivilegeError,
    or UnavailableError with what to do about it.

    `exit_codes` adds each exit_group(2) with another code than 0. It makes every system call of the
    host slower, since Linux traces system calls of all or none.
    """
    tracepoints = _tracepoints(hierarchy)
    if exit_codes:
        tracepoints.append(
            Tracepoint("syscalls/sys_enter_exit_group", filters=("error_code != 0",), optional=True)
        )
    return open_events(tracepoints, ring_bytes)


def _tracepoints(hierarchy: Hierarchy) -> list[Tracepoint]:
    # cgroup_transfer_tasks is not among them: only a cpuset of version 1 that lost its CPUs moves
    # tasks that way, and such a hierarchy is never followed.
    group, sampled = (f"root == {hierarchy.number}",), hierarchy.sampled
    tracepoints = [
        Tracepoint("sched/sched_process_exec", cgroup=sampled),
        # A move comes without a process event, and the counters at that moment are wanted.
        Tracepoint("cgroup/cgroup_attach_task", filters=(f"dst_{group[0]}",), wakes=True),
        Tracepoint("cgroup/cgroup_mkdir", filters=group),
        Tracepoint("cgroup/cgroup_rmdir", filters=group),
        # The group's counters are wanted, and a service manager removes it within a millisecond.
        Tracepoint(
            "cgroup/cgroup_notify_populated",
            filters=(f"{group[0]} && val == 0",),
            optional=True,
            wakes=True,
        ),
    ]
    if hierarchy.number == 0:  # only version 2 knows CLONE_INTO_CGROUP
        into = f"clone_flags & {_CLONE_INTO_CGROUP} && !(clone_flags & {_CLONE_THREAD})"
        tracepoints.append(Tracepoint("task/task_newtask", filters=(into,)))
    if sampled:
        last_thread = "group_dead != 0"  # Linux 6.16
        exits = Tracepoint("sched/sched_process_exit", raw=False, cgroup=True)
        tracepoints.append(exits._replace(filters=(last_thread, "")))
    return tracepoints
