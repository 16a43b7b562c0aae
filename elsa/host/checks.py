"""Does ELSA work on this host? One function per question; each proves what it can by a canary
instead of believing a setting.

To add a check: a function from Place to Result, and its line in CHECKS.
"""

from __future__ import annotations

import gzip
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from elsa.config import Config
from elsa.decode.procfs import parse_effective_capabilities
from elsa.errors import ElsaError, PrivilegeError, RetryError
from elsa.formats import local_time_ns
from elsa.host import canaries
from elsa.kernel import accounting, safe_paths, taskstats
from elsa.kernel.acct_paths import ACCT_FILES
from elsa.kernel.cgroup_events import open_cgroup_events
from elsa.kernel.cgroups import find_hierarchy
from elsa.kernel.connector import Connector
from elsa.kernel.procfs import INITIAL_NAMESPACES, Procfs
from elsa.text import counted

INFERRED = "automatic jobs are inferred from /proc, and lack processes that end within milliseconds"

# How long a gap is news where nobody says since when.
RECENT_NS = 24 * 3600 * 10**9

# Kernel options, and what is lost without each.
NEEDED_OPTIONS = ("CONNECTOR", "PROC_EVENTS", "BSD_PROCESS_ACCT", "BSD_PROCESS_ACCT_V3")
USEFUL_OPTIONS = ("TASKSTATS", "TASK_XACCT", "TASK_DELAY_ACCT", "TASK_IO_ACCOUNTING")

# include/uapi/linux/capability.h, and what needs each.
CAPABILITIES = {
    "CAP_NET_ADMIN": (12, "process events before Linux 6.6, their large buffer, taskstats"),
    "CAP_SYS_PTRACE": (19, "/proc of other users"),
    "CAP_SYS_PACCT": (20, "switching accounting on"),
}

# Where distributions keep what rotates the accounting file: Debian's acct, RHEL's psacct.
ROTATIONS = ("cron.daily/acct", "logrotate.d/psacct", "logrotate.d/acct", "logrotate.d/elsa")


