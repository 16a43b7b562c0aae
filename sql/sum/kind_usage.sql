-- Grain: one row per kind of automatic jobs, and one of kind `none`: what all processes and
-- records used, less the other rows. So the rows add up to user_usage. A process is in at most one
-- automatic job at a time: it counts in the kind of its last one, and what it used is divided among
-- the kinds of all that it was in. The lifetime of a running process in jobs that it left is not
-- counted before its end, as in user_usage. Manual jobs share the processes of automatic jobs, and
-- are not in these sums. What is in none is below 0 only where part_life_whole is not 0:
-- processes that each of their jobs was charged for as a whole.
with part as (
    select
        j.kind,
        u.processes - u.left_before_end as processes,
        u.living as running,
        u.part_life_whole,
        -- made by scripts/sql.py: divided
        u.elapsed_us,
        u.user_ns,
        u.system_ns,
        u.cpu_ns,
        u.minor_faults,
        u.major_faults,
        u.run_ns,
        u.utime_us,
        u.stime_us,
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
        u.irq_delay_ns
        -- to here
    from job_usage_part as u
    join job as j
        on j.id = u.job_id
    where j.kind <> 'manual'
    union all
    select
        j.kind,
        0 as processes,
        0 as running,
        0 as part_life_whole,
        -- made by scripts/sql.py: elapsed
        -((u.elapsed_ns + 500) / 1000) as elapsed_us,
        null as user_ns,
        null as system_ns,
        null as cpu_ns,
        null as minor_faults,
        null as major_faults,
        null as run_ns,
        null as utime_us,
        null as stime_us,
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
        null as irq_delay_ns
        -- to here
    from job_process_usage as u
    join job as j
        on j.id = u.job_id
    where
        u.process_id in (
            select p.id
            from process as p
            where p.elapsed_ns is null
        )
        and u.until_ns is not null
        and u.acct_id is null
        and j.kind <> 'manual'
),

of_kind as materialized (
    select
        u.kind,
        sum(u.processes) as processes,
        sum(u.running) as running,
        sum(u.part_life_whole) as part_life_whole,
        -- made by scripts/sql.py: added
        sum(u.elapsed_us >> 32) * 4294967296 + sum(u.elapsed_us & 4294967295) as elapsed_us,
        sum(u.user_ns >> 32) * 4294967296 + sum(u.user_ns & 4294967295) as user_ns,
        sum(u.system_ns >> 32) * 4294967296 + sum(u.system_ns & 4294967295) as system_ns,
        sum(u.cpu_ns >> 32) * 4294967296 + sum(u.cpu_ns & 4294967295) as cpu_ns,
        sum(u.minor_faults >> 32) * 4294967296 + sum(u.minor_faults & 4294967295) as minor_faults,
        sum(u.major_faults >> 32) * 4294967296 + sum(u.major_faults & 4294967295) as major_faults,
        sum(u.run_ns >> 32) * 4294967296 + sum(u.run_ns & 4294967295) as run_ns,
        sum(u.utime_us >> 32) * 4294967296 + sum(u.utime_us & 4294967295) as utime_us,
        sum(u.stime_us >> 32) * 4294967296 + sum(u.stime_us & 4294967295) as stime_us,
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
        sum(u.irq_delay_ns >> 32) * 4294967296 + sum(u.irq_delay_ns & 4294967295) as irq_delay_ns
        -- to here
    from part as u
    group by
        u.kind
),

everything as (
    select
        coalesce(sum(u.processes), 0) as processes,
        coalesce(sum(u.running), 0) as running,
        -- made by scripts/sql.py: added
        sum(u.elapsed_us >> 32) * 4294967296 + sum(u.elapsed_us & 4294967295) as elapsed_us,
        sum(u.user_ns >> 32) * 4294967296 + sum(u.user_ns & 4294967295) as user_ns,
        sum(u.system_ns >> 32) * 4294967296 + sum(u.system_ns & 4294967295) as system_ns,
        sum(u.cpu_ns >> 32) * 4294967296 + sum(u.cpu_ns & 4294967295) as cpu_ns,
        sum(u.minor_faults >> 32) * 4294967296 + sum(u.minor_faults & 4294967295) as minor_faults,
        sum(u.major_faults >> 32) * 4294967296 + sum(u.major_faults & 4294967295) as major_faults,
        sum(u.run_ns >> 32) * 4294967296 + sum(u.run_ns & 4294967295) as run_ns,
        sum(u.utime_us >> 32) * 4294967296 + sum(u.utime_us & 4294967295) as utime_us,
        sum(u.stime_us >> 32) * 4294967296 + sum(u.stime_us & 4294967295) as stime_us,
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
        sum(u.irq_delay_ns >> 32) * 4294967296 + sum(u.irq_delay_ns & 4294967295) as irq_delay_ns
        -- to here
    from user_usage_part as u
),

