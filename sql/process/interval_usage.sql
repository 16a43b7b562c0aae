-- Grain: one row per process and interval in which it used something, with the columns of
-- end_usage. process_id is NULL, as the process itself is counted in end_usage; used_by is its id.
-- command, uid, gid and forked_only are those that were known while it ran, so what its record says
-- at the end changes nothing here. ended_ns is the last nanosecond of the interval, in real time,
-- and ended_hour its hour. Measures that are not stored by interval are NULL.
select
    null as process_id,
    null as acct_id,
    i.host,
    i.host_id,
    i.boot_id,
    i.pid,
    null as parent_process_id,
    null as ppid,
    n.name as command,
    f.forked_only,
    null as superuser,
    null as dumped_core,
    null as killed,
    p.uid,
    f.gid,
    i.tty,
    null as start_ns,
    null as end_ns,
    null as started_ns,
    r.until_ns + c.offset_ns - 1 as ended_ns,
    r.hour as ended_hour,
    null as elapsed_ns,
    null as etime_ticks,
    null as utime_ticks,
    null as stime_ticks,
    s.user_us * 1000 as user_ns,
    s.system_us * 1000 as system_ns,
    'intervals' as provenance,
    null as minflt,
    null as majflt,
    s.minflt as minor_faults,
    s.majflt as major_faults,
    null as threads,
    null as usage_complete,
    case when f.run_ns is not null then (s.user_us + s.system_us) * 1000 end as run_ns,
    i.tick_ns,
    null as utime_us,
    null as stime_us,
    s.rss_kib,
    null as vm_kib,
    null as coremem_mb_us,
    null as virtmem_mb_us,
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
    i.exit_status,
    i.state,
    null as origin,
    null as record,
    null as class,
    null as before_first_start,
    i.in_job,
    null as rest_since_ns,
    s.process_id as used_by,
    r.id as reading_id,
    r.until_ns as used_until_ns
from usage_reading as r
cross join usage_interval as s
    on s.reading_id = r.id
cross join process as p
    on p.id = s.process_id
cross join incarnation_usage as i
    on i.process_id = s.process_id
left join usage_so_far as f
    on f.process_id = s.process_id
    and f.edge_ns = 0
left join comm as n
    on n.id = p.comm_id
left join clock as c
    on c.id = r.clock_id
