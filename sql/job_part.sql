create view job_part as
-- Grain: one row per job and part of it: days and hours that are rolled up, and single processes that ended in it since, were taken out of
-- it since, or still run in it. Sum them, and take the least and the most of times and peaks, as job_usage does.
-- process_id, until_ns, ended_hour and out_hour are those of a single process, NULL for days and hours.
-- Processes are not summed here, since below a sum SQLite looks up every table of their view, asked for or not.
with single as not materialized (
    select
        u.job_id,
        u.process_id,
        u.until_ns,
        u.ended_hour,
        u.out_hour,
        u.process_id is not null as processes,
        u.state = 'running' as running,
        u.acct_id is not null as records,
        u.state = 'ended' and u.acct_id is null as without_record,
        coalesce(u.record = 'uncertain', 0) as uncertain,
        u.process_id is null as unjoined,
        (u.elapsed_ns + 500) / 1000 as elapsed_us,
        u.etime_ticks,
        u.utime_ticks,
        u.stime_ticks,
        u.minflt,
        u.majflt,
        coalesce(u.provenance = 'taskstats', 0) as with_usage,
        coalesce(u.provenance = 'acct', 0) as with_ticks,
        u.provenance is null as without_usage,
        coalesce(u.usage_complete = 0, 0) as usage_partial,
        u.user_ns,
        u.system_ns,
        u.user_ns + u.system_ns as cpu_ns,
        u.minor_faults,
        u.major_faults,
        u.threads,
        u.run_ns,
        u.utime_us,
        u.stime_us,
        u.rss_kib,
        u.vm_kib,
        u.coremem_mb_us * 1.0 as coremem_mb_us,
        u.virtmem_mb_us * 1.0 as virtmem_mb_us,
        u.read_chars,
        u.write_chars,
        u.read_syscalls,
        u.write_syscalls,
        u.read_bytes,
        u.write_bytes,
        u.cancelled_write_bytes,
        u.nvcsw,
        u.nivcsw,
        u.cpu_delay_ns,
        u.blkio_delay_ns,
        u.swapin_delay_ns,
        u.reclaim_delay_ns,
        u.thrashing_delay_ns,
        u.compact_delay_ns,
        coalesce(u.record = 'exact' and u.origin <> 'acct', 0) as seen_by_both,
        u.state = 'running' and u.acct_id is null as still_running,
        coalesce(u.origin = 'acct' or u.record = 'own', 0) as only_by_acct,
        u.how = 'inferred' as inferred,
        u.part_life,
        coalesce(u.part_life_whole = 1, 0) as part_life_whole,
        u.state = 'running' and u.until_ns is null as living,
        u.state = 'ended' and u.threads is null as usage_missing,
        case when u.since_ns > u.start_ns then u.since_ns else u.start_ns end as start_ns,
        coalesce(u.until_ns, u.end_ns) as end_ns,
        case when u.since_ns > u.start_ns then u.started_ns + u.since_ns - u.start_ns else u.started_ns end as started_ns,
        coalesce(u.until_ns + u.started_ns - u.start_ns, u.ended_ns) as ended_ns,
        case when u.how = 'launched' then u.exit_status end as exit_status
    from job_process_usage as u
)

select
    d.job_id,
    cast(null as integer) as process_id,
    cast(null as integer) as until_ns,
    cast(null as integer) as ended_hour,
    cast(null as integer) as out_hour,
    d.processes,
    d.running,
    d.records,
    d.without_record,
    d.uncertain,
    d.unjoined,
    d.elapsed_us,
    d.etime_ticks,
    d.utime_ticks,
    d.stime_ticks,
    d.minflt,
    d.majflt,
    d.with_usage,
    d.with_ticks,
    d.without_usage,
    d.usage_partial,
    d.user_ns,
    d.system_ns,
    d.cpu_ns,
    d.minor_faults,
    d.major_faults,
    d.threads,
    d.run_ns,
    d.utime_us,
    d.stime_us,
    d.rss_kib,
    d.vm_kib,
    d.coremem_mb_us,
    d.virtmem_mb_us,
    d.read_chars,
    d.write_chars,
    d.read_syscalls,
    d.write_syscalls,
    d.read_bytes,
    d.write_bytes,
    d.cancelled_write_bytes,
    d.nvcsw,
    d.nivcsw,
    d.cpu_delay_ns,
    d.blkio_delay_ns,
    d.swapin_delay_ns,
    d.reclaim_delay_ns,
    d.thrashing_delay_ns,
    d.compact_delay_ns,
    d.seen_by_both,
    d.still_running,
    d.only_by_acct,
    d.inferred,
    d.part_life,
    d.part_life_whole,
    d.living,
    d.usage_missing,
    d.start_ns,
    d.end_ns,
    d.started_ns,
    d.ended_ns,
    d.exit_status
from rollup_day_job as d
union all
select
    r.job_id,
    cast(null as integer) as process_id,
    cast(null as integer) as until_ns,
    cast(null as integer) as ended_hour,
    cast(null as integer) as out_hour,
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
from rolled_job as r
where
    r.hour in (
        select h.hour
        from apart_hour as h
    )
union all
select s.*
from single as s
where
    s.until_ns is null
    and s.ended_hour in (
        select h.hour
        from unrolled_hour as h
    )
union all
select s.*
from single as s
where
    s.until_ns is not null
    and s.process_id in (
        select m.process_id
        from membership as m
        where m.left_hour in (
            select h.hour
            from unrolled_hour as h
        )
    )
    and s.out_hour in (
        select h.hour
        from unrolled_hour as h
    )
union all
select s.*
from single as s
where
    s.until_ns is null
    and s.ended_hour is null
