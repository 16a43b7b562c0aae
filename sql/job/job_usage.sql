-- Grain: one row per job. Jobs may share processes, so the rows do not add up to the host: see
-- reconciliation. A sum is over what is known: running, without_record, uncertain, inferred,
-- part_life and gaps count what that leaves out, and complete is 1 when every process has ended and
-- nothing is missing or uncertain. For the measures of taskstats, with_ticks, without_usage,
-- usage_partial, usage_gaps and part_life_whole count it, and usage_complete is the flag. wall_s =
-- last end - first start; elapsed_s is summed over processes. Jobs without processes are added by a
-- union, since a condition on job_id would not reach the keys through a left join. group_cpu_s and
-- the like are what the job's control group counted itself, processes of any length included.
-- job_peak_kib is never less than rss_kib, the most of any one process.
with used as (
    select
        u.job_id,
        sum(u.processes) as processes,
        sum(u.living) as running,
        sum(u.running) as unfinished,
        sum(u.records) as records,
        min(u.start_ns) as start_ns,
        case when sum(u.living) = 0 then max(u.end_ns) end as end_ns,
        min(u.started_ns) as started_ns,
        case when sum(u.living) = 0 then max(u.ended_ns) end as ended_ns,
        -- made by scripts/sql.py: parts from elapsed_s
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
        sum(u.read_syscalls >> 32) * 4294967296
            + sum(u.read_syscalls & 4294967295) as read_syscalls,
        sum(u.write_syscalls >> 32) * 4294967296
            + sum(u.write_syscalls & 4294967295) as write_syscalls,
        sum(u.read_bytes >> 32) * 4294967296 + sum(u.read_bytes & 4294967295) as read_bytes,
        sum(u.write_bytes >> 32) * 4294967296 + sum(u.write_bytes & 4294967295) as write_bytes,
        sum(u.cancelled_write_bytes >> 32) * 4294967296
            + sum(u.cancelled_write_bytes & 4294967295) as cancelled_write_bytes,
        sum(u.nvcsw >> 32) * 4294967296 + sum(u.nvcsw & 4294967295) as nvcsw,
        sum(u.nivcsw >> 32) * 4294967296 + sum(u.nivcsw & 4294967295) as nivcsw,
        sum(u.cpu_delay_ns >> 32) * 4294967296 + sum(u.cpu_delay_ns & 4294967295) as cpu_delay_ns,
        sum(u.blkio_delay_ns >> 32) * 4294967296
            + sum(u.blkio_delay_ns & 4294967295) as blkio_delay_ns,
        sum(u.swapin_delay_ns >> 32) * 4294967296
            + sum(u.swapin_delay_ns & 4294967295) as swapin_delay_ns,
        sum(u.reclaim_delay_ns >> 32) * 4294967296
            + sum(u.reclaim_delay_ns & 4294967295) as reclaim_delay_ns,
        sum(u.thrashing_delay_ns >> 32) * 4294967296
            + sum(u.thrashing_delay_ns & 4294967295) as thrashing_delay_ns,
        sum(u.compact_delay_ns >> 32) * 4294967296
            + sum(u.compact_delay_ns & 4294967295) as compact_delay_ns,
        sum(u.irq_delay_ns >> 32) * 4294967296 + sum(u.irq_delay_ns & 4294967295) as irq_delay_ns,
        -- to here
        sum(u.usage_missing) as usage_missing,
        max(u.exit_status) as exit_status,
        sum(u.inferred) as inferred,
        sum(u.part_life) as part_life,
        sum(u.part_life_whole) as part_life_whole,
        sum(u.uncertain) as uncertain,
        sum(u.without_record) as without_record
    from job_usage_part as u
    group by
        u.job_id
    union all
    select
        j.job_id,
        0 as processes,
        0 as running,
        0 as unfinished,
        0 as records,
        null as start_ns,
        null as end_ns,
        null as started_ns,
        null as ended_ns,
        -- made by scripts/sql.py: nothing from elapsed_s
        null as elapsed_s,
        null as etime_ticks,
        null as utime_ticks,
        null as stime_ticks,
        null as minflt,
        null as majflt,
        0 as with_usage,
        0 as with_ticks,
        0 as without_usage,
        0 as usage_partial,
        0 as sampled,
        null as user_s,
        null as system_s,
        null as cpu_s,
        null as minor_faults,
        null as major_faults,
        null as threads,
        null as run_ns,
        null as utime_us,
        null as stime_us,
        null as rss_kib,
        null as vm_kib,
        null as coremem_mb_s,
        null as virtmem_mb_s,
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
        0 as usage_missing,
        null as exit_status,
        0 as inferred,
        0 as part_life,
        0 as part_life_whole,
        0 as uncertain,
        0 as without_record
    from job_without_process as j
),

