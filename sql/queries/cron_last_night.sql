-- The cron jobs since yesterday 18:00 (local time): how they ended and what they cost.
select
    job_id,
    name,
    state,
    exit_status,
    started_at,
    wall_s,
    cpu_s,
    read_bytes,
    write_bytes
from job_usage
where
    kind = 'cron'
    and created_at >= datetime('now', 'localtime', 'start of day', '-6 hours', 'utc')
order by
    created_at;
