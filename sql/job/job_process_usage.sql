-- Grain: one row per job and incarnation that was ever in it, with what the process used while it
-- was a member: its counters at each leave and at its end, less those at each entry, never below 0.
-- That holds for CPU time, page faults and the sums of taskstats; the accounting record's own
-- columns (ticks, minflt), threads, peaks, start and end are those of the whole process. Where the
-- counters of a part-life member were not read at each entry and leave, the whole process is
-- charged (part_life_whole = 1). A process in several jobs has a row in each, so never sum this
-- over jobs: see reconciliation.
with member as (
    -- charge is a JSON object of what the process used while it was a member, in which null is
    -- unknown; it is NULL where counters were not read at every entry and leave. json_each replaces
    -- the lateral join that SQLite does not have, so that they are looked up once.
    select
        pj.job_id,
        pj.how,
        pj.since_ns,
        pj.until_ns,
        pj.memberships,
        pj.part_life,
        u.*,
        c.value as charge,
        c.value is not null as in_part
    from (select m.*, m.until_ns is null as at_end from job_member as m) as pj
    join incarnation_usage as u
        on u.process_id = pj.process_id
    left join json_each(coalesce(
        (
            select json_array(json_object(
                -- made by scripts/sql.py: charges
                'user_ns', case when count(b.user_ns) = count(*)
                    then max(0, sum(b.sign * b.user_ns) + iif(pj.at_end, u.user_ns, 0)) end,
                'system_ns', case when count(b.system_ns) = count(*)
                    then max(0, sum(b.sign * b.system_ns) + iif(pj.at_end, u.system_ns, 0)) end,
                'minor_faults', case when count(b.minflt) = count(*)
                    then max(0, sum(b.sign * b.minflt) + iif(pj.at_end, u.minor_faults, 0)) end,
                'major_faults', case when count(b.majflt) = count(*)
                    then max(0, sum(b.sign * b.majflt) + iif(pj.at_end, u.major_faults, 0)) end,
                'run_ns', case when count(b.run_ns) = count(*)
                    then max(0, sum(b.sign * b.run_ns) + iif(pj.at_end, u.run_ns, 0)) end,
                'utime_us', case when count(b.utime_us) = count(*)
                    then max(0, sum(b.sign * b.utime_us) + iif(pj.at_end, u.utime_us, 0)) end,
                'stime_us', case when count(b.stime_us) = count(*)
                    then max(0, sum(b.sign * b.stime_us) + iif(pj.at_end, u.stime_us, 0)) end,
                'coremem_mb_us', case when count(b.coremem_mb_us) = count(*)
                    then max(0, sum(b.sign * b.coremem_mb_us)
                        + iif(pj.at_end, u.coremem_mb_us, 0)) end,
                'virtmem_mb_us', case when count(b.virtmem_mb_us) = count(*)
                    then max(0, sum(b.sign * b.virtmem_mb_us)
                        + iif(pj.at_end, u.virtmem_mb_us, 0)) end,
                'read_chars', case when count(b.read_chars) = count(*)
                    then max(0, sum(b.sign * b.read_chars) + iif(pj.at_end, u.read_chars, 0)) end,
                'write_chars', case when count(b.write_chars) = count(*)
                    then max(0, sum(b.sign * b.write_chars) + iif(pj.at_end, u.write_chars, 0)) end,
                'read_syscalls', case when count(b.read_syscalls) = count(*)
                    then nullif(
                        max(0, sum(b.sign * b.read_syscalls) + iif(pj.at_end, u.read_syscalls, 0)),
                        iif(pj.at_end, 0, null)
                    ) end,
                'write_syscalls', case when count(b.write_syscalls) = count(*)
                    then nullif(
                        max(0, sum(b.sign * b.write_syscalls)
                            + iif(pj.at_end, u.write_syscalls, 0)),
                        iif(pj.at_end, 0, null)
                    ) end,
                'read_bytes', case when count(b.read_bytes) = count(*)
                    then max(0, sum(b.sign * b.read_bytes) + iif(pj.at_end, u.read_bytes, 0)) end,
                'write_bytes', case when count(b.write_bytes) = count(*)
                    then max(0, sum(b.sign * b.write_bytes) + iif(pj.at_end, u.write_bytes, 0)) end,
                'cancelled_write_bytes', case when count(b.cancelled_write_bytes) = count(*)
                    then max(0, sum(b.sign * b.cancelled_write_bytes)
                        + iif(pj.at_end, u.cancelled_write_bytes, 0)) end,
                'nvcsw', case when count(b.nvcsw) = count(*)
                    then max(0, sum(b.sign * b.nvcsw) + iif(pj.at_end, u.nvcsw, 0)) end,
                'nivcsw', case when count(b.nivcsw) = count(*)
                    then max(0, sum(b.sign * b.nivcsw) + iif(pj.at_end, u.nivcsw, 0)) end,
                'cpu_delay_ns', case when count(b.cpu_delay_ns) = count(*)
                    then max(0, sum(b.sign * b.cpu_delay_ns)
                        + iif(pj.at_end, u.cpu_delay_ns, 0)) end,
                'blkio_delay_ns', case when count(b.blkio_delay_ns) = count(*)
                    then max(0, sum(b.sign * b.blkio_delay_ns)
                        + iif(pj.at_end, u.blkio_delay_ns, 0)) end,
                'swapin_delay_ns', case when count(b.swapin_delay_ns) = count(*)
                    then max(0, sum(b.sign * b.swapin_delay_ns)
                        + iif(pj.at_end, u.swapin_delay_ns, 0)) end,
                'reclaim_delay_ns', case when count(b.reclaim_delay_ns) = count(*)
                    then max(0, sum(b.sign * b.reclaim_delay_ns)
                        + iif(pj.at_end, u.reclaim_delay_ns, 0)) end,
                'thrashing_delay_ns', case when count(b.thrashing_delay_ns) = count(*)
                    then max(0, sum(b.sign * b.thrashing_delay_ns)
                        + iif(pj.at_end, u.thrashing_delay_ns, 0)) end,
                'compact_delay_ns', case when count(b.compact_delay_ns) = count(*)
                    then max(0, sum(b.sign * b.compact_delay_ns)
                        + iif(pj.at_end, u.compact_delay_ns, 0)) end,
                'irq_delay_ns', case when count(b.irq_delay_ns) = count(*)
                    then max(0, sum(b.sign * b.irq_delay_ns)
                        + iif(pj.at_end, u.irq_delay_ns, 0)) end
                -- to here
            ))
            from job_edge as b
            where
                b.job_id = pj.job_id
                and b.process_id = pj.process_id
            group by
                b.job_id,
                b.process_id
            having count(*) = (
                select sum((s.since_ns <> 0) + (s.until_ns is not null))
                from membership as s
                where
                    s.job_id = pj.job_id
                    and s.process_id = pj.process_id
            )
        ),
        -- what a process used that left is known only when it ends
        iif(pj.at_end or u.state = 'ended', null, '[{}]')
    )) as c
),

