create view unattributed_usage as
-- Grain: one row: all processes that were never in a job, and all counted records that are joined to no process.
select
    count(u.process_id) as processes,
    count(case when u.state = 'running' then 1 end) as running,
    count(u.acct_id) as records,
    count(case when u.state = 'ended' and u.acct_id is null then 1 end) as without_record,
    count(case when u.record = 'uncertain' then 1 end) as uncertain,
    count(u.acct_id) - count(case when u.process_id is not null then u.acct_id end) as unjoined,
    sum((u.elapsed_ns + 500) / 1000) / 1e6 as elapsed_s,
    sum(u.etime_ticks) as etime_ticks,
    sum(u.utime_ticks) as utime_ticks,
    sum(u.stime_ticks) as stime_ticks,
    sum(u.minflt) as minflt,
    sum(u.majflt) as majflt,
    count(case when u.provenance = 'taskstats' then 1 end) as with_usage,
    count(u.provenance) - count(case when u.provenance = 'taskstats' then 1 end) as with_ticks,
    count(*) - count(u.provenance) as without_usage,
    count(case when u.usage_complete = 0 then 1 end) as usage_partial,
    sum(u.user_ns) / 1e9 as user_s,
    sum(u.system_ns) / 1e9 as system_s,
    sum(u.user_ns + u.system_ns) / 1e9 as cpu_s,
    sum(u.minor_faults) as minor_faults,
    sum(u.major_faults) as major_faults,
    sum(u.threads) as threads,
    sum(u.run_ns) as run_ns,
    sum(u.utime_us) as utime_us,
    sum(u.stime_us) as stime_us,
    max(u.rss_kib) as rss_kib,
    max(u.vm_kib) as vm_kib,
    sum(u.coremem_mb_us * 1.0) / 1e6 as coremem_mb_s,
    sum(u.virtmem_mb_us * 1.0) / 1e6 as virtmem_mb_s,
    sum(u.read_chars) as read_chars,
    sum(u.write_chars) as write_chars,
    sum(u.read_syscalls) as read_syscalls,
    sum(u.write_syscalls) as write_syscalls,
    sum(u.read_bytes) as read_bytes,
    sum(u.write_bytes) as write_bytes,
    sum(u.cancelled_write_bytes) as cancelled_write_bytes,
    sum(u.nvcsw) as nvcsw,
    sum(u.nivcsw) as nivcsw,
    sum(u.cpu_delay_ns) as cpu_delay_ns,
    sum(u.blkio_delay_ns) as blkio_delay_ns,
    sum(u.swapin_delay_ns) as swapin_delay_ns,
    sum(u.reclaim_delay_ns) as reclaim_delay_ns,
    sum(u.thrashing_delay_ns) as thrashing_delay_ns,
    sum(u.compact_delay_ns) as compact_delay_ns
from process_usage as u
where
    u.process_id is null
    or not exists (
        select 1
        from membership as m
        where m.process_id = u.process_id
    )
