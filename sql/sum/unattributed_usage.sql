-- Grain: one row: all processes that were never in a job, pruned ones too, and all counted records
-- that are joined to no process.
select
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
from user_usage_part as u
where u.in_job = 0
