"""Single processes: what each one used, in the order in which they ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from elsa.report import completeness, usage
from elsa.report.render import Report, Row
from elsa.report.selection import Jobs, Window

_COLUMNS = (
    "process_id",
    "acct_id",
    "host",
    "boot_id",
    "pid",
    "parent_process_id",
    "ppid",
    "command",
    "forked_only",
    "superuser",
    "dumped_core",
    "killed",
    "user",
    "uid",
    "gid",
    "tty",
    "started_at",
    "ended_at",
    "state",
    "elapsed_s",
    "etime_ticks",
    "utime_ticks",
    "stime_ticks",
    "user_s",
    "system_s",
    "cpu_s",
    "provenance",
    "minflt",
    "majflt",
    "swaps",
    "mem_kib",
    "minor_faults",
    "major_faults",
    "threads",
    "usage_complete",
    "run_ns",
    "utime_us",
    "stime_us",
    "rss_kib",
    "vm_kib",
    "coremem_mb_s",
    "virtmem_mb_s",
    *usage.COUNTERS,
    "exe_dev",
    "exe_inode",
    "exit_status",
    "exit_code",
    "exit_signal",
    "origin",
    "end_how",
    "record",
)
_SHOWN = (
    "pid",
    "ppid",
    "command",
    "forked_only",
    "user",
    "started_at",
    "elapsed_s",
    "user_s",
    "system_s",
    "rss_kib",
    "read_bytes",
    "write_bytes",
    "exit_status",
    "record",
)
# Looked up by key for each row, since a join would read all of that view first.
_PROGRAM = ("cmdline", "exe", "cwd", "cgroup", "loginuid", "session")


def processes(connection: sqlite3.Connection, window: Window, job: int | None, limit: int | None, *, everything: bool = False) -> Report:
    """The processes of the host or of a job, and the accounting records that are joined to none, the newest last.

    Those that still run have no figures yet, and are there only with `everything`.
    """
    columns = {key: "user_name(u.uid)" if key == "user" else f"u.{key}" for key in _COLUMNS}
    columns |= {key: f"(select x.{key} from process_program as x where x.process_id = u.process_id)" for key in _PROGRAM}
    if job is not None:
        columns |= {key: f"u.{key}" for key in ("how", "part_life", "part_life_whole")}
    shown = _SHOWN if job is None else (*_SHOWN, "how")
    jobs = None if job is None else Jobs(job, job)
    words = completeness.words(connection, window, jobs)
    if not everything:
        running, _ = completeness.classes(connection, window, jobs).get("running", (0, 0))
        words += [f"{running} of them left out, since they still run; --all shows them"] if running else []
    known = [] if everything else ["(u.state = 'ended' or u.acct_id is not null)"]
    query = f"{usage.select(columns)} {usage.source(window, job, *known)} order by"
    rows: Iterable[Row]
    if limit is None:
        rows = connection.execute(f"{query} u.ended_ns is null, u.ended_ns, u.process_id")  # read while it is written
    else:
        last = connection.execute(f"{query} u.ended_ns is not null, u.ended_ns desc, u.process_id desc limit {limit + 1}").fetchall()
        rows = last[:limit][::-1]
        words += [f"showing the last {limit}; --limit shows more"] if len(last) > limit else []
    return Report(tuple(columns), shown, rows, words, nothing=completeness.nothing(connection, window, job))
