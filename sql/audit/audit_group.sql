-- Grain: one row per job whose control group was read: the CPU time that the group counted
-- (group_cpu_s), the sum over the processes of the job (cpu_s) and the difference, which the
-- processes' own figures miss. Where the two are not about the same processes and the same time,
-- not_compared says why, and difference_s is NULL.
with judged as (
    select
        u.job_id,
        u.name,
        u.ended_ns,
        u.ended_at,
        u.processes,
        u.cpu_s,
        u.group_cpu_s,
        case
            when u.running > 0 then 'its processes still run'
            when g.final = 0 then 'the group was not read after the last process had ended'
            when u.with_usage < u.processes then 'no statistics of some processes were received'
            when u.usage_partial > 0 then 'statistics of some threads were not received'
            when u.part_life_whole > 0 then 'counters of processes that came or left are unknown'
            when u.gaps + u.usage_gaps > 0 then 'events or statistics were lost'
        end as not_compared
    from job_usage as u
    join job_cgroup as g
        on g.job_id = u.job_id
    where u.group_cpu_s is not null
)

select
    judged.job_id,
    judged.name,
    judged.ended_ns,
    judged.ended_at,
    judged.processes,
    judged.cpu_s,
    judged.group_cpu_s,
    case
        when judged.not_compared is null then round(judged.group_cpu_s - judged.cpu_s, 6)
    end as difference_s,
    judged.not_compared
from judged
