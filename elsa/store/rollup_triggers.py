"""The triggers that keep the rollups true: whatever changes what ended in an hour takes back that
the hour is rolled up.

They stand in the warehouse itself, so that nobody who writes into it has to think of the rollups,
and none can forget. The same triggers note in which hour a process ended, or was taken out of a
job, which is also the way to the processes of a window.
"""

from __future__ import annotations

from elsa.state.clock import HOUR_NS


def _ended_hour(start_ns: str, elapsed_ns: str, end_clock_id: str, clock_id: str) -> str:
    """SQL of the hour (since 1970, real time) in which a process ended, from its columns; null if
    it has not.
    """
    at_ns = f"{start_ns} + {elapsed_ns} + c.offset_ns"
    # before 1970 too
    hour = f"({at_ns} - case when {at_ns} < 0 then {HOUR_NS - 1} else 0 end) / {HOUR_NS}"
    return f"(select {hour} from clock as c where c.id = coalesce({end_clock_id}, {clock_id}))"


_SET_ENDED = f"""
    update process
    set ended_hour = {_ended_hour("new.start_ns", "new.elapsed_ns", "new.end_clock_id", "new.clock_id")}
    where id = new.id;"""
# As everywhere, by the clock of its birth.
_SET_LEFT = f"""
    update membership
    set left_hour = (
        select (membership.until_ns + c.offset_ns) / {HOUR_NS}
        from process as p
        join clock as c
            on c.id = p.clock_id
        where p.id = membership.process_id
    )
    where {{stays}};"""
_STAY = "job_id = new.job_id and process_id = new.process_id and since_ns = new.since_ns"


def _forget(process: str) -> str:
    """No hour is rolled up any more that knows of a process."""
    return f"""
    delete from rollup_hour where hour = (select p.ended_hour from process as p where p.id = {process});
    delete from rollup_hour where hour in (
        select m.left_hour from membership as m where m.process_id = {process} and m.left_hour is not null
    );"""


def _forget_record(row: str) -> str:
    """One that is joined to no process ended in the second that it tells."""
    return (
        f"{_forget(f'{row}.process_id')}\n    delete from rollup_hour where {row}.process_id is"
        f" null and hour = {row}.ended_hour;"
    )


# Most of what is written ended in no hour that is rolled up: to see that is cheaper than to forget
# in vain.
_LAST = "(select max(r.hour) from rollup_hour as r)"


def _reaches(process: str) -> str:
    """Whether an hour that knows of a process may be rolled up."""
    left = (
        f"select 1 from membership as m where m.process_id = {process} and m.left_hour is not null"
    )
    return (
        f"((select p.ended_hour from process as p where p.id = {process}) <= {_LAST} or exists"
        f" ({left}))"
    )


def _record_reaches(row: str) -> str:
    return (
        f"(case when {row}.process_id is null then {row}.ended_hour <= {_LAST} else"
        f" {_reaches(f'{row}.process_id')} end)"
    )


_FORGET_OLD_HOUR = "delete from rollup_hour where hour = old.{};"
_TRIGGERS = {
    # It may be told of after its stays. Who writes many tells the hour itself.
    "process_told": (
        f"""after insert on process
        when (new.elapsed_ns is not null and (new.ended_hour is null or new.ended_hour <= {_LAST}))
            or exists (select 1 from membership as m where m.process_id = new.id)
        begin {_SET_ENDED} {_SET_LEFT.format(stays="process_id = new.id and until_ns is not null")} {_forget("new.id")} end"""
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
        begin {_SET_ENDED} {_forget("new.id")} {_FORGET_OLD_HOUR.format("ended_hour")} end"""
    ),
    # Who was taken out of a job counts in it while it still runs.
    "process_amended": (
        f"""after update of start_ns, clock_id, uid, comm_id, exit_status, origin on process
        when new.uid is not old.uid
            or new.comm_id is not old.comm_id
            or new.exit_status is not old.exit_status
            or new.origin <> old.origin
            or new.start_ns <> old.start_ns
            or new.clock_id <> old.clock_id
        begin {_forget("new.id")} end"""
    ),
    "process_moved": (
        f"""after update of clock_id on process when new.clock_id <> old.clock_id
        begin {_SET_LEFT.format(stays="process_id = new.id and until_ns is not null")} {_forget("new.id")} end"""
    ),
    "process_gone": (
        f"after delete on process begin {_forget('old.id')}"
        f" {_FORGET_OLD_HOUR.format('ended_hour')} end"
    ),
    "acct_told": (
        f"after insert on acct when {_record_reaches('new')} begin {_forget_record('new')} end"
    ),
    "acct_joined": (
        f"""after update on acct when {_record_reaches("old")} or {_record_reaches("new")}
        begin {_forget_record("old")} {_forget_record("new")} end"""
    ),
    "acct_gone": f"after delete on acct begin {_forget_record('old')} end",
    "membership_begun": (
        f"""after insert on membership when new.until_ns is null and {_reaches("new.process_id")}
        begin {_forget("new.process_id")} end"""
    ),
    "membership_told": (
        f"""after insert on membership when new.until_ns is not null
        begin {_SET_LEFT.format(stays=_STAY)} {_forget("new.process_id")} end"""
    ),
    "membership_ended": (
        f"""after update of until_ns, since_ns, how, job_id, process_id on membership
        begin {_SET_LEFT.format(stays=_STAY)} {_forget("new.process_id")} {_FORGET_OLD_HOUR.format("left_hour")} end"""
    ),
    "membership_gone": (
        f"after delete on membership begin {_forget('old.process_id')}"
        f" {_FORGET_OLD_HOUR.format('left_hour')} end"
    ),
    "usage_told": (
        f"after insert on usage when {_reaches('new.process_id')} begin"
        f" {_forget('new.process_id')} end"
    ),
    "usage_changed": f"after update on usage begin {_forget('new.process_id')} end",
    "usage_gone": f"after delete on usage begin {_forget('old.process_id')} end",
    "baseline_told": f"after insert on counter_snapshot begin {_forget('new.process_id')} end",
    "baseline_changed": f"after update on counter_snapshot begin {_forget('new.process_id')} end",
    "baseline_gone": f"after delete on counter_snapshot begin {_forget('old.process_id')} end",
    # What is put together of hours goes with any of them.
    "hour_forgotten": (
        """after delete on rollup_hour
        begin
            delete from rollup_audit where hour = old.hour;
            delete from rollup_unconfirmed where hour = old.hour;
            delete from rollup_day where day = old.hour / 24;
        end"""
    ),
    "day_forgotten": (
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
