-- Grain: one row per process and interval in which it used something: what was counted in it.
-- process_id is NULL, as the process itself is counted in end_usage; used_by is its id. command,
-- uid, gid and forked_only are those that were known while it ran, so what its record says at the
-- end changes nothing here. ended_ns is the last nanosecond of the interval, in real time, and
-- ended_hour its hour; used_since_ns and used_until_ns are monotonic. The interval of an old hour
-- is that of all its processes, so here it ends where the process did, if that was before. What was
-- used before jobd first ran is that of the hour in which the process started.
-- interval_usage has more columns, for which the process is looked up.
select
    null as process_id,
    n.name as command,
    f.forked_only,
    p.uid,
    f.gid,
    -- in the hour in which it counts, also if the clock was set in that hour
    max(
        min(
            min(r.until_ns, coalesce(p.start_ns + p.elapsed_ns, r.until_ns)) + c.offset_ns - 1,
            r.hour * 3600000000000 + 3599999999999
        ),
        r.hour * 3600000000000
    ) as ended_ns,
    r.hour as ended_hour,
    s.user_us * 1000 as user_ns,
    s.system_us * 1000 as system_ns,
    s.minflt as minor_faults,
    s.majflt as major_faults,
    case when f.run_ns is not null then (s.user_us + s.system_us) * 1000 end as run_ns,
    s.rss_kib,
    -- made by scripts/sql.py: of-interval s from read_chars
    s.read_chars,
    s.write_chars,
    null as read_syscalls,
    null as write_syscalls,
    s.read_bytes,
    s.write_bytes,
    null as cancelled_write_bytes,
    null as nvcsw,
    null as nivcsw,
    null as cpu_delay_ns,
    null as blkio_delay_ns,
    null as swapin_delay_ns,
    null as reclaim_delay_ns,
    null as thrashing_delay_ns,
    null as compact_delay_ns,
    null as irq_delay_ns,
    -- to here
    s.process_id as used_by,
    r.id as reading_id,
    iif(r.of_all = 2, p.start_ns, r.since_ns) as used_since_ns,
    min(
        r.until_ns,
        coalesce(p.start_ns + p.elapsed_ns, r.until_ns),
        iif(r.of_all = 2, (r.hour + 1) * 3600000000000 - c.offset_ns, r.until_ns)
    ) as used_until_ns
from usage_reading as r
join clock as c
    on c.id = r.clock_id
cross join usage_interval as s
    on s.reading_id = r.id
cross join process as p
    on p.id = s.process_id
left join usage_so_far as f
    on f.process_id = s.process_id
    and f.edge_ns = 0
left join comm as n
    on n.id = p.comm_id
