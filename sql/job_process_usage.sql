create view job_process_usage as
-- Grain: one row per job and incarnation that was ever in it, with what the process used while it was; where its counters were not read
-- at every edge of a part-life stay the whole is charged (part_life_whole). The accounting record's own columns (ticks, minflt), threads,
-- peaks, start and end are those of the whole life.
-- The charge is the counters at the end (of the life, or of the last stay) less those when it came in, over all stays, never below 0.
-- A process in several jobs has a row in each, so never sum this over jobs: see reconciliation.
with stayed as (
    select
        pj.job_id,
        pj.how,
        pj.since_ns,
        pj.until_ns,
        pj.stays,
        pj.part_life,
        -- f, its first edge, is a cheap look before all of them are counted
        case
            when f.edge is null then 0
            else (
                select count(*)
                from baseline as b
                where
                    b.job_id = pj.job_id
                    and b.process_id = pj.process_id
            ) = (
                select sum((m.since_ns <> 0) + (m.until_ns is not null))
                from membership as m
                where
                    m.job_id = pj.job_id
                    and m.process_id = pj.process_id
            )
        end as in_part,
        u.*
    from process_job as pj
    join incarnation_usage as u
        on u.process_id = pj.process_id
    left join baseline as f
        on f.job_id = pj.job_id
        and f.process_id = pj.process_id
        and f.since_ns = pj.since_ns
        and f.edge = case when pj.since_ns = 0 then 1 else 0 end
),

member as (
    select
        stayed.*,
        case
            when stayed.in_part = 0 then stayed.cpu_s
            else (
                select case
                    when count(coalesce(b.run_ns, (b.utime_us + b.stime_us) * 1000)) = count(*)
                        then max(0, case when stayed.until_ns is null then stayed.cpu_s else 0 end
                            + sum((2 * b.edge - 1) * coalesce(b.run_ns, (b.utime_us + b.stime_us) * 1000)) / 1e9)
                end
                from baseline as b
                where b.job_id = stayed.job_id and b.process_id = stayed.process_id
            )
        end as charged_s,
        -- of the whole life, or while that is not over, up to when it was taken out
        coalesce(
            stayed.user_s / nullif(stayed.cpu_s, 0),
            (
                select sum(b.edge * b.utime_us) * 1.0 / nullif(sum(b.edge * (b.utime_us + b.stime_us)), 0)
                from baseline as b
                where b.job_id = stayed.job_id and b.process_id = stayed.process_id
            ),
            1.0
        ) as user_share
    from stayed
)

