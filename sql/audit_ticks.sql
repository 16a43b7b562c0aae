create view audit_ticks as
-- Grain: one row: the CPU time of the processes of which both taskstats and an accounting record tell, by either, and what the record lost:
-- it cuts user and system time of every process down to ticks of 1/100 s.
with summed as (
    select
        count(*) as processes,
        coalesce(sum(u.utime_us + u.stime_us), 0) as taskstats_us,
        coalesce(sum(u.utime_ticks + u.stime_ticks), 0) as acct_ticks
    from incarnation_usage as u
    where
        u.utime_us is not null
        and u.acct_id is not null
)

select
    summed.processes,
    summed.taskstats_us / 1e6 as taskstats_s,
    summed.acct_ticks / 100.0 as acct_s,
    (summed.taskstats_us - summed.acct_ticks * 10000) / 1e6 as lost_s,
    (summed.taskstats_us - summed.acct_ticks * 10000) * 100.0 / nullif(summed.taskstats_us, 0) as lost_percent
from summed
