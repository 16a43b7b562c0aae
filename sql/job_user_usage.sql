create view job_user_usage as
-- Grain: one row per job and real uid: what user_usage is for the host, within one job.
select
    u.job_id,
    u.uid,
    count(u.process_id) as processes,
    count(case when u.state = 'running' then 1 end) as running,
    count(u.acct_id) as records,
    count(case when u.state = 'ended' and u.acct_id is null then 1 end) as without_record,
    count(case when u.record = 'uncertain' then 1 end) as uncertain,
    count(u.acct_id) - count(case when u.process_id is not null then u.acct_id end) as unjoined,
    sum(u.elapsed_s) as elapsed_s,
    sum(u.etime_ticks) as etime_ticks,
    sum(u.utime_ticks) as utime_ticks,
    sum(u.stime_ticks) as stime_ticks,
    sum(u.utime_ticks) / 100.0 as user_s,
    sum(u.stime_ticks) / 100.0 as system_s,
    sum(u.utime_ticks + u.stime_ticks) / 100.0 as cpu_s,
    sum(u.minflt) as minflt,
    sum(u.majflt) as majflt
from job_process_usage as u
group by
    u.job_id,
    u.uid
