-- Grain: one row per job and process that was ever in it, with what it was charged after its last
-- interval, on the day on which it ended or left the job; and one row per job, process and hour
-- with what it used in the intervals of that hour as a member. A process in several jobs has rows
-- in each, so never sum this over jobs.
select
    m.host,
    m.day,
    m.job_id,
    m.how,
    m.since_ns,
    m.until_ns,
    m.part_life,
    m.part_life_whole,
    p.start_ns,
    p.end_ns,
    p.started_ns,
    p.ended_ns,
    -- made by scripts/sql.py: lake-members
    p.process_id,
    p.acct_id,
    p.state,
    p.record,
    case when m.part_life = 1 then m.provenance else p.provenance end as provenance,
    p.usage_complete,
    p.below_tick,
    case when m.part_life = 1 then m.elapsed_us else p.elapsed_us end as elapsed_us,
    p.etime_ticks,
    p.utime_ticks,
    p.stime_ticks,
    p.minflt,
    p.majflt,
    case when m.part_life = 1 then m.user_ns
        else p.user_ns - coalesce(p.in_intervals_user_ns, 0) end as user_ns,
    case when m.part_life = 1 then m.system_ns
        else p.system_ns - coalesce(p.in_intervals_system_ns, 0) end as system_ns,
    case when m.part_life = 1 then m.minor_faults
        else p.minor_faults - coalesce(p.in_intervals_minor_faults, 0) end as minor_faults,
    case when m.part_life = 1 then m.major_faults
        else p.major_faults - coalesce(p.in_intervals_major_faults, 0) end as major_faults,
    case when m.part_life = 1 then m.run_ns
        else p.run_ns - coalesce(p.in_intervals_run_ns, 0) end as run_ns,
    case when m.part_life = 1 then m.utime_us else p.utime_us end as utime_us,
    case when m.part_life = 1 then m.stime_us else p.stime_us end as stime_us,
    case when m.part_life = 1 then m.coremem_mb_us else p.coremem_mb_us end as coremem_mb_us,
    case when m.part_life = 1 then m.virtmem_mb_us else p.virtmem_mb_us end as virtmem_mb_us,
    case when m.part_life = 1 then m.read_chars
        else p.read_chars - coalesce(p.in_intervals_read_chars, 0) end as read_chars,
    case when m.part_life = 1 then m.write_chars
        else p.write_chars - coalesce(p.in_intervals_write_chars, 0) end as write_chars,
    case when m.part_life = 1 then m.read_syscalls else p.read_syscalls end as read_syscalls,
    case when m.part_life = 1 then m.write_syscalls else p.write_syscalls end as write_syscalls,
    case when m.part_life = 1 then m.read_bytes
        else p.read_bytes - coalesce(p.in_intervals_read_bytes, 0) end as read_bytes,
    case when m.part_life = 1 then m.write_bytes
        else p.write_bytes - coalesce(p.in_intervals_write_bytes, 0) end as write_bytes,
    case when m.part_life = 1 then m.cancelled_write_bytes
        else p.cancelled_write_bytes end as cancelled_write_bytes,
    case when m.part_life = 1 then m.nvcsw else p.nvcsw end as nvcsw,
    case when m.part_life = 1 then m.nivcsw else p.nivcsw end as nivcsw,
    case when m.part_life = 1 then m.cpu_delay_ns else p.cpu_delay_ns end as cpu_delay_ns,
    case when m.part_life = 1 then m.blkio_delay_ns else p.blkio_delay_ns end as blkio_delay_ns,
    case when m.part_life = 1 then m.swapin_delay_ns else p.swapin_delay_ns end as swapin_delay_ns,
    case when m.part_life = 1 then m.reclaim_delay_ns
        else p.reclaim_delay_ns end as reclaim_delay_ns,
    case when m.part_life = 1 then m.thrashing_delay_ns
        else p.thrashing_delay_ns end as thrashing_delay_ns,
    case when m.part_life = 1 then m.compact_delay_ns
        else p.compact_delay_ns end as compact_delay_ns,
    case when m.part_life = 1 then m.irq_delay_ns else p.irq_delay_ns end as irq_delay_ns,
    p.rss_kib,
    p.vm_kib,
    p.threads
    -- to here
from memberships as m
join processes as p
    on p.host = m.host
    and p.process_id = m.process_id
union all
select
    i.host,
    i.day,
    i.job_id,
    null as how,
    null as since_ns,
    null as until_ns,
    null as part_life,
    null as part_life_whole,
    null as start_ns,
    null as end_ns,
    null as started_ns,
    null as ended_ns,
    -- made by scripts/sql.py: lake-intervals i
    null as process_id,
    null as acct_id,
    null as state,
    null as record,
    'intervals' as provenance,
    null as usage_complete,
    null as below_tick,
    null as elapsed_us,
    null as etime_ticks,
    null as utime_ticks,
    null as stime_ticks,
    null as minflt,
    null as majflt,
    i.user_ns,
    i.system_ns,
    i.minor_faults,
    i.major_faults,
    i.run_ns,
    null as utime_us,
    null as stime_us,
    null as coremem_mb_us,
    null as virtmem_mb_us,
    i.read_chars,
    i.write_chars,
    null as read_syscalls,
    null as write_syscalls,
    i.read_bytes,
    i.write_bytes,
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
    i.rss_kib,
    null as vm_kib,
    null as threads
    -- to here
from job_intervals as i