select
    member.job_id,
    member.how,
    member.since_ns,
    member.until_ns,
    member.stays,
    member.part_life,
    member.part_life - member.in_part as part_life_whole,
    member.process_id,
    member.acct_id,
    member.host,
    member.boot_id,
    member.pid,
    member.parent_process_id,
    member.ppid,
    member.command,
    member.forked_only,
    member.superuser,
    member.dumped_core,
    member.killed,
    member.uid,
    member.gid,
    member.tty,
    member.start_ns,
    member.end_ns,
    member.started_ns,
    member.ended_ns,
    member.started_at,
    member.ended_at,
    case
        when member.part_life = 0 then member.elapsed_s
        else (
            select case
                when count(coalesce(m.until_ns, member.end_ns)) = count(*)
                    then sum(coalesce(m.until_ns, member.end_ns) - max(m.since_ns, member.start_ns)) / 1e9
            end
            from membership as m
            where m.job_id = member.job_id and m.process_id = member.process_id
        )
    end as elapsed_s,
    member.etime_ticks,
    member.utime_ticks,
    member.stime_ticks,
    case when member.in_part = 0 then member.user_s else member.charged_s * member.user_share end as user_s,
    case when member.in_part = 0 then member.system_s else member.charged_s * (1 - member.user_share) end as system_s,
    member.charged_s as cpu_s,
    case when member.in_part = 1 and member.until_ns is not null then 'taskstats' else member.provenance end as provenance,
    member.minflt,
    member.majflt,
    member.swaps,
    member.mem_kib,
    member.io_raw,
    case
        when member.in_part = 0 then member.minor_faults
        else (
            select case
                when count(b.minflt) = count(*)
                    then max(0, case when member.until_ns is null then member.minor_faults else 0 end
                        + sum((2 * b.edge - 1) * b.minflt))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as minor_faults,
    case
        when member.in_part = 0 then member.major_faults
        else (
            select case
                when count(b.majflt) = count(*)
                    then max(0, case when member.until_ns is null then member.major_faults else 0 end
                        + sum((2 * b.edge - 1) * b.majflt))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as major_faults,
    member.threads,
    member.usage_complete,
    case
        when member.in_part = 0 then member.run_ns
        else (
            select case
                when count(b.run_ns) = count(*)
                    then max(0, case when member.until_ns is null then member.run_ns else 0 end
                        + sum((2 * b.edge - 1) * b.run_ns))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as run_ns,
    case
        when member.in_part = 0 then member.utime_us
        else (
            select case
                when count(b.utime_us) = count(*)
                    then max(0, case when member.until_ns is null then member.utime_us else 0 end
                        + sum((2 * b.edge - 1) * b.utime_us))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as utime_us,
    case
        when member.in_part = 0 then member.stime_us
        else (
            select case
                when count(b.stime_us) = count(*)
                    then max(0, case when member.until_ns is null then member.stime_us else 0 end
                        + sum((2 * b.edge - 1) * b.stime_us))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as stime_us,
    member.rss_kib,
    member.vm_kib,
    case
        when member.in_part = 0 then member.coremem_mb_s
        else (
            select case
                when count(b.coremem_mb_us) = count(*)
                    then max(0, case when member.until_ns is null then member.coremem_mb_s else 0 end
                        + sum((2 * b.edge - 1) * b.coremem_mb_us) / 1e6)
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as coremem_mb_s,
    case
        when member.in_part = 0 then member.virtmem_mb_s
        else (
            select case
                when count(b.virtmem_mb_us) = count(*)
                    then max(0, case when member.until_ns is null then member.virtmem_mb_s else 0 end
                        + sum((2 * b.edge - 1) * b.virtmem_mb_us) / 1e6)
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as virtmem_mb_s,
    case
        when member.in_part = 0 then member.read_chars
        else (
            select case
                when count(b.read_chars) = count(*)
                    then max(0, case when member.until_ns is null then member.read_chars else 0 end
                        + sum((2 * b.edge - 1) * b.read_chars))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as read_chars,
    case
        when member.in_part = 0 then member.write_chars
        else (
            select case
                when count(b.write_chars) = count(*)
                    then max(0, case when member.until_ns is null then member.write_chars else 0 end
                        + sum((2 * b.edge - 1) * b.write_chars))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as write_chars,
    case
        when member.in_part = 0 then member.read_syscalls
        else (
            select case
                when count(b.read_syscalls) = count(*)
                    then nullif(
                        max(0, case when member.until_ns is null then member.read_syscalls else 0 end + sum((2 * b.edge - 1) * b.read_syscalls)),
                        case when member.until_ns is null then 0 end
                    )
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as read_syscalls,
    case
        when member.in_part = 0 then member.write_syscalls
        else (
            select case
                when count(b.write_syscalls) = count(*)
                    then nullif(
                        max(0, case when member.until_ns is null then member.write_syscalls else 0 end + sum((2 * b.edge - 1) * b.write_syscalls)),
                        case when member.until_ns is null then 0 end
                    )
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as write_syscalls,
    case
        when member.in_part = 0 then member.read_bytes
        else (
            select case
                when count(b.read_bytes) = count(*)
                    then max(0, case when member.until_ns is null then member.read_bytes else 0 end
                        + sum((2 * b.edge - 1) * b.read_bytes))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as read_bytes,
    case
        when member.in_part = 0 then member.write_bytes
        else (
            select case
                when count(b.write_bytes) = count(*)
                    then max(0, case when member.until_ns is null then member.write_bytes else 0 end
                        + sum((2 * b.edge - 1) * b.write_bytes))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as write_bytes,
    case
        when member.in_part = 0 then member.cancelled_write_bytes
        else (
            select case
                when count(b.cancelled_write_bytes) = count(*)
                    then max(0, case when member.until_ns is null then member.cancelled_write_bytes else 0 end
                        + sum((2 * b.edge - 1) * b.cancelled_write_bytes))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as cancelled_write_bytes,
    case
        when member.in_part = 0 then member.nvcsw
        else (
            select case
                when count(b.nvcsw) = count(*)
                    then max(0, case when member.until_ns is null then member.nvcsw else 0 end
                        + sum((2 * b.edge - 1) * b.nvcsw))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as nvcsw,
    case
        when member.in_part = 0 then member.nivcsw
        else (
            select case
                when count(b.nivcsw) = count(*)
                    then max(0, case when member.until_ns is null then member.nivcsw else 0 end
                        + sum((2 * b.edge - 1) * b.nivcsw))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as nivcsw,
    case
        when member.in_part = 0 then member.cpu_delay_ns
        else (
            select case
                when count(b.cpu_delay_ns) = count(*)
                    then max(0, case when member.until_ns is null then member.cpu_delay_ns else 0 end
                        + sum((2 * b.edge - 1) * b.cpu_delay_ns))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as cpu_delay_ns,
    case
        when member.in_part = 0 then member.blkio_delay_ns
        else (
            select case
                when count(b.blkio_delay_ns) = count(*)
                    then max(0, case when member.until_ns is null then member.blkio_delay_ns else 0 end
                        + sum((2 * b.edge - 1) * b.blkio_delay_ns))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as blkio_delay_ns,
    case
        when member.in_part = 0 then member.swapin_delay_ns
        else (
            select case
                when count(b.swapin_delay_ns) = count(*)
                    then max(0, case when member.until_ns is null then member.swapin_delay_ns else 0 end
                        + sum((2 * b.edge - 1) * b.swapin_delay_ns))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as swapin_delay_ns,
    case
        when member.in_part = 0 then member.reclaim_delay_ns
        else (
            select case
                when count(b.reclaim_delay_ns) = count(*)
                    then max(0, case when member.until_ns is null then member.reclaim_delay_ns else 0 end
                        + sum((2 * b.edge - 1) * b.reclaim_delay_ns))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as reclaim_delay_ns,
    case
        when member.in_part = 0 then member.thrashing_delay_ns
        else (
            select case
                when count(b.thrashing_delay_ns) = count(*)
                    then max(0, case when member.until_ns is null then member.thrashing_delay_ns else 0 end
                        + sum((2 * b.edge - 1) * b.thrashing_delay_ns))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as thrashing_delay_ns,
    case
        when member.in_part = 0 then member.compact_delay_ns
        else (
            select case
                when count(b.compact_delay_ns) = count(*)
                    then max(0, case when member.until_ns is null then member.compact_delay_ns else 0 end
                        + sum((2 * b.edge - 1) * b.compact_delay_ns))
            end
            from baseline as b
            where b.job_id = member.job_id and b.process_id = member.process_id
        )
    end as compact_delay_ns,
    member.exe_dev,
    member.exe_inode,
    member.exit_status,
    member.exit_code,
    member.exit_signal,
    member.state,
    member.origin,
    member.end_how,
    member.record
from member
