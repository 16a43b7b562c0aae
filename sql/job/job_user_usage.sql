-- Grain: one row per job and real uid: what user_usage is for the host, within one job. The uids of
-- pruned processes are no longer known: they are one row of their job, with pruned 1 and no uid.
-- So the rows of a job add up to job_usage.
select
    u.job_id,
    u.uid,
    0 as pruned,
    -- made by scripts/sql.py: rows
    count(u.process_id) as processes,
    count(case when u.state = 'running' then u.process_id end) as running,
    count(u.acct_id) as records,
    count(case when u.state = 'ended' and u.acct_id is null
        then u.process_id end) as without_record,
    count(case when u.record = 'uncertain' then 1 end) as uncertain,
    count(case when u.process_id is null then u.acct_id end) as unjoined,
    (sum(((u.elapsed_ns + 500) / 1000) >> 32) * 4294967296
        + sum(((u.elapsed_ns + 500) / 1000) & 4294967295)) / 1e6 as elapsed_s,
    sum(u.etime_ticks >> 32) * 4294967296 + sum(u.etime_ticks & 4294967295) as etime_ticks,
    sum(u.utime_ticks >> 32) * 4294967296 + sum(u.utime_ticks & 4294967295) as utime_ticks,
    sum(u.stime_ticks >> 32) * 4294967296 + sum(u.stime_ticks & 4294967295) as stime_ticks,
    sum(u.minflt >> 32) * 4294967296 + sum(u.minflt & 4294967295) as minflt,
    sum(u.majflt >> 32) * 4294967296 + sum(u.majflt & 4294967295) as majflt,
    count(case when u.provenance = 'taskstats' then 1 end) as with_usage,
    count(case when u.provenance = 'acct' then 1 end) as with_ticks,
    count(case when u.provenance is null then 1 end) as without_usage,
    count(case when u.usage_complete = 0 then 1 end) as usage_partial,
    count(case when u.provenance = 'taskstats' and u.below_tick = 1 then 1 end) as sampled,
    (sum(u.user_ns >> 32) * 4294967296 + sum(u.user_ns & 4294967295)) / 1e9 as user_s,
    (sum(u.system_ns >> 32) * 4294967296 + sum(u.system_ns & 4294967295)) / 1e9 as system_s,
    (sum((u.user_ns + u.system_ns) >> 32) * 4294967296
        + sum((u.user_ns + u.system_ns) & 4294967295)) / 1e9 as cpu_s,
    sum(u.minor_faults >> 32) * 4294967296 + sum(u.minor_faults & 4294967295) as minor_faults,
    sum(u.major_faults >> 32) * 4294967296 + sum(u.major_faults & 4294967295) as major_faults,
    sum(u.threads >> 32) * 4294967296 + sum(u.threads & 4294967295) as threads,
    sum(u.run_ns >> 32) * 4294967296 + sum(u.run_ns & 4294967295) as run_ns,
    sum(u.utime_us >> 32) * 4294967296 + sum(u.utime_us & 4294967295) as utime_us,
    sum(u.stime_us >> 32) * 4294967296 + sum(u.stime_us & 4294967295) as stime_us,
    max(u.rss_kib) as rss_kib,
    max(u.vm_kib) as vm_kib,
    (sum(u.coremem_mb_us * 1.0)) / 1e6 as coremem_mb_s,
    (sum(u.virtmem_mb_us * 1.0)) / 1e6 as virtmem_mb_s,
    sum(u.read_chars >> 32) * 4294967296 + sum(u.read_chars & 4294967295) as read_chars,
    sum(u.write_chars >> 32) * 4294967296 + sum(u.write_chars & 4294967295) as write_chars,
    sum(u.read_syscalls >> 32) * 4294967296 + sum(u.read_syscalls & 4294967295) as read_syscalls,
    sum(u.write_syscalls >> 32) * 4294967296 + sum(u.write_syscalls & 4294967295) as write_syscalls,
    sum(u.read_bytes >> 32) * 4294967296 + sum(u.read_bytes & 4294967295) as read_bytes,
    sum(u.write_bytes >> 32) * 4294967296 + sum(u.write_bytes & 4294967295) as write_bytes,
    sum(u.cancelled_write_bytes >> 32) * 4294967296
        + sum(u.cancelled_write_bytes & 4294967295) as cancelled_write_bytes,
    sum(u.nvcsw >> 32) * 4294967296 + sum(u.nvcsw & 4294967295) as nvcsw,
    sum(u.nivcsw >> 32) * 4294967296 + sum(u.nivcsw & 4294967295) as nivcsw,
    sum(u.cpu_delay_ns >> 32) * 4294967296 + sum(u.cpu_delay_ns & 4294967295) as cpu_delay_ns,
    sum(u.blkio_delay_ns >> 32) * 4294967296 + sum(u.blkio_delay_ns & 4294967295) as blkio_delay_ns,
    sum(u.swapin_delay_ns >> 32) * 4294967296
        + sum(u.swapin_delay_ns & 4294967295) as swapin_delay_ns,
    sum(u.reclaim_delay_ns >> 32) * 4294967296
        + sum(u.reclaim_delay_ns & 4294967295) as reclaim_delay_ns,
    sum(u.thrashing_delay_ns >> 32) * 4294967296
        + sum(u.thrashing_delay_ns & 4294967295) as thrashing_delay_ns,
    sum(u.compact_delay_ns >> 32) * 4294967296
        + sum(u.compact_delay_ns & 4294967295) as compact_delay_ns,
    sum(u.irq_delay_ns >> 32) * 4294967296 + sum(u.irq_delay_ns & 4294967295) as irq_delay_ns
    -- to here
