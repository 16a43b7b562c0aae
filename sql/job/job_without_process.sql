-- Grain: one row per job that never had a process, as far as is known. It is a view of its own so
-- that reports on some jobs can read it for these alone: in job_usage SQLite would visit every job.
select j.id as job_id
from job as j
where
    not exists (
        select 1
        from all_memberships as m
        where m.job_id = j.id
    )
    and not exists (
        select 1
        from rollup_job_ready as r
        where r.job_id = j.id
    )
