create view audit_ticks as
-- Grain: one row: the CPU time of the processes of which both taskstats and an accounting record tell, by either, and what the record lost:
-- it cuts user and system time of every process down to ticks of 1/100 s.
with summed as (
    select
        count(*) as processes,
        round(coalesce(sum(u.cpu_s), 0), 6) as taskstats_s,
        coalesce(sum(u.utime_ticks + u.stime_ticks), 0) / 100.0 as acct_s
    from incarnation_usage as u
    where
        u.provenance = 'taskstats'
        and u.acct_id is not null
)

select
    summed.processes,
    summed.taskstats_s,
    summed.acct_s,
    round(summed.taskstats_s - summed.acct_s, 6) as lost_s,
    round((summed.taskstats_s - summed.acct_s) * 100 / nullif(summed.taskstats_s, 0), 6) as lost_percent
from summed