class Level(StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    """Something is missing that ELSA can do without, or it could not be found out."""
    FAIL = "fail"
    """ELSA does not work without it."""


class Result(NamedTuple):
    """What one check found, and what to do about it."""

    name: str
    status: Level
    found: str
    mend: str = ""


@dataclass(frozen=True)
class Place:
    """What is checked: the settings, and where the host shows itself (tests build a tree of their
    own).
    """

    settings: Config = field(default_factory=Config)
    procfs: Procfs = field(default_factory=Procfs)
    etc: Path = Path("/etc")
    boot: Path = Path("/boot")
    since_ns: int | None = None
    """From when on a gap matters, in real time; None: of the last day."""


def run(place: Place) -> list[Result]:
    """Every check, in the order in which a newcomer would mend what fails. Never raises."""
    return [_guarded(name, check, place) for name, check in CHECKS.items()]


def _guarded(name: str, check: Callable[[Place], tuple[Level, str, str]], place: Place) -> Result:
    try:
        return Result(name, *check(place))
    except ElsaError as error:
        # Our errors say what is wrong, and behind the semicolon what to do.
        found, _, mend = str(error).partition("; ")
        # What a plain user may not see cannot be found out, and may well work.
        refused = isinstance(error, PrivilegeError) and os.geteuid() != 0
        unknown = isinstance(error, RetryError) or refused or name in OPTIONAL
        return Result(name, Level.WARN if unknown else Level.FAIL, found, mend)
    except Exception as error:  # a check that breaks is a finding, not the end of the other checks
        return Result(
            name, Level.FAIL, f"the check itself failed: {error!r}", "report this as a bug of ELSA"
        )


def kernel_options(place: Place) -> tuple[Level, str, str]:
    """Is the kernel built with the options that ELSA needs?"""
    config = _kernel_config(place)
    if config is None:
        return (
            Level.WARN,
            "how this kernel was built is not to be found",
            "no need: the checks below prove what works",
        )
    lines = set(config.splitlines())
    missing = [name for name in NEEDED_OPTIONS if not _is_on(name, lines)]
    if missing:
        return (
            Level.FAIL,
            f"this kernel lacks {_options(missing)}",
            "boot a kernel that has them; distributions' kernels do",
        )
    unused = [name for name in USEFUL_OPTIONS if not _is_on(name, lines)]
    if unused:
        return (
            Level.WARN,
            f"this kernel lacks {_options(unused)}",
            "process accounting works; taskstats will say less or nothing",
        )
    return Level.OK, "process events, BSD accounting v3 and taskstats are built in", ""


def _kernel_config(place: Place) -> str | None:
    compressed = place.procfs.kernel_config()
    if compressed is not None:
        try:
            return gzip.decompress(compressed).decode("utf-8", "replace")
        except (OSError, EOFError, zlib.error):
            return None
    try:
        return (place.boot / f"config-{os.uname().release}").read_text(
            encoding="utf-8", errors="replace"
        )
    except OSError:
        return None


def _is_on(name: str, lines: set[str]) -> bool:
    return f"CONFIG_{name}=y" in lines or f"CONFIG_{name}=m" in lines


def _options(names: Iterable[str]) -> str:
    return ", ".join(f"CONFIG_{name}" for name in names)


def privileges(place: Place) -> tuple[Level, str, str]:
    """Which of the capabilities that jobd may need are there? Only a hint: what works without them
    is proved below.
    """
    status = place.procfs.read_status(os.getpid())
    held = parse_effective_capabilities(status) if status else 0
    missing = [
        f"{name} ({purpose})"
        for name, (bit, purpose) in CAPABILITIES.items()
        if not held >> bit & 1
    ]
    if missing:
        return (
            Level.WARN,
            f"not held: {', '.join(missing)}",
            "run as root; the unit elsa-jobd.service gives jobd what it needs",
        )
    return Level.OK, ", ".join(CAPABILITIES), ""


def namespaces(place: Place) -> tuple[Level, str, str]:
    """Are we where the kernel speaks to us? From other namespaces its streams are silent, without
    an error.
    """
    own = {kind: place.procfs.namespace(kind) for kind in ("pid", "user", "net")}
    private = [kind for kind, inode in INITIAL_NAMESPACES.items() if own[kind] not in (None, inode)]
    host = place.procfs.namespace("net", 1)
    if "pid" not in private and None not in (own["net"], host) and own["net"] != host:
        private.append("net")
    if private:
        found = f"not the host's own {' and '.join(private)} namespace (a container?)"
        return (
            Level.FAIL,
            found,
            (
                "run ELSA on the host itself; a service must not set PrivateNetwork, PrivateUsers"
                " or PrivatePIDs"
            ),
        )
    if host is None:
        return (
            Level.OK,
            (
                "the host's own pid and user namespace; the network namespace is proved by the"
                " connector"
            ),
            "",
        )
    return Level.OK, "the host's own pid, user and network namespace", ""


def connector(place: Place) -> tuple[Level, str, str]:
    """Are a canary's fork, exec and exit received?"""
    asked = place.settings.receive_buffer_mib << 20
    with Connector(asked) as listener:
        missing = canaries.missing_events(listener)
        granted = listener.buffer_bytes()
    if missing:
        return (
            Level.FAIL,
            f"a canary's {' and '.join(missing)} was not received",
            "run ELSA on the host itself, as root",
        )
    if granted < asked:
        found = (
            "a canary's fork, exec and exit were received, but with a receive buffer of only"
            f" {granted >> 10} KiB"
        )
        return (
            Level.WARN,
            found,
            "run with CAP_NET_ADMIN, or bursts of events will be lost (and counted)",
        )
    return Level.OK, "a canary's fork, exec and exit were received", ""


def _acct_file(place: Place) -> Path | None:
    """The accounting file that is set, or else that of a distribution; None where there is none."""
    return next((path for path in (place.settings.acct_file, *ACCT_FILES) if path.exists()), None)


def accounting_on(place: Place) -> tuple[Level, str, str]:
    """Does a canary's record arrive, and in which file? There is no other way to know."""
    wanted = place.settings.acct_file
    path = accounting.canary(wanted)
    if path is None:
        found = (
            f"off, or written to a file that ELSA does not know; no record of a canary in {wanted}"
        )
        return (
            Level.FAIL,
            found,
            (
                f"as root: touch {wanted} && accton {wanted} (package acct or psacct), or set"
                " acct_file to the file in use"
            ),
        )
    if path == wanted:
        return Level.OK, f"a canary's record arrived in {path}", ""
    found = f"on, but a canary's record arrived in {path} and not in {wanted}"
    return (
        Level.WARN,
        found,
        f"if it was not just rotated, set acct_file (ELSA_ACCT_FILE) to {path}",
    )


def space(place: Place) -> tuple[Level, str, str]:
    """Is there room? Below a threshold the kernel stops writing records, without a word."""
    path = _acct_file(place)
    if path is None:
        return Level.WARN, "no accounting file yet", ""
    folder = path.parent
    limits, free = accounting.thresholds(), accounting.free_percent(folder)
    if free <= limits.suspend_percent:
        found = (
            f"only {free:.1f} % of the file system of {folder} is free: the kernel has stopped"
            " writing records"
        )
        return (
            Level.FAIL,
            found,
            f"make room; it goes on above {limits.resume_percent} % (sysctl kernel.acct)",
        )
    found = (
        f"{free:.0f} % of the file system of {folder} is free; the kernel stops writing records"
        f" below {limits.suspend_percent} %"
    )
    return (
        (Level.OK, found, "")
        if free > limits.resume_percent + 1
        else (Level.WARN, found, "make room soon")
    )


def rotation(place: Place) -> tuple[Level, str, str]:
    """Will somebody keep the accounting file from filling the disk?"""
    path = _acct_file(place)
    if path is None:
        return Level.WARN, "no accounting file yet", ""
    size = f"{path} holds {path.stat().st_size / 1e6:.1f} MB"
    rotating = [str(place.etc / name) for name in ROTATIONS if (place.etc / name).exists()]
    if rotating:
        return Level.OK, f"{size}; rotated by {', '.join(rotating)}", ""
    return (
        Level.WARN,
        f"{size} and nothing known rotates it",
        "it grows by 64 bytes per process; docs/operations.md shows a rotation",
    )


def taskstats_arrive(_: Place) -> tuple[Level, str, str]:
    """Does the kernel send a canary's statistics? Accounting goes on without them."""
    with taskstats.TaskstatsSocket() as listener:
        if canaries.statistics_arrive(listener):
            return Level.OK, "a canary's statistics arrived", ""
    return (
        Level.WARN,
        "a canary's statistics did not arrive",
        "only ticks and faults will be known; run as root on the host itself",
    )


def control_groups(place: Place) -> tuple[Level, str, str]:
    """Do the kernel's events say in which control group a canary is? Without them automatic jobs
    are inferred.
    """
    if not place.settings.auto_jobs:
        return Level.OK, "not needed: auto_jobs is off, so there are no automatic jobs", ""
    try:
        hierarchy = find_hierarchy()
        with open_cgroup_events(hierarchy, canaries.RING_BYTES) as listener:
            missing = canaries.missing_in_group(listener, sampled=hierarchy.sampled)
    except ElsaError as error:
        problem, _, mend = str(error).partition("; ")
        return Level.WARN, f"{problem}; {INFERRED}", mend or "run as root, as jobd is started"
    if missing:
        found = f"a canary's {' and '.join(missing)} was not received; {INFERRED}"
        return Level.WARN, found, "run ELSA on the host itself, as root"
    if not hierarchy.sampled:
        found = (
            "a canary's move into a group was received, but the controller perf_event is in a"
            " hierarchy of version 1, so its group at its exec and end was not; memberships of"
            " processes that are started in a group are inferred"
        )
        return Level.WARN, found, "boot with cgroup_no_v1=perf_event, or with cgroup2 alone"
    return Level.OK, "a canary's move into a control group, exec and end in it were received", ""


def warehouse(place: Place) -> tuple[Level, str, str]:
    """Does the warehouse exist, has it the right version, and may we write it?"""
    from elsa.store import database, sql_files

    path = place.settings.db
    try:
        owner = path.stat().st_uid
    except PermissionError:
        raise PrivilegeError(f"not allowed to see {path}; run elsa check as root") from None
    except OSError:
        return Level.FAIL, f"no warehouse at {path}", f"run: elsa db upgrade --db {path}"
    if os.geteuid() == 0 and owner != 0:
        database.open_for_reading(path).close()
        return (
            Level.OK,
            f"{path} is at revision {sql_files.head()}; only {safe_paths.user(owner)} writes it",
            "",
        )
    connection = database.open_for_writing(path)
    try:
        with database.translated(path), database.transaction(connection):
            pass
    finally:
        connection.close()
    return (
        Level.OK,
        f"{path} is writable and at revision {sql_files.head()} (SQLite {sqlite3.sqlite_version})",
        "",
    )


def jobd(place: Place) -> tuple[Level, str, str]:
    """Does the collector answer, and did it lose anything?"""
    from elsa.control.client import Client

    reply = Client(place.settings.socket, canaries.PATIENCE_S).request("status")
    lost = reply.get("lost")  # None: only root and the elsa group may see it
    counts = ""
    if lost is not None:
        counts = f"; {reply.get('events')} events received and {lost} lost since it was started"
    known, since = _losses(place)
    found = f"answers on {place.settings.socket}{counts}; {known or f'no gaps since {since}'}"
    if not known:
        return Level.OK, found, ""
    return (
        Level.FAIL,
        found,
        (
            f"elsa report gaps --since '{since}' shows them; leave out the gaps that you know of"
            " with a later --since"
        ),
    )


def _losses(place: Place) -> tuple[str, str]:
    """The gaps since the wanted time, in words (empty if there are none); and that time."""
    from elsa.formats import local_time
    from elsa.report import gaps
    from elsa.report.query import warehouse

    now_ns = time.time_ns()
    since_ns = now_ns - RECENT_NS if place.since_ns is None else place.since_ns
    since = local_time_ns(since_ns)
    try:
        with warehouse.reading_allowed(place.settings.db, since_ns) as connection:
            found = gaps.since(connection, since_ns, now_ns)
    except ElsaError as error:  # the check of the warehouse says it too
        return f"which gaps there are is not known: {str(error).partition('; ')[0]}", since
    if not found:
        return "", since
    kinds = [
        f"{kind.number} x {kind.what}"
        + (f" (last at {local_time(kind.last_at)})" if kind.last_at else "")
        for kind in found
    ]
    number = sum(kind.number for kind in found)
    return f"{counted(number, 'gap')} since {since}: {', '.join(kinds)}", since


CHECKS: dict[str, Callable[[Place], tuple[Level, str, str]]] = {
    "kernel": kernel_options,
    "privileges": privileges,
    "namespaces": namespaces,
    "connector": connector,
    "accounting": accounting_on,
    "space": space,
    "rotation": rotation,
    "taskstats": taskstats_arrive,
    "cgroups": control_groups,
    "warehouse": warehouse,
    "jobd": jobd,
}
# What ELSA can do without even when the check cannot be made.
OPTIONAL = {"privileges", "space", "rotation", "taskstats", "cgroups"}
