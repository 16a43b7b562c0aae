"""What the files of the lake hold: the columns of each dataset, and the SQL that reads their rows.

Figures are the integers of the warehouse, so that their sums are exact. Ids are unique only
within a host: every key is the host and the id.
"""

from __future__ import annotations

from typing import NamedTuple

from elsa.measures import BY_USE, COUNTERS, MEASURES
from elsa.store import job_members
from elsa.store.rollups import END_IN_JOBS, HOW, PART_OF_LIFE, chosen

_TEXT = frozenset(
    {
        *("command", "provenance", "state", "origin", "end_source", "record", "class", "cmdline"),
        *("exe", "cwd", "cgroup", "how", "name", "kind", "close_reason", "tags", "job_peak_by"),
        *("user", "created_at", "closed_at", "host", "machine_id"),
    }
)
_FLOAT = frozenset({"group_cpu_s"})


def type_of(column: str) -> type:
    """The type of a column: int, float or str."""
    if column in _TEXT:
        return str
    return float if column in _FLOAT else int


_COUNTED = ("user_ns", "system_ns", *(measure.rolled for measure in COUNTERS))
_PEAKS = tuple(m.rolled for m in MEASURES.values() if m.column and m.fold == "max")
_RECORDED = tuple(m.name for m in MEASURES.values() if m.source == "acct")
# What counts when it was used, with what the intervals `f` of a process add up to.
_IN_INTERVALS = {"user_ns": "f.user_us * 1000", "system_ns": "f.system_us * 1000"} | {
    m.rolled: "(f.user_us + f.system_us) * 1000" if m.column == "run_ns" else f"f.{m.column}"
    for m in BY_USE
    if m.column
}
USED = tuple(_IN_INTERVALS)
"""The columns that count when they were used; all others count at the end of a process."""
OF_PROCESS_INTERVALS = {name: f"in_intervals_{name}" for name in USED}
"""The columns of a process with the part of them that its intervals have."""
_ELAPSED = "({}.elapsed_ns + 500) / 1000"
SUMMED = (
    *("process_id", "acct_id", "state", "record", "provenance", "usage_complete", "below_tick"),
    *("elapsed_us", *_RECORDED, *_COUNTED, *_PEAKS, "threads"),
)
"""The columns that sums over rows need."""
_PROGRAM = ("exe", "cmdline", "cwd", "cgroup", "loginuid", "session")


class Select(NamedTuple):
    """A select of rows, and how its conditions are made."""

    columns: dict[str, str]
    source: str
    view: str
    """The view of elsa.store.rollups.PARTS whose conditions choose the hours of rows `u`."""
    order: str
    group: str = ""
    may_run: bool = True
    """Whether there are rows of processes that still run."""
    host: str = "u.boot_id in (select b.id from boot as b where b.host_id = :host)"


class Dataset(NamedTuple):
    """A kind of rows, each in the file of its host, or of its host and day."""

    name: str
    columns: tuple[str, ...]
    selects: tuple[Select, ...]
    by_day: bool = True


_OF_PROCESS = (
    *("process_id", "acct_id", "boot_id", "pid", "parent_process_id", "ppid", "command"),
    *("forked_only", "superuser", "dumped_core", "killed", "uid", "gid", "tty"),
    *("start_ns", "end_ns", "started_ns", "ended_ns", "elapsed_us", *_RECORDED, "swaps", "mem_kib"),
    *("provenance", *_COUNTED, *_PEAKS, "threads", "usage_complete", "tick_ns", "below_tick"),
    *("exit_status", "exit_code", "exit_signal", "state", "origin", "end_source"),
    *("ended_inferred", "record", "class", "before_first_start", "in_job", *_PROGRAM),
)
_PROCESS = {name: f"u.{name}" for name in _OF_PROCESS} | {"elapsed_us": _ELAPSED.format("u")}
_PROCESSES = Dataset(
    "processes",
    (*_OF_PROCESS, *OF_PROCESS_INTERVALS.values()),
    (
        Select(
            _PROCESS
            | {name: f"g.{name}" for name in _PROGRAM}
            | {OF_PROCESS_INTERVALS[name]: text for name, text in _IN_INTERVALS.items()},
            "incarnation_usage as u"
            " left join usage_so_far as f on f.process_id = u.process_id and f.edge_ns = 0"
            " left join process_program as g on g.process_id = u.process_id",
            "incarnation_usage",
            "u.process_id",
        ),
        Select(
            _PROCESS | dict.fromkeys((*_PROGRAM, *OF_PROCESS_INTERVALS.values()), "null"),
            "unjoined_record_usage as u",
            "unjoined_record_usage",
            "u.acct_id",
            may_run=False,
            host="u.host_id = :host",
        ),
    ),
)

_OF_MEMBER = ("job_id", "process_id", "how", "since_ns", "until_ns", "part_life", "part_life_whole")
MEMBER_OF_PART = ("elapsed_us", "provenance", *_COUNTED)
"""What a member for a part of its life is charged; all else of it is that of the process."""
_PART_MEMBER = f"{PART_OF_LIFE} and s.process_id = p.id"
_WHOLE_LIFE = f"""(
    select m.job_id, p.id as process_id, case m.how {HOW} end as how, p.boot_id, p.ended_hour,
        null as until_ns
    from process as p join {{}} as m on m.process_id = p.id
    where not exists ({_PART_MEMBER})) as u"""