described as (
    select
        u.*,
        j.name,
        j.kind,
        j.owner_uid,
        j.created_at_ns,
        j.closed_at_ns,
        j.close_reason,
        (
            select count(*)
            from gap as g
            where
                g.boot_id = j.boot_id
                and g.kind <> 'taskstats'
                and coalesce(g.from_ns, 0) <= coalesce(u.end_ns, g.from_ns, 0)
                and (g.to_ns is null or g.to_ns >= u.start_ns)
                and u.start_ns is not null
        ) as gaps,
        (
            select count(*)
            from gap as g
            where
                g.boot_id = j.boot_id
                and g.kind = 'taskstats'
                and coalesce(g.from_ns, 0) <= coalesce(u.end_ns, g.from_ns, 0)
                and (g.to_ns is null or g.to_ns >= u.start_ns)
                and u.start_ns is not null
        ) as usage_gaps
    from used as u
    join job as j
        on j.id = u.job_id
)

select
    d.job_id,
    d.name,
    d.kind,
    d.owner_uid,
    d.created_at_ns,
    d.closed_at_ns,
    datetime(d.created_at_ns / 1000000000, 'unixepoch') as created_at,
    datetime(d.closed_at_ns / 1000000000, 'unixepoch') as closed_at,
    d.close_reason,
    case when d.closed_at_ns is null then 'open' else 'closed' end as state,
    d.processes,
    d.running,
    d.records,
    d.started_ns,
    d.ended_ns,
    datetime(d.started_ns / 1000000000, 'unixepoch') as started_at,
    datetime(d.ended_ns / 1000000000, 'unixepoch') as ended_at,
    (d.end_ns - d.start_ns) / 1e9 as wall_s,
    -- made by scripts/sql.py: names d from elapsed_s
    d.elapsed_s,
    d.etime_ticks,
    d.utime_ticks,
    d.stime_ticks,
    d.minflt,
    d.majflt,
    d.with_usage,
    d.with_ticks,
    d.without_usage,
    d.usage_partial,
    d.sampled,
    d.user_s,
    d.system_s,
    d.cpu_s,
    d.minor_faults,
    d.major_faults,
    d.threads,
    d.run_ns,
    d.utime_us,
    d.stime_us,
    d.rss_kib,
    d.vm_kib,
    d.coremem_mb_s,
    d.virtmem_mb_s,
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
    d.irq_delay_ns,
    -- to here
    d.exit_status,
    case when d.exit_status & 127 = 0 then (d.exit_status >> 8) & 255 end as exit_code,
    d.exit_status & 127 as exit_signal,
    d.inferred,
    d.part_life,
    d.part_life_whole,
    d.uncertain,
    d.without_record,
    d.gaps,
    d.usage_gaps,
    case
        when d.close_reason in ('defining', 'failed') then 0
        when d.inferred + d.uncertain + d.without_record + d.gaps
            + d.unfinished = 0 then 1
        else 0
    end as complete,
    case
        when d.close_reason in ('defining', 'failed') then 0
        when d.usage_missing + d.usage_partial + d.usage_gaps
            + d.part_life_whole + d.unfinished = 0 then 1
        else 0
    end as usage_complete,
    (
        select json_group_object(t.key, t.value)
        from job_tag as t
        where t.job_id = d.job_id
    ) as tags,
    (g.user_us + g.system_us) / 1e6 as group_cpu_s,
    g.memory_peak as group_peak_bytes,
    g.read_bytes as group_read_bytes,
    g.write_bytes as group_write_bytes,
    iif(d.rss_kib > coalesce(w.whole_kib, -1), d.rss_kib, w.whole_kib) as job_peak_kib,
    iif(d.rss_kib > coalesce(w.whole_kib, -1), 'largest', w.whole_by) as job_peak_by
from described as d
join job_whole_memory as w
    on w.job_id = d.job_id
left join job_cgroup as g
    on g.job_id = d.job_id
