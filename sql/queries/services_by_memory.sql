-- The runs of services by their peak memory, all processes together, the largest first.
select
    u.name,
    u.job_id,
    u.state,
    u.job_peak_kib,
    u.job_peak_by,
    u.rss_kib,
    u.cpu_s,
    u.started_at
from job_usage as u
where u.kind = 'service'
order by
    u.job_peak_kib desc
limit 50;
