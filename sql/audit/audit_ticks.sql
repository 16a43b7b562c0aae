-- Grain: one row: the CPU time of the processes that have both taskstats and an accounting record,
-- by either, and what the records lost: the kernel rounds user and system time of every process
-- down to ticks of 1/100 s there.
with summed as (
    select
        coalesce(sum(s.compared), 0) as processes,
        coalesce(sum(s.compared_ns >> 32) * 4294967296 + sum(s.compared_ns & 4294967295), 0)
            as taskstats_ns,
        coalesce(sum(s.compared_ticks >> 32) * 4294967296 + sum(s.compared_ticks & 4294967295), 0)
            as ticks
    from audit_hour as s
)

select
    summed.processes,
    summed.taskstats_ns / 1e9 as taskstats_s,
    summed.ticks / 100.0 as acct_s,
    (summed.taskstats_ns - summed.ticks * 10000000) / 1e9 as lost_s,
    round(
        (summed.taskstats_ns - summed.ticks * 10000000) * 100.0 / nullif(summed.taskstats_ns, 0), 6
    ) as lost_percent
from summed
