-- The ten jobs that used most CPU; without_record and complete say what their figures leave out.
-- sqlite3 -box /var/lib/elsa/elsa.db < top_jobs_by_cpu.sql
select
    job_id,
    name,
    state,
    processes,
    cpu_s,
    wall_s,
    cpu_s / nullif(wall_s, 0) as cpus_busy,
    without_record,
    complete
from job_usage
where cpu_s is not null
order by
    cpu_s desc
limit 10;
