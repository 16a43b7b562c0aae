-- Grain: one row per job: the most memory of all its processes together at one moment, and how that
-- is known. measured: the job's control group counted it. sampled group: likewise, up to a reading
-- before the end of the job. sampled pss, sampled rss: the most that a reading of all living
-- members showed; by rss, memory that processes share counts for each of them, so it is an upper
-- bound. NULL where none of this is known, as of jobs that ended before their first reading.
select
    j.id as job_id,
    coalesce((g.memory_peak + 1023) / 1024, j.memory_kib) as whole_kib,
    case
        when g.memory_peak is not null then iif(
            g.final = 1 or j.closed_at_ns is null, 'measured', 'sampled group'
        )
        when j.memory_by = 1 then 'sampled pss'
        when j.memory_by = 2 then 'sampled rss'
    end as whole_by
from job as j
left join job_cgroup as g
    on g.job_id = j.id