measured as (
    select
        m.*,
        case
            when m.part_life = 0 then m.elapsed_ns
            else (
                select case
                    when count(coalesce(s.until_ns, m.end_ns)) = count(*)
                        -- An end that only the record gives is cut to a tick, so it may lie before
                        -- the entry.
                        then sum(
                            max(0, coalesce(s.until_ns, m.end_ns) - max(s.since_ns, m.start_ns))
                        )
                end
                from membership as s
                where
                    s.job_id = m.job_id
                    and s.process_id = m.process_id
            )
        end as member_elapsed_ns
    from member as m
)

select
    m.job_id,
    m.how,
    m.since_ns,
    m.until_ns,
    m.memberships,
    m.part_life,
    m.part_life - m.in_part as part_life_whole,
    m.process_id,
    m.acct_id,
    m.host,
    m.host_id,
    m.boot_id,
    m.pid,
    m.parent_process_id,
    m.ppid,
    m.command,
    m.forked_only,
    m.superuser,
    m.dumped_core,
    m.killed,
    m.uid,
    m.gid,
    m.tty,
    m.start_ns,
    m.end_ns,
    m.started_ns,
    m.ended_ns,
    m.ended_hour,
    case
        when m.until_ns is null then m.ended_hour
        else (m.until_ns + m.started_ns - m.start_ns) / 3600000000000
    end as out_hour,
    m.started_at,
    m.ended_at,
    m.member_elapsed_ns as elapsed_ns,
    m.member_elapsed_ns / 1e9 as elapsed_s,
    m.etime_ticks,
    m.utime_ticks,
    m.stime_ticks,
    iif(m.in_part, json_extract(m.charge, '$.user_ns'), m.user_ns) as user_ns,
    iif(m.in_part, json_extract(m.charge, '$.system_ns'), m.system_ns) as system_ns,
    iif(m.in_part, json_extract(m.charge, '$.user_ns'), m.user_ns) / 1e9 as user_s,
    iif(m.in_part, json_extract(m.charge, '$.system_ns'), m.system_ns) / 1e9 as system_s,
    iif(
        m.in_part,
        json_extract(m.charge, '$.user_ns') + json_extract(m.charge, '$.system_ns'),
        m.user_ns + m.system_ns
    ) / 1e9 as cpu_s,
    case
        when m.in_part = 1 and m.until_ns is not null then 'taskstats'
        else m.provenance
    end as provenance,
    m.minflt,
    m.majflt,
    m.swaps,
    m.mem_kib,
    m.io_raw,
    iif(m.in_part, json_extract(m.charge, '$.minor_faults'), m.minor_faults) as minor_faults,
    iif(m.in_part, json_extract(m.charge, '$.major_faults'), m.major_faults) as major_faults,
    m.threads,
    m.usage_complete,
    iif(m.in_part, json_extract(m.charge, '$.run_ns'), m.run_ns) as run_ns,
    m.tick_ns,
    m.below_tick,
    iif(m.in_part, json_extract(m.charge, '$.utime_us'), m.utime_us) as utime_us,
    iif(m.in_part, json_extract(m.charge, '$.stime_us'), m.stime_us) as stime_us,
    m.rss_kib,
    m.vm_kib,
    iif(m.in_part, json_extract(m.charge, '$.coremem_mb_us'), m.coremem_mb_us) as coremem_mb_us,
    iif(m.in_part, json_extract(m.charge, '$.virtmem_mb_us'), m.virtmem_mb_us) as virtmem_mb_us,
    iif(m.in_part, json_extract(m.charge, '$.coremem_mb_us'), m.coremem_mb_us) / 1e6
        as coremem_mb_s,
    iif(m.in_part, json_extract(m.charge, '$.virtmem_mb_us'), m.virtmem_mb_us) / 1e6
        as virtmem_mb_s,
    -- made by scripts/sql.py: charged from read_chars
    iif(m.in_part, json_extract(m.charge, '$.read_chars'), m.read_chars)
        as read_chars,
    iif(m.in_part, json_extract(m.charge, '$.write_chars'), m.write_chars)
        as write_chars,
    iif(m.in_part, json_extract(m.charge, '$.read_syscalls'), m.read_syscalls)
        as read_syscalls,
    iif(m.in_part, json_extract(m.charge, '$.write_syscalls'), m.write_syscalls)
        as write_syscalls,
    iif(m.in_part, json_extract(m.charge, '$.read_bytes'), m.read_bytes)
        as read_bytes,
    iif(m.in_part, json_extract(m.charge, '$.write_bytes'), m.write_bytes)
        as write_bytes,
    iif(m.in_part, json_extract(m.charge, '$.cancelled_write_bytes'), m.cancelled_write_bytes)
        as cancelled_write_bytes,
    iif(m.in_part, json_extract(m.charge, '$.nvcsw'), m.nvcsw)
        as nvcsw,
    iif(m.in_part, json_extract(m.charge, '$.nivcsw'), m.nivcsw)
        as nivcsw,
    iif(m.in_part, json_extract(m.charge, '$.cpu_delay_ns'), m.cpu_delay_ns)
        as cpu_delay_ns,
    iif(m.in_part, json_extract(m.charge, '$.blkio_delay_ns'), m.blkio_delay_ns)
        as blkio_delay_ns,
    iif(m.in_part, json_extract(m.charge, '$.swapin_delay_ns'), m.swapin_delay_ns)
        as swapin_delay_ns,
    iif(m.in_part, json_extract(m.charge, '$.reclaim_delay_ns'), m.reclaim_delay_ns)
        as reclaim_delay_ns,
    iif(m.in_part, json_extract(m.charge, '$.thrashing_delay_ns'), m.thrashing_delay_ns)
        as thrashing_delay_ns,
    iif(m.in_part, json_extract(m.charge, '$.compact_delay_ns'), m.compact_delay_ns)
        as compact_delay_ns,
    iif(m.in_part, json_extract(m.charge, '$.irq_delay_ns'), m.irq_delay_ns)
        as irq_delay_ns,
    -- to here
    m.exe_dev,
    m.exe_inode,
    m.exit_status,
    m.exit_code,
    m.exit_signal,
    m.state,
    m.origin,
    m.end_source,
    m.ended_inferred,
    m.record,
    m.class,
    m.before_first_start
from measured as m
