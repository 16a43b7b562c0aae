-- Grain: one row per counted accounting record that is joined to no incarnation (pending or
-- ambiguous), in the columns of a process. Its times are known to the second: the end is
-- acct.ended_s, and the kernel computed btime back from there. Each column has the affinity that it
-- has in incarnation_usage, through a cast or the sign +: only then does SQLite read the two in one
-- scan each for a query on process_usage, with its order and limit.
select
    cast(null as integer) as process_id,
    a.id as acct_id,
    h.name as host,
    f.host_id,
    cast(null as integer) as boot_id,
    a.pid,
    cast(null as integer) as parent_process_id,
    +a.ppid as ppid,
    n.name as command,
    a.flag & 1 as forked_only,
    (a.flag >> 1) & 1 as superuser,
    (a.flag >> 3) & 1 as dumped_core,
    (a.flag >> 4) & 1 as killed,
    +a.uid as uid,
    a.gid,
    a.tty,
    cast(null as integer) as start_ns,
    null as end_ns,
    (a.btime - case when a.ended_s < a.btime then 4294967296 else 0 end) * 1000000000 as started_ns,
    a.ended_s * 1000000000 as ended_ns,
    a.ended_hour,
    datetime(
        a.btime - case when a.ended_s < a.btime then 4294967296 else 0 end, 'unixepoch'
    ) as started_at,
    a.ended_at,
    cast(a.etime * 10000000 as integer) as elapsed_ns,
    a.etime / 100.0 as elapsed_s,
    cast(a.etime as integer) as etime_ticks,
    a.utime as utime_ticks,
    a.stime as stime_ticks,
    a.utime * 10000000 as user_ns,
    a.stime * 10000000 as system_ns,
    a.utime / 100.0 as user_s,
    a.stime / 100.0 as system_s,
    (a.utime + a.stime) / 100.0 as cpu_s,
    'acct' as provenance,
    a.minflt,
    a.majflt,
    a.swaps,
    a.mem as mem_kib,
    a.io as io_raw,
    +a.minflt as minor_faults,
    +a.majflt as major_faults,
    cast(null as integer) as threads,
    cast(null as integer) as usage_complete,
    null as run_ns,
    null as tick_ns,
    null as below_tick,
    null as utime_us,
    null as stime_us,
    null as rss_kib,
    cast(null as integer) as vm_kib,
    cast(null as integer) as coremem_mb_us,
    cast(null as integer) as virtmem_mb_us,
    null as coremem_mb_s,
    null as virtmem_mb_s,
    -- made by scripts/sql.py: unknown from read_chars
    null as read_chars,
    null as write_chars,
    null as read_syscalls,
    null as write_syscalls,
    null as read_bytes,
    null as write_bytes,
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
    cast(null as integer) as exe_dev,
    cast(null as integer) as exe_inode,
    +a.exitcode as exit_status,
    case when a.exitcode & 127 = 0 then (a.exitcode >> 8) & 255 end as exit_code,
    a.exitcode & 127 as exit_signal,
    'ended' as state,
    null as origin,
    null as end_source,
    a.late_s is not null as ended_inferred,
    case a.join_outcome
        when 0 then 'pending'
        when 1 then 'exact'
        when 2 then 'uncertain'
        when 3 then 'self'
        when 4 then 'own'
        when 5 then 'ambiguous'
    end as record,
    case when a.join_outcome = 5 then 'ambiguous' else 'pending' end as class,
    null as before_first_start,
    0 as in_job
from acct as a
left join acct_file as f
    on f.id = a.acct_file_id
left join host as h
    on h.id = f.host_id
left join comm as n
    on n.id = a.comm_id
where
    a.process_id is null
    and a.join_outcome <> 3
