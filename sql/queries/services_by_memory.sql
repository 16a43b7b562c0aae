-- The runs of services by the peak memory of their control group, the largest first.
select
    u.name,
    u.job_id,
    u.state,
    g.memory_peak,
    u.rss_kib,
    u.cpu_s,
    u.started_at
from job_usage as u
left join job_cgroup as g
    on g.job_id = u.job_id
where u.kind = 'service'
order by
    g.memory_peak desc
limit 50;
