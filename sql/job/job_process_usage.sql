create view job_process_usage as
-- Grain: one row per job and incarnation that was ever in it, with what the process used while it
-- was; where its counters were not read at every edge of a part-life stay the whole is charged
-- (part_life_whole). The accounting record's own columns (ticks, minflt), threads, peaks, start and
-- end are those of the whole life. The charge is the counters at the end (of the life, or of the
-- last stay) less those when it came in, over all stays, never below 0. A process in several jobs
-- has a row in each, so never sum this over jobs: see reconciliation.
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
                from counter_snapshot as b
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
    from job_member as pj
    join incarnation_usage as u
        on u.process_id = pj.process_id
    left join counter_snapshot as f
        on f.job_id = pj.job_id
        and f.process_id = pj.process_id
        and f.since_ns = pj.since_ns
        and f.edge = case when pj.since_ns = 0 then 1 else 0 end
),

member as (
    select
        stayed.*,
        case
            when stayed.in_part = 0 then stayed.user_ns + stayed.system_ns
            else (
                select case
                    when count(coalesce(b.run_ns, (b.utime_us + b.stime_us) * 1000)) = count(*)
                        then max(0, case when stayed.until_ns is null then stayed.user_ns + stayed.system_ns else 0 end
                            + sum((2 * b.edge - 1) * coalesce(b.run_ns, (b.utime_us + b.stime_us) * 1000)))
                end
                from counter_snapshot as b
                where b.job_id = stayed.job_id and b.process_id = stayed.process_id
            )
        end as charged_ns,
        -- of the whole life, or while that is not over, up to when it was taken out
        coalesce(
            stayed.user_ns * 1.0 / nullif(stayed.user_ns + stayed.system_ns, 0),
            (
                select sum(b.edge * b.utime_us) * 1.0 / nullif(sum(b.edge * (b.utime_us + b.stime_us)), 0)
                from counter_snapshot as b
                where b.job_id = stayed.job_id and b.process_id = stayed.process_id
            ),
            1.0
        ) as user_share
    from stayed
),

charged as (
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
        member.host_id,
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
        member.ended_hour,
        case
            when member.until_ns is null then member.ended_hour
            else (member.until_ns + member.started_ns - member.start_ns) / 3600000000000
        end as out_hour,
        member.started_at,
        member.ended_at,
        case
            when member.part_life = 0 then member.elapsed_ns
            else (
                select case
                    when count(coalesce(m.until_ns, member.end_ns)) = count(*)
                        -- an end that only a record tells is cut to a tick, and so may lie before
                        -- the moment of joining
                        then sum(max(coalesce(m.until_ns, member.end_ns) - max(m.since_ns, member.start_ns), 0))
                end
                from membership as m
                where m.job_id = member.job_id and m.process_id = member.process_id
            )
        end as elapsed_ns,
        member.etime_ticks,
        member.utime_ticks,
        member.stime_ticks,
        case when member.in_part = 0 then member.user_ns else min(member.charged_ns, cast(member.charged_ns * member.user_share as integer)) end as user_ns,
        case
            when member.in_part = 0 then member.system_ns
            else member.charged_ns - min(member.charged_ns, cast(member.charged_ns * member.user_share as integer))
        end as system_ns,
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
                from counter_snapshot as b
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
                from counter_snapshot as b
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
                from counter_snapshot as b
                where b.job_id = member.job_id and b.process_id = member.process_id
            )
        end as run_ns,
        member.tick_ns,
        case
            when member.in_part = 0 then member.utime_us
            else (
                select case
                    when count(b.utime_us) = count(*)
                        then max(0, case when member.until_ns is null then member.utime_us else 0 end
                            + sum((2 * b.edge - 1) * b.utime_us))
                end
                from counter_snapshot as b
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
                from counter_snapshot as b
                where b.job_id = member.job_id and b.process_id = member.process_id
            )
        end as stime_us,
        member.rss_kib,
        member.vm_kib,
        case
            when member.in_part = 0 then member.coremem_mb_us
            else (
                select case
                    when count(b.coremem_mb_us) = count(*)
                        then max(0, case when member.until_ns is null then member.coremem_mb_us else 0 end
                            + sum((2 * b.edge - 1) * b.coremem_mb_us))
                end
                from counter_snapshot as b
                where b.job_id = member.job_id and b.process_id = member.process_id
            )
        end as coremem_mb_us,
        case
            when member.in_part = 0 then member.virtmem_mb_us
            else (
                select case
                    when count(b.virtmem_mb_us) = count(*)
                        then max(0, case when member.until_ns is null then member.virtmem_mb_us else 0 end
                            + sum((2 * b.edge - 1) * b.virtmem_mb_us))
                end
                from counter_snapshot as b
                where b.job_id = member.job_id and b.process_id = member.process_id
            )
        end as virtmem_mb_us,
        case
            when member.in_part = 0 then member.read_chars
            else (
                select case
                    when count(b.read_chars) = count(*)
                        then max(0, case when member.until_ns is null then member.read_chars else 0 end
                            + sum((2 * b.edge - 1) * b.read_chars))
                end
                from counter_snapshot as b
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
                from counter_snapshot as b
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
                from counter_snapshot as b
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
                from counter_snapshot as b
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
                from counter_snapshot as b
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
                from counter_snapshot as b
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
                from counter_snapshot as b
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
                from counter_snapshot as b
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
                from counter_snapshot as b
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
                from counter_snapshot as b
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
                from counter_snapshot as b
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
                from counter_snapshot as b
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
                from counter_snapshot as b
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
                from counter_snapshot as b
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
                from counter_snapshot as b
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
        member.end_source,
        member.ended_inferred,
        member.record,
        member.class,
        member.before_first_start
    from member
)

