-- Grain: one row per hour and job, of those hours that are rolled up: sums over what ended in the
-- hour, or was taken out of the job in it. Where processes were pruned there is a row for them and
-- one for what is left, so sum these rows. Hours that are not rolled up (yet) are in process_usage
-- alone.
select
    r.hour,
    r.pruned,
    r.job_id,
    -- made by scripts/sql.py: rolled-of-job r
    r.processes,
    r.running,
    r.records,
    r.without_record,
    r.uncertain,
    r.unjoined,
    r.elapsed_us,
    r.etime_ticks,
    r.utime_ticks,
    r.stime_ticks,
    r.minflt,
    r.majflt,
    r.with_usage,
    r.with_ticks,
    r.without_usage,
    r.usage_partial,
    r.sampled,
    r.user_ns,
    r.system_ns,
    r.cpu_ns,
    r.minor_faults,
    r.major_faults,
    r.threads,
    r.run_ns,
    r.utime_us,
    r.stime_us,
    r.rss_kib,
    r.vm_kib,
    r.coremem_mb_us,
    r.virtmem_mb_us,
    r.read_chars,
    r.write_chars,
    r.read_syscalls,
    r.write_syscalls,
    r.read_bytes,
    r.write_bytes,
    r.cancelled_write_bytes,
    r.nvcsw,
    r.nivcsw,
    r.cpu_delay_ns,
    r.blkio_delay_ns,
    r.swapin_delay_ns,
    r.reclaim_delay_ns,
    r.thrashing_delay_ns,
    r.compact_delay_ns,
    r.irq_delay_ns,
    r.seen_by_both,
    r.still_running,
    r.only_by_acct,
    r.inferred,
    r.part_life,
    r.part_life_whole,
    r.living,
    r.usage_missing,
    r.start_ns,
    r.end_ns,
    r.started_ns,
    r.ended_ns,
    r.exit_status
    -- to here
from rollup_job as r
where
    r.pruned = 1
    or exists (
        select 1
        from rollup_hour as h
        where
            h.hour = r.hour
            and h.ready = 1
    )
