-- Grain: one row per job and incarnation that was ever in it, with the remainder of what the
-- process used while it was a member: CPU time, faults and I/O less those in job_interval_usage.
-- That is 0 of a process that left, as an interval ended then. The other columns are as in
-- job_process_usage.
select
    u.job_id,
    u.how,
    u.since_ns,
    u.until_ns,
    u.memberships,
    u.part_life,
    u.part_life_whole,
    u.process_id,
    u.acct_id,
    u.host,
    u.host_id,
    u.boot_id,
    u.pid,
    u.parent_process_id,
    u.ppid,
    u.command,
    u.forked_only,
    u.superuser,
    u.dumped_core,
    u.killed,
    u.uid,
    u.gid,
    u.tty,
    u.start_ns,
    u.end_ns,
    u.started_ns,
    u.ended_ns,
    u.ended_hour,
    u.out_hour,
    u.elapsed_ns,
    u.etime_ticks,
    u.utime_ticks,
    u.stime_ticks,
    iif(u.part_life_whole, u.user_ns, iif(u.until_ns is null, e.user_ns, u.user_ns * 0))
        as user_ns,
    iif(u.part_life_whole, u.system_ns, iif(u.until_ns is null, e.system_ns, u.system_ns * 0))
        as system_ns,
    u.provenance,
    u.minflt,
    u.majflt,
    iif(
        u.part_life_whole,
        u.minor_faults,
        iif(u.until_ns is null, e.minor_faults, u.minor_faults * 0)
    ) as minor_faults,
    iif(
        u.part_life_whole,
        u.major_faults,
        iif(u.until_ns is null, e.major_faults, u.major_faults * 0)
    ) as major_faults,
    u.threads,
    u.usage_complete,
    iif(u.part_life_whole, u.run_ns, iif(u.until_ns is null, e.run_ns, u.run_ns * 0))
        as run_ns,
    u.below_tick,
    u.utime_us,
    u.stime_us,
    u.rss_kib,
    u.vm_kib,
    u.coremem_mb_us,
    u.virtmem_mb_us,
    -- made by scripts/sql.py: remainders-of-members from read_chars
    iif(u.part_life_whole, u.read_chars, iif(u.until_ns is null, e.read_chars, u.read_chars * 0))
        as read_chars,
    iif(u.part_life_whole, u.write_chars, iif(u.until_ns is null, e.write_chars, u.write_chars * 0))
        as write_chars,
    u.read_syscalls,
    u.write_syscalls,
    iif(u.part_life_whole, u.read_bytes, iif(u.until_ns is null, e.read_bytes, u.read_bytes * 0))
        as read_bytes,
    iif(u.part_life_whole, u.write_bytes, iif(u.until_ns is null, e.write_bytes, u.write_bytes * 0))
        as write_bytes,
    u.cancelled_write_bytes,
    u.nvcsw,
    u.nivcsw,
    u.cpu_delay_ns,
    u.blkio_delay_ns,
    u.swapin_delay_ns,
    u.reclaim_delay_ns,
    u.thrashing_delay_ns,
    u.compact_delay_ns,
    u.irq_delay_ns,
    -- to here
    u.exit_status,
    u.state,
    u.origin,
    u.record,
    u.class,
    u.before_first_start,
    iif(u.part_life_whole or u.until_ns is not null, u.start_ns, e.rest_since_ns)
        as rest_since_ns
from job_process_usage as u
join end_usage as e
    on e.process_id = u.process_id