def _whole(source: str) -> Select:
    known = {name: f"u.{name}" for name in ("job_id", "process_id", "how")}
    zero = {"since_ns": "0", "part_life": "0", "part_life_whole": "0"}
    return Select(
        known | zero | dict.fromkeys(("until_ns", *MEMBER_OF_PART), "null"),
        _WHOLE_LIFE.format(source),
        "incarnation_usage",
        "u.process_id, u.job_id",
    )


_MEMBERSHIPS = Dataset(
    "memberships",
    (*_OF_MEMBER, *MEMBER_OF_PART),
    (
        _whole("membership"),
        _whole(f"({job_members.inherited()})"),
        Select(
            {name: f"u.{name}" for name in _OF_MEMBER}
            | {name: f"iif(u.part_life = 1, u.{name}, null)" for name in MEMBER_OF_PART}
            | {"elapsed_us": f"iif(u.part_life = 1, {_ELAPSED.format('u')}, null)"},
            f"{END_IN_JOBS} as u",
            END_IN_JOBS,
            "u.process_id, u.job_id",
        ),
    ),
)

_KEPT = ("command", "forked_only", "uid", "gid")
_SUMMED = {name: f"sum(u.{name})" for name in USED} | {"rss_kib": "max(u.rss_kib)"}
_HOUR = {"process_id": "u.used_by", "hour": "u.ended_hour"}
_INTERVALS = Dataset(
    "intervals",
    (*_HOUR, *_KEPT, *_SUMMED),
    (
        Select(
            _HOUR | {name: f"max(u.{name})" for name in _KEPT} | _SUMMED,
            "interval_usage as u",
            "interval_usage",
            "u.ended_hour, u.used_by",
            group="u.ended_hour, u.used_by",
            may_run=False,
        ),
    ),
)
_JOB_INTERVALS = Dataset(
    "job_intervals",
    ("job_id", *_HOUR, *_SUMMED),
    (
        Select(
            {"job_id": "u.job_id"} | _HOUR | _SUMMED,
            "job_interval_usage as u",
            "job_interval_usage",
            "u.ended_hour, u.used_by, u.job_id",
            group="u.ended_hour, u.used_by, u.job_id",
            may_run=False,
        ),
    ),
)

_OF_JOB = (
    *("job_id", "name", "kind", "owner_uid", "created_at_ns", "closed_at_ns"),
    *("created_at", "closed_at", "close_reason", "state"),
    *("exit_status", "exit_code", "exit_signal", "gaps", "usage_gaps", "complete"),
    *("usage_complete", "tags", "group_cpu_s", "group_peak_bytes", "group_read_bytes"),
    *("group_write_bytes", "job_peak_kib", "job_peak_by"),
)
JOBS = Dataset("jobs", _OF_JOB, (), by_day=False)
USERS = Dataset("users", ("uid", "user"), (), by_day=False)
HOSTS = Dataset("hosts", ("host", "machine_id"), (), by_day=False)
BY_DAY = (_PROCESSES, _MEMBERSHIPS, _INTERVALS, _JOB_INTERVALS)
OF_HOST = (*BY_DAY, JOBS, USERS)
"""The datasets of a host, each in folders of their own."""


def queries(dataset: Dataset, *, hours: int, running: bool) -> list[str]:
    """The statements for the rows of a host (:host) in so many hours (:hour0, :hour1 ...); with
    `running` also for what still runs. SQLite takes longer to prepare them than to read the rows
    of a day, so they are the same for each day.
    """
    listed = ", ".join(f":hour{number}" for number in range(hours))
    return [
        f"select {', '.join(f'{select.columns[name]} as {name}' for name in dataset.columns)}"
        f" from {select.source} where {choice} and {select.host}"
        f"{select.group and f' group by {select.group}'} order by {select.order}"
        for select in dataset.selects
        for choice in _choices(select, listed, running=running and select.may_run)
    ]


def _choices(select: Select, hours: str, *, running: bool) -> list[str]:
    """Conditions for the rows of some hours. Each row meets at most one."""
    choices = chosen(select.view, hours)
    if select.view != END_IN_JOBS:
        return [*choices, *(["u.ended_hour is null"] if running else [])]
    stayed, left = choices
    ends = [(stayed, f"p.ended_hour in ({hours})")]
    if running:
        ends.append(("u.until_ns is null and u.ended_hour is null", "p.ended_hour is null"))
    return [
        left,
        *(
            f"u.process_id in (select p.id from process as p where {when} and exists"
            f" ({_PART_MEMBER})) and {choice}"
            for choice, when in ends
        ),
    ]


OF_JOBS = (
    f"select {', '.join(f'u.{name}' for name in _OF_JOB)} from job_usage as u"
    " where u.job_id in (select j.id from job as j join boot as b on b.id = j.boot_id"
    " where b.host_id = :host) order by u.job_id"
)
"""The statement for the rows of dataset jobs."""
