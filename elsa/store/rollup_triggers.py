"""The triggers that keep the rollups valid: a change to what ended or was used in an hour makes the
hour stale, by deleting its row in rollup_hour.

They are part of the warehouse, so that code that writes to it need not care for rollups. The same
triggers store when a process ended and the hour in which one left a job; reports on a window use
these columns to find its processes.
"""

from __future__ import annotations

from elsa.units import HOUR_NS, SECOND_NS


def _ended_s(start_ns: str, elapsed_ns: str, end_clock_id: str, clock_id: str) -> str:
    """SQL for the second (since 1970, real time) in which a process ended, from its columns; null
    if it still runs.
    """
    at_ns = f"{start_ns} + {elapsed_ns} + c.offset_ns"
    # round down, also before 1970
    second = f"({at_ns} - case when {at_ns} < 0 then {SECOND_NS - 1} else 0 end) / {SECOND_NS}"
    return f"(select {second} from clock as c where c.id = coalesce({end_clock_id}, {clock_id}))"


_NEW_ENDED_S = _ended_s("new.start_ns", "new.elapsed_ns", "new.end_clock_id", "new.clock_id")
_SET_ENDED = f"""
    update process
    set ended_s = {_NEW_ENDED_S}
    where id = new.id;"""
# By the clock at the start of the process, as everywhere.
_SET_LEFT = f"""
    update membership
    set left_hour = (
        select (membership.until_ns + c.offset_ns) / {HOUR_NS}
        from process as p
        join clock as c
            on c.id = p.clock_id
        where p.id = membership.process_id
    )
    where {{memberships}};"""
_SET_LEFT_OF_PROCESS = _SET_LEFT.format(memberships="process_id = new.id and until_ns is not null")
_SET_LEFT_OF_MEMBERSHIP = _SET_LEFT.format(
    memberships="job_id = new.job_id and process_id = new.process_id and since_ns = new.since_ns"
)


# Most rows that are written belong to no hour that is rolled up. Testing that first is cheaper than
# deleting nothing.
_LAST = "(select max(r.hour) from rollup_hour as r)"


def _make_stale(process: str) -> str:
    """Make every hour stale whose sums include a process."""
    return f"""
    delete from rollup_hour
    where hour = (select p.ended_hour from process as p where p.id = {process});
    delete from rollup_hour where hour in (
        select m.left_hour from membership as m
        where m.process_id = {process} and m.left_hour is not null
    );"""


def _make_intervals_stale(process: str) -> str:
    """Make every hour stale in whose sums a process has what it used in intervals. That is needed
    where its user, command or jobs change. What it had used before jobd first ran counts where it
    started. An end that only a record shows may be a second before the last reading.
    """
    of_process = f"from process as p join clock as c on c.id = p.clock_id where p.id = {process}"
    return f"""
    delete from rollup_hour
    where exists (select 1 from usage_so_far as f where f.process_id = {process})
        and hour >= (select (p.start_ns + c.offset_ns) / {HOUR_NS} {of_process})
        and hour <= (select coalesce(p.ended_hour + 1, {_LAST}) {of_process});"""


def _make_stale_by_record(row: str) -> str:
    """The same for a record. A record without a process counts in the hour of its own end."""
    return (
        f"{_make_stale(f'{row}.process_id')}\n    delete from rollup_hour where {row}.process_id is"
        f" null and hour = {row}.ended_hour;"
    )


def _has_left(process: str) -> str:
    """Whether a process has left a job, which shows the most memory that the process ever had."""
    return (
        "exists (select 1 from membership as m"
        f" where m.process_id = {process} and m.left_hour is not null)"
    )


def _may_be_rolled_up(process: str) -> str:
    """Whether an hour whose sums include a process may be rolled up."""
    return (
        f"((select p.ended_hour from process as p where p.id = {process}) <= {_LAST} or"
        f" {_has_left(process)})"
    )


def _record_may_be_rolled_up(row: str) -> str:
    return (
        f"(case when {row}.process_id is null then {row}.ended_hour <= {_LAST} else"
        f" {_may_be_rolled_up(f'{row}.process_id')} end)"
    )


