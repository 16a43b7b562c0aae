-- Grain: one row per rolled-up hour and job, with sums over the processes that ended in the job or
-- left it in the hour. Where processes were pruned there is one row for them (pruned 1) and one for
-- the others: add the rows up. Hours that are not rolled up yet are only in job_process_usage.
select r.*
from rollup_job as r
where
    r.pruned = 1
    or exists (
        select 1
        from rollup_hour as h
        where
            h.hour = r.hour
            and h.ready = 1
    )
