-- CPU time by hour (UTC) in the last two days, as far as the hours are rolled up.
select
    strftime('%Y-%m-%dT%H:00:00Z', hour * 3600, 'unixepoch') as hour,
    sum(processes) as processes,
    sum(cpu_ns) / 1e9 as cpu_s
from rollup_user_ready as r
where r.hour >= cast(strftime('%s', 'now', '-2 days') as integer) / 3600
group by
    r.hour
order by
    r.hour;