_HAS_ENDED = "(select p.ended_hour from process as p where p.id = {}) is not null"
_HOUR_OF_READING = "(select r.hour from usage_reading as r where r.id = {}.reading_id)"
_MAKE_OLD_HOUR_STALE = "delete from rollup_hour where hour = old.{};"
_TRIGGERS = {
    # A process may be inserted after its memberships. Code that inserts many sets ended_s.
    "process_inserted": (
        f"""after insert on process
        when (new.elapsed_ns is not null and (new.ended_s is null or new.ended_hour <= {_LAST}))
            or exists (select 1 from membership as m where m.process_id = new.id)
        begin {_SET_ENDED} {_SET_LEFT_OF_PROCESS} {_make_stale("new.id")} end"""
    ),
    "process_ended": (
        f"""after update of start_ns, elapsed_ns, clock_id, end_clock_id on process
        when (new.elapsed_ns is not null or old.elapsed_ns is not null)
            and (
                new.elapsed_ns is not old.elapsed_ns
                or new.start_ns <> old.start_ns
                or new.end_clock_id is not old.end_clock_id
                or new.clock_id <> old.clock_id
            )
        begin
            {_SET_ENDED} {_make_stale("new.id")} {_MAKE_OLD_HOUR_STALE.format("ended_hour")}
        end"""
    ),
    # A running process that left a job counts in that job.
    "process_amended": (
        f"""after update of start_ns, clock_id, uid, comm_id, exit_status, origin, inherited_job_id
            on process
        when new.uid is not old.uid
            or new.comm_id is not old.comm_id
            or new.exit_status is not old.exit_status
            or new.origin <> old.origin
            or new.inherited_job_id is not old.inherited_job_id
            or new.start_ns <> old.start_ns
            or new.clock_id <> old.clock_id
        begin {_make_stale("new.id")} {_make_intervals_stale("new.id")} end"""
    ),
    "process_clock_changed": (
        f"""after update of clock_id on process when new.clock_id <> old.clock_id
        begin {_SET_LEFT_OF_PROCESS} {_make_stale("new.id")} end"""
    ),
    "process_deleted": (
        f"after delete on process begin {_make_stale('old.id')}"
        f" {_MAKE_OLD_HOUR_STALE.format('ended_hour')} end"
    ),
    "acct_inserted": (
        f"""after insert on acct when {_record_may_be_rolled_up("new")}
        begin {_make_stale_by_record("new")} end"""
    ),
    "acct_updated": (
        f"""after update on acct
        when {_record_may_be_rolled_up("old")} or {_record_may_be_rolled_up("new")}
        begin {_make_stale_by_record("old")} {_make_stale_by_record("new")} end"""
    ),
    "acct_deleted": f"after delete on acct begin {_make_stale_by_record('old')} end",
    "membership_started": (
        f"""after insert on membership
        when new.until_ns is null and {_may_be_rolled_up("new.process_id")}
        begin {_make_stale("new.process_id")} end"""
    ),
    "membership_inserted_ended": (
        f"""after insert on membership when new.until_ns is not null
        begin {_SET_LEFT_OF_MEMBERSHIP} {_make_stale("new.process_id")} end"""
    ),
    "membership_inserted": (
        f"after insert on membership begin {_make_intervals_stale('new.process_id')} end"
    ),
    "membership_updated": (
        f"""after update of until_ns, since_ns, how, job_id, process_id on membership
        begin
            {_SET_LEFT_OF_MEMBERSHIP} {_make_stale("new.process_id")}
            {_MAKE_OLD_HOUR_STALE.format("left_hour")}
            {_make_intervals_stale("new.process_id")}
        end"""
    ),
    "membership_deleted": (
        f"after delete on membership begin {_make_stale('old.process_id')}"
        f" {_MAKE_OLD_HOUR_STALE.format('left_hour')}"
        f" {_make_intervals_stale('old.process_id')} end"
    ),
    # jobd inserts the usage of a new process before the process.
    "usage_inserted": (
        f"""after insert on usage
        when exists (select 1 from process as p where p.id = new.process_id)
            and {_may_be_rolled_up("new.process_id")}
        begin {_make_stale("new.process_id")} end"""
    ),
    "usage_updated": f"after update on usage begin {_make_stale('new.process_id')} end",
    "usage_deleted": f"after delete on usage begin {_make_stale('old.process_id')} end",
    # What living processes use is written all the time, and only in hours that are not rolled up.
    "so_far_inserted": (
        f"""after insert on usage_so_far
        when new.edge_ns <> 0 or {_HAS_ENDED.format("new.process_id")}
            or {_has_left("new.process_id")}
        begin {_make_stale("new.process_id")} {_make_intervals_stale("new.process_id")} end"""
    ),
    "so_far_updated": (
        f"""after update on usage_so_far
        when new.edge_ns <> 0 or {_HAS_ENDED.format("new.process_id")}
            or (new.rss_kib is not old.rss_kib and {_has_left("new.process_id")})
        begin {_make_stale("new.process_id")} end"""
    ),
    "so_far_amended": (
        f"""after update of gid, forked_only on usage_so_far
        when new.gid is not old.gid or new.forked_only is not old.forked_only
        begin {_make_intervals_stale("new.process_id")} end"""
    ),
    "so_far_deleted": (
        f"after delete on usage_so_far begin {_make_stale('old.process_id')}"
        f" {_make_intervals_stale('old.process_id')} end"
    ),
    "reading_inserted": (
        f"after insert on usage_reading when new.hour <= {_LAST}"
        " begin delete from rollup_hour where hour = new.hour; end"
    ),
    "reading_updated": (
        "after update on usage_reading begin"
        " delete from rollup_hour where hour in (old.hour, new.hour); end"
    ),
    "reading_deleted": (
        f"after delete on usage_reading begin {_MAKE_OLD_HOUR_STALE.format('hour')} end"
    ),
    **{
        f"interval_{event}ed".replace("ee", "e"): (
            f"after {event} on usage_interval when {_HOUR_OF_READING.format(row)} <= {_LAST}"
            f" begin delete from rollup_hour where hour = {_HOUR_OF_READING.format(row)}; end"
        )
        for event, row in (("insert", "new"), ("update", "new"), ("delete", "old"))
    },
    # A day, and the sums of an hour that only exist while it is rolled up, become stale with it.
    "hour_stale": (
        """after delete on rollup_hour
        begin
            delete from rollup_audit where hour = old.hour;
            delete from rollup_unconfirmed where hour = old.hour;
            delete from rollup_day where day = old.hour / 24;
        end"""
    ),
    "day_stale": (
        """after delete on rollup_day
        begin
            delete from rollup_day_command where day = old.day;
            delete from rollup_day_user where day = old.day;
            delete from rollup_day_job where day = old.day;
            delete from rollup_day_total where hour between old.day * 24 and old.day * 24 + 23;
        end"""
    ),
}


def triggers() -> list[str]:
    """The statements that create every trigger."""
    return [f"create trigger {name} {body}" for name, body in _TRIGGERS.items()]
