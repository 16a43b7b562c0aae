"""Metrics for Prometheus: counters of what jobs and users have used, ended processes included, and
gauges of how well jobd records.

A counter must never fall. So the counters add up everything that is kept: the sums of the hours,
which also have the processes that were pruned, and what living processes have used so far. Where
even the sums are deleted after a time (keep_rollups), counting starts anew with each year, month
or day, when a counter is 0.

Their number is bounded: of each kind of job the names that came first, and of the users too, have
series of their own, and all later names share one. Another rule, such as the names that used most,
would move a name from one series to another, and the series would fall.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from elsa import __version__
from elsa.measures import MEASURES, ROLLED_OF_JOB, Measure
from elsa.report import collector_status
from elsa.report.about_warehouse import identity
from elsa.report.query import rollup_source
from elsa.report.query.times import Window
from elsa.report.query.warehouse import HostNames
from elsa.report.render.openmetrics import Family, Labels
from elsa.state import job_kinds
from elsa.store import aggregates, database, retention
from elsa.store.sums import summed
from elsa.text import printable
from elsa.units import HOUR_NS, SECOND_NS

NAMES = 200
"""How many names of each kind of job, and how many users, have series of their own."""
_UNKNOWN = "unknown"
COUNTED_SINCE = "elsa_counted_since_timestamp_seconds"
SAME_COUNTERS = (COUNTED_SINCE, "elsa_warehouse_info")
"""Where these metrics are what they were, counters must not fall."""

# The measures of the counters, with their names, units and meanings.
_COUNTED = (
    ("cpu_s", "cpu_seconds", "seconds", "CPU time used"),
    ("read_bytes", "read_bytes", "bytes", "Bytes read from storage"),
    ("write_bytes", "written_bytes", "bytes", "Bytes to be written to storage"),
    ("processes", "processes", "", "Processes, ended or running"),
)
_SUMMED: dict[str, Measure] = {key: MEASURES[key] for key, *_ in _COUNTED}
_OF_JOBS = _SUMMED | {"exit_status": ROLLED_OF_JOB["exit_status"]}
# Jobs after the fact would count at once what was used long before.
_COUNTS = "coalesce(j.close_reason, '') not in ('defining', 'defined', 'failed')"
_JOBS = f"""
    select b.host_id, j.kind, j.name, min(j.id), sum(j.created_at_ns >= ?)
    from job as j join boot as b on b.id = j.boot_id
    where {_COUNTS}
    group by b.host_id, j.kind, j.name"""


class _Sums(NamedTuple):
    """The sums of a series; None where nothing is known."""

    by_measure: dict[str, int | None]
    runs: int = 0
    failed: int = 0


def counted_since(keep_rollups: str, now_ns: int) -> int | None:
    """From when on usage is counted, real time; None if all sums are kept. Raises ConfigError."""
    oldest_ns = retention.cutoff(keep_rollups, now_ns, "keep_rollups")
    if oldest_ns is None:
        return None
    now = datetime.fromtimestamp(now_ns / SECOND_NS, UTC)
    kept_days = (now_ns - oldest_ns) / (24 * HOUR_NS)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if kept_days >= 31:
        start = start.replace(day=1)
    if kept_days >= 366:
        start = start.replace(month=1)
    return int(start.timestamp()) * SECOND_NS


def metrics(
    connection: sqlite3.Connection,
    now_ns: int,
    since_ns: int | None = None,
    names: int = NAMES,
) -> list[Family]:
    """All metrics of a warehouse; usage is counted from a time on (counted_since)."""
    window = Window(since_ns, None)
    hosts = HostNames(connection)
    jobs = _merged(_of_jobs(connection, hosts, window, names))
    users = _merged(_of_users(connection, hosts, window, names))
    return [
        *_usage("elsa_job", "by the jobs of a kind and name", jobs),
        _counter("elsa_job_runs", "", "Jobs of a kind and name", _each(jobs, "runs")),
        _counter(
            "elsa_job_failed_runs",
            "",
            "Jobs whose launched command did not end with exit code 0",
            _each(jobs, "failed"),
        ),
        *_usage("elsa_user", "by the processes of a user, in jobs or not", users),
        *_health(connection, now_ns),
        _gauge(
            COUNTED_SINCE,
            "From when on the counters of usage count; absent: from the first record on",
            {(): None if since_ns is None else _seconds(since_ns)},
            "seconds",
        ),
    ]


# --- jobs and users


def _source(table: str, window: Window, measures: Mapping[str, Measure]) -> Any:  # noqa: ANN401
    needed = [f"u.{measure.rolled}" for measure in measures.values()]
    return rollup_source.source(table, window, needed, days=True)


def _of_jobs(
    connection: sqlite3.Connection, hosts: HostNames, window: Window, names: int
) -> Iterator[tuple[Labels, _Sums]]:
    source = _source("rollup_job", window, _OF_JOBS)
    rows = summed(
        connection,
        ["b.host_id", "j.kind", "j.name"],
        _folded(_OF_JOBS),
        f"{source.sql}\njoin job as j on j.id = u.job_id join boot as b on b.id = j.boot_id"
        f"\nwhere {_COUNTS} group by u.job_id",
        source.values,
    )
    jobs = connection.execute(_JOBS, (window.since or -(2**63),)).fetchall()
    first: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    for host, kind, name, job_id, _ in jobs:
        first[kind].append((job_id, (host, kind, name)))
    own = {key for of_kind in first.values() for _, key in sorted(of_kind)[:names]}

    def labels(host: int | None, kind: str, name: str) -> Labels:
        kept = (host, kind, name) in own
        of_host = (("host", printable(hosts.host(host) or _UNKNOWN)),) if kept else ()
        rest = (("kind", kind), ("name", printable(name) if kept else ""))
        return (*of_host, *rest, *(() if kept else (("after", str(names)),)))

    for host, kind, name, *figures in rows:
        *used, status = figures
        sums = dict(zip(_SUMMED, used, strict=True))
        yield labels(host, kind, name), _Sums(sums, failed=int(bool(status)))
    for host, kind, name, _, runs in jobs:
        yield labels(host, kind, name), _Sums({}, runs=runs)


def _of_users(
    connection: sqlite3.Connection, hosts: HostNames, window: Window, names: int
) -> Iterator[tuple[Labels, _Sums]]:
    source = _source("rollup_user", window, _SUMMED)
    first = {"first": aggregates.Aggregate("min", "u.ended_hour")}
    rows = summed(
        connection,
        ["u.host_id", "u.uid"],
        _folded(_SUMMED) | first,
        f"{source.sql}\ngroup by u.host_id, u.uid",
        source.values,
    )
    came = {(row[0], row[1]): (row[-1] is None, row[-1] or 0) for row in reversed(rows)}
    own = {*sorted(came, key=lambda key: (came[key], key[1] is None, key[1] or 0))[:names]}
    for host, uid, *figures, _ in rows:
        labels: Labels = (("uid", ""), ("user", ""), ("after", str(names)))
        if (host, uid) in own:
            user = hosts.user(uid, host) or _UNKNOWN
            number = _UNKNOWN if uid is None else str(uid)
            of_host = printable(hosts.host(host) or _UNKNOWN)
            labels = (("host", of_host), ("uid", number), ("user", printable(user)))
        yield labels, _Sums(dict(zip(_SUMMED, figures, strict=True)))


def _folded(measures: Mapping[str, Measure]) -> dict[str, aggregates.Aggregate]:
    return {
        key: aggregates.over_parts(measure, f"u.{measure.rolled}")
        for key, measure in measures.items()
    }


def _merged(rows: Iterable[tuple[Labels, _Sums]]) -> dict[Labels, _Sums]:
    """The sums of each series, in the order of their labels: two names may look alike when they
    are printed.
    """
    merged: dict[Labels, _Sums] = {}
    for labels, sums in rows:
        had = merged.get(labels, _Sums({}))
        merged[labels] = _Sums(
            {key: _added(had.by_measure.get(key), sums.by_measure.get(key)) for key in _SUMMED},
            had.runs + sums.runs,
            had.failed + sums.failed,
        )
    return dict(sorted(merged.items()))


def _added(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


def _usage(prefix: str, whose: str, series: Mapping[Labels, _Sums]) -> Iterator[Family]:
    for key, name, unit, doc in _COUNTED:
        samples = {labels: sums.by_measure[key] for labels, sums in series.items()}
        text = {
            labels: None if value is None else (_seconds(value) if key == "cpu_s" else str(value))
            for labels, value in samples.items()
        }
        yield _counter(f"{prefix}_{name}", unit, f"{doc} {whose}", text)


def _each(series: Mapping[Labels, _Sums], name: str) -> dict[Labels, str | None]:
    return {labels: str(getattr(sums, name)) for labels, sums in series.items()}


# --- jobd and the warehouse


def _health(connection: sqlite3.Connection, now_ns: int) -> Iterator[Family]:
    stored = collector_status.stored_until(connection)
    silent = collector_status.still_open(connection, Window(), now_ns)
    running = None if stored is None else str(int(silent is None))
    yield _gauge("elsa_jobd_running", "1 while jobd records events", {(): running})
    yield _gauge(
        "elsa_last_event_timestamp_seconds",
        "Up to when events are stored",
        {(): None if stored is None else _seconds(stored.ns)},
        "seconds",
    )
    (newest,) = connection.execute(
        "select ended_s from acct order by id desc limit 1"
    ).fetchone() or (None,)
    yield _gauge(
        "elsa_last_record_timestamp_seconds",
        "When the process of the newest accounting record ended",
        {(): None if newest is None else str(newest)},
        "seconds",
    )
    runs, events, lost = connection.execute(
        "select count(*), coalesce(sum(events), 0), coalesce(sum(lost), 0) from collector"
    ).fetchone()
    yield _counter("elsa_jobd_starts", "", "How often jobd was started", {(): str(runs)})
    yield _counter("elsa_events", "", "Events received from the kernel", {(): str(events)})
    yield _counter("elsa_lost_events", "", "Events known to be lost", {(): str(lost)})
    yield from _losses(connection)
    of_kind = dict(
        connection.execute(
            "select kind, count(*) from job where closed_at_ns is null group by kind"
        )
    )
    open_jobs: dict[Labels, str | None] = {
        (("kind", kind),): str(of_kind.get(kind, 0)) for kind in job_kinds.KINDS
    }
    yield _gauge("elsa_open_jobs", "Jobs that are not closed", open_jobs)
    pages, page_bytes, free = (
        connection.execute(f"pragma {name}").fetchone()[0]
        for name in ("page_count", "page_size", "freelist_count")
    )
    for name, count, doc in (
        ("elsa_warehouse_bytes", pages, "Size of the warehouse"),
        ("elsa_warehouse_free_bytes", free, "Free space within the warehouse"),
    ):
        yield _gauge(name, doc, {(): str(count * page_bytes)}, "bytes")
    labels = (("revision", database.revision(connection) or ""), ("version", __version__))
    first = identity(connection)
    yield Family(
        "elsa_warehouse",
        "info",
        "",
        "Which warehouse it is: counters of another begin anew",
        {(("id", first),): "1"} if first else {},
    )
    yield Family("elsa", "info", "", "Version of ELSA and of the warehouse", {labels: "1"})


def _losses(connection: sqlite3.Connection) -> Iterator[Family]:
    rows = connection.execute(
        "select kind, count(*), sum(lost), sum(to_ns - from_ns) from gap"
        " group by kind order by kind"
    ).fetchall()
    for name, unit, place, doc in (
        ("elsa_gaps", "", 1, "Known losses of events or records, by kind"),
        ("elsa_gap_lost", "", 2, "Events or records lost in them, where it is known how many"),
        ("elsa_gap_seconds", "seconds", 3, "How long the losses lasted"),
    ):
        samples = {(("kind", row[0]),): row[place] for row in rows}
        text: dict[Labels, str | None] = {
            labels: None if value is None else (_seconds(value) if unit else str(value))
            for labels, value in samples.items()
        }
        yield _counter(name, unit, doc, text)


# --- families


def _seconds(ns: int) -> str:
    whole, rest = divmod(ns, SECOND_NS)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def _known(samples: Mapping[Labels, str | None]) -> dict[Labels, str]:
    """What is unknown is left out, and not 0."""
    return {labels: value for labels, value in samples.items() if value is not None}


def _counter(name: str, unit: str, doc: str, samples: Mapping[Labels, str | None]) -> Family:
    return Family(name, "counter", unit, doc, _known(samples))


def _gauge(name: str, doc: str, samples: Mapping[Labels, str | None], unit: str = "") -> Family:
    return Family(name, "gauge", unit, doc, _known(samples))