automatic as (
    select
        coalesce(sum(u.processes), 0) as processes,
        coalesce(sum(u.running), 0) as running,
        -- made by scripts/sql.py: added
        sum(u.elapsed_us >> 32) * 4294967296 + sum(u.elapsed_us & 4294967295) as elapsed_us,
        sum(u.user_ns >> 32) * 4294967296 + sum(u.user_ns & 4294967295) as user_ns,
        sum(u.system_ns >> 32) * 4294967296 + sum(u.system_ns & 4294967295) as system_ns,
        sum(u.cpu_ns >> 32) * 4294967296 + sum(u.cpu_ns & 4294967295) as cpu_ns,
        sum(u.minor_faults >> 32) * 4294967296 + sum(u.minor_faults & 4294967295) as minor_faults,
        sum(u.major_faults >> 32) * 4294967296 + sum(u.major_faults & 4294967295) as major_faults,
        sum(u.run_ns >> 32) * 4294967296 + sum(u.run_ns & 4294967295) as run_ns,
        sum(u.utime_us >> 32) * 4294967296 + sum(u.utime_us & 4294967295) as utime_us,
        sum(u.stime_us >> 32) * 4294967296 + sum(u.stime_us & 4294967295) as stime_us,
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
        sum(u.irq_delay_ns >> 32) * 4294967296 + sum(u.irq_delay_ns & 4294967295) as irq_delay_ns
        -- to here
    from of_kind as u
)

select
    k.kind,
    (
        select count(*)
        from job as j
        where j.kind = k.kind
    ) as jobs,
    k.processes,
    k.running,
    k.part_life_whole,
    -- made by scripts/sql.py: scaled
    (k.elapsed_us) / 1e6 as elapsed_s,
    (k.user_ns) / 1e9 as user_s,
    (k.system_ns) / 1e9 as system_s,
    (k.cpu_ns) / 1e9 as cpu_s,
    k.minor_faults as minor_faults,
    k.major_faults as major_faults,
    k.run_ns as run_ns,
    k.utime_us as utime_us,
    k.stime_us as stime_us,
    k.read_chars as read_chars,
    k.write_chars as write_chars,
    k.read_syscalls as read_syscalls,
    k.write_syscalls as write_syscalls,
    k.read_bytes as read_bytes,
    k.write_bytes as write_bytes,
    k.cancelled_write_bytes as cancelled_write_bytes,
    k.nvcsw as nvcsw,
    k.nivcsw as nivcsw,
    k.cpu_delay_ns as cpu_delay_ns,
    k.blkio_delay_ns as blkio_delay_ns,
    k.swapin_delay_ns as swapin_delay_ns,
    k.reclaim_delay_ns as reclaim_delay_ns,
    k.thrashing_delay_ns as thrashing_delay_ns,
    k.compact_delay_ns as compact_delay_ns,
    k.irq_delay_ns as irq_delay_ns
    -- to here
from of_kind as k
union all
select
    'none' as kind,
    null as jobs,
    a.processes - k.processes as processes,
    a.running - k.running as running,
    null as part_life_whole,
    -- made by scripts/sql.py: difference
    (a.elapsed_us - coalesce(k.elapsed_us, 0)) / 1e6 as elapsed_s,
    (a.user_ns - coalesce(k.user_ns, 0)) / 1e9 as user_s,
    (a.system_ns - coalesce(k.system_ns, 0)) / 1e9 as system_s,
    (a.cpu_ns - coalesce(k.cpu_ns, 0)) / 1e9 as cpu_s,
    a.minor_faults - coalesce(k.minor_faults, 0) as minor_faults,
    a.major_faults - coalesce(k.major_faults, 0) as major_faults,
    a.run_ns - coalesce(k.run_ns, 0) as run_ns,
    a.utime_us - coalesce(k.utime_us, 0) as utime_us,
    a.stime_us - coalesce(k.stime_us, 0) as stime_us,
    a.read_chars - coalesce(k.read_chars, 0) as read_chars,
    a.write_chars - coalesce(k.write_chars, 0) as write_chars,
    a.read_syscalls - coalesce(k.read_syscalls, 0) as read_syscalls,
    a.write_syscalls - coalesce(k.write_syscalls, 0) as write_syscalls,
    a.read_bytes - coalesce(k.read_bytes, 0) as read_bytes,
    a.write_bytes - coalesce(k.write_bytes, 0) as write_bytes,
    a.cancelled_write_bytes - coalesce(k.cancelled_write_bytes, 0) as cancelled_write_bytes,
    a.nvcsw - coalesce(k.nvcsw, 0) as nvcsw,
    a.nivcsw - coalesce(k.nivcsw, 0) as nivcsw,
    a.cpu_delay_ns - coalesce(k.cpu_delay_ns, 0) as cpu_delay_ns,
    a.blkio_delay_ns - coalesce(k.blkio_delay_ns, 0) as blkio_delay_ns,
    a.swapin_delay_ns - coalesce(k.swapin_delay_ns, 0) as swapin_delay_ns,
    a.reclaim_delay_ns - coalesce(k.reclaim_delay_ns, 0) as reclaim_delay_ns,
    a.thrashing_delay_ns - coalesce(k.thrashing_delay_ns, 0) as thrashing_delay_ns,
    a.compact_delay_ns - coalesce(k.compact_delay_ns, 0) as compact_delay_ns,
    a.irq_delay_ns - coalesce(k.irq_delay_ns, 0) as irq_delay_ns
    -- to here
from everything as a
cross join automatic as k
