-- What each user used in the last seven days, as far as hours are rolled up: all but the newest.
select
    uid,
    sum(processes) as processes,
    sum(cpu_ns) / 1e9 as cpu_s,
    sum(read_bytes) as read_bytes,
    sum(write_bytes) as write_bytes,
    max(rss_kib) as rss_kib
from rollup_user_ready
where hour >= cast(strftime('%s', 'now', '-7 days') as integer) / 3600
group by
    uid
order by
    cpu_s desc;