select
    charged.job_id,
    charged.how,
    charged.since_ns,
    charged.until_ns,
    charged.stays,
    charged.part_life,
    charged.part_life_whole,
    charged.process_id,
    charged.acct_id,
    charged.host,
    charged.host_id,
    charged.boot_id,
    charged.pid,
    charged.parent_process_id,
    charged.ppid,
    charged.command,
    charged.forked_only,
    charged.superuser,
    charged.dumped_core,
    charged.killed,
    charged.uid,
    charged.gid,
    charged.tty,
    charged.start_ns,
    charged.end_ns,
    charged.started_ns,
    charged.ended_ns,
    charged.ended_hour,
    charged.out_hour,
    charged.started_at,
    charged.ended_at,
    charged.elapsed_ns,
    charged.elapsed_ns / 1e9 as elapsed_s,
    charged.etime_ticks,
    charged.utime_ticks,
    charged.stime_ticks,
    charged.user_ns,
    charged.system_ns,
    charged.user_ns / 1e9 as user_s,
    charged.system_ns / 1e9 as system_s,
    (charged.user_ns + charged.system_ns) / 1e9 as cpu_s,
    charged.provenance,
    charged.minflt,
    charged.majflt,
    charged.swaps,
    charged.mem_kib,
    charged.io_raw,
    charged.minor_faults,
    charged.major_faults,
    charged.threads,
    charged.usage_complete,
    charged.run_ns,
    charged.tick_ns,
    charged.utime_us,
    charged.stime_us,
    charged.rss_kib,
    charged.vm_kib,
    charged.coremem_mb_us,
    charged.virtmem_mb_us,
    charged.coremem_mb_us / 1e6 as coremem_mb_s,
    charged.virtmem_mb_us / 1e6 as virtmem_mb_s,
    charged.read_chars,
    charged.write_chars,
    charged.read_syscalls,
    charged.write_syscalls,
    charged.read_bytes,
    charged.write_bytes,
    charged.cancelled_write_bytes,
    charged.nvcsw,
    charged.nivcsw,
    charged.cpu_delay_ns,
    charged.blkio_delay_ns,
    charged.swapin_delay_ns,
    charged.reclaim_delay_ns,
    charged.thrashing_delay_ns,
    charged.compact_delay_ns,
    charged.exe_dev,
    charged.exe_inode,
    charged.exit_status,
    charged.exit_code,
    charged.exit_signal,
    charged.state,
    charged.origin,
    charged.end_source,
    charged.ended_inferred,
    charged.record,
    charged.class,
    charged.before_first_start
from charged