from job_process_usage as u
group by
    u.job_id,
    u.uid
union all
select
    u.job_id,
    null as uid,
    1 as pruned,
    -- made by scripts/sql.py: parts
    coalesce(sum(u.processes), 0) as processes,
    coalesce(sum(u.running), 0) as running,
    coalesce(sum(u.records), 0) as records,
    coalesce(sum(u.without_record), 0) as without_record,
    coalesce(sum(u.uncertain), 0) as uncertain,
    coalesce(sum(u.unjoined), 0) as unjoined,
    (sum(u.elapsed_us >> 32) * 4294967296 + sum(u.elapsed_us & 4294967295)) / 1e6 as elapsed_s,
    sum(u.etime_ticks >> 32) * 4294967296 + sum(u.etime_ticks & 4294967295) as etime_ticks,
    sum(u.utime_ticks >> 32) * 4294967296 + sum(u.utime_ticks & 4294967295) as utime_ticks,
    sum(u.stime_ticks >> 32) * 4294967296 + sum(u.stime_ticks & 4294967295) as stime_ticks,
    sum(u.minflt >> 32) * 4294967296 + sum(u.minflt & 4294967295) as minflt,
    sum(u.majflt >> 32) * 4294967296 + sum(u.majflt & 4294967295) as majflt,
    coalesce(sum(u.with_usage), 0) as with_usage,
    coalesce(sum(u.with_ticks), 0) as with_ticks,
    coalesce(sum(u.without_usage), 0) as without_usage,
    coalesce(sum(u.usage_partial), 0) as usage_partial,
    coalesce(sum(u.sampled), 0) as sampled,
    (sum(u.user_ns >> 32) * 4294967296 + sum(u.user_ns & 4294967295)) / 1e9 as user_s,
    (sum(u.system_ns >> 32) * 4294967296 + sum(u.system_ns & 4294967295)) / 1e9 as system_s,
    (sum(u.cpu_ns >> 32) * 4294967296 + sum(u.cpu_ns & 4294967295)) / 1e9 as cpu_s,
    sum(u.minor_faults >> 32) * 4294967296 + sum(u.minor_faults & 4294967295) as minor_faults,
    sum(u.major_faults >> 32) * 4294967296 + sum(u.major_faults & 4294967295) as major_faults,
    sum(u.threads >> 32) * 4294967296 + sum(u.threads & 4294967295) as threads,
    sum(u.run_ns >> 32) * 4294967296 + sum(u.run_ns & 4294967295) as run_ns,
    sum(u.utime_us >> 32) * 4294967296 + sum(u.utime_us & 4294967295) as utime_us,
    sum(u.stime_us >> 32) * 4294967296 + sum(u.stime_us & 4294967295) as stime_us,
    max(u.rss_kib) as rss_kib,
    max(u.vm_kib) as vm_kib,
    (sum(u.coremem_mb_us)) / 1e6 as coremem_mb_s,
    (sum(u.virtmem_mb_us)) / 1e6 as virtmem_mb_s,
    sum(u.read_chars >> 32) * 4294967296 + sum(u.read_chars & 4294967295) as read_chars,
    sum(u.write_chars >> 32) * 4294967296 + sum(u.write_chars & 4294967295) as write_chars,
    sum(u.read_syscalls >> 32) * 4294967296 + sum(u.read_syscalls & 4294967295) as read_syscalls,
    sum(u.write_syscalls >> 32) * 4294967296 + sum(u.write_syscalls & 4294967295) as write_syscalls,
    sum(u.read_bytes >> 32) * 4294967296 + sum(u.read_bytes & 4294967295) as read_bytes,
    sum(u.write_bytes >> 32) * 4294967296 + sum(u.write_bytes & 4294967295) as write_bytes,
    sum(u.cancelled_write_bytes >> 32) * 4294967296
        + sum(u.cancelled_write_bytes & 4294967295) as cancelled_write_bytes,
    sum(u.nvcsw >> 32) * 4294967296 + sum(u.nvcsw & 4294967295) as nvcsw,
    sum(u.nivcsw >> 32) * 4294967296 + sum(u.nivcsw & 4294967295) as nivcsw,
    sum(u.cpu_delay_ns >> 32) * 4294967296 + sum(u.cpu_delay_ns & 4294967295) as cpu_delay_ns,
    sum(u.blkio_delay_ns >> 32) * 4294967296 + sum(u.blkio_delay_ns & 4294967295) as blkio_delay_ns,
    sum(u.swapin_delay_ns >> 32) * 4294967296
        + sum(u.swapin_delay_ns & 4294967295) as swapin_delay_ns,
    sum(u.reclaim_delay_ns >> 32) * 4294967296
        + sum(u.reclaim_delay_ns & 4294967295) as reclaim_delay_ns,
    sum(u.thrashing_delay_ns >> 32) * 4294967296
        + sum(u.thrashing_delay_ns & 4294967295) as thrashing_delay_ns,
    sum(u.compact_delay_ns >> 32) * 4294967296
        + sum(u.compact_delay_ns & 4294967295) as compact_delay_ns,
    sum(u.irq_delay_ns >> 32) * 4294967296 + sum(u.irq_delay_ns & 4294967295) as irq_delay_ns
    -- to here
from rollup_job_ready as u
where u.pruned = 1
group by
    u.job_id
