-- Grain: one row per measure. in_all is counted straight from process, acct and usage; in_jobs over
-- the processes that were ever in a job, each once and whole, however many jobs it was in; in_none
-- over all other processes and the records joined to none. Each includes the sums that were kept of
-- pruned processes. These are three independent counts: difference = in_all - in_jobs - in_none is
-- 0, or the warehouse is damaged. NULL: no source counted that for any of these processes. Sums are
-- in two halves (high in units of 2^32), so that none can overflow.
with recorded as (
    select
        count(*) as records,
        -- made by scripts/sql.py: halves-of-records a
        sum(a.utime >> 32) as utime_ticks_high,
        sum(a.utime & 4294967295) as utime_ticks_low,
        sum(a.stime >> 32) as stime_ticks_high,
        sum(a.stime & 4294967295) as stime_ticks_low,
        sum(a.minflt >> 32) as minflt_high,
        sum(a.minflt & 4294967295) as minflt_low,
        sum(a.majflt >> 32) as majflt_high,
        sum(a.majflt & 4294967295) as majflt_low
        -- to here
    from acct as a
    where a.join_outcome <> 3
),

told as (
    select
        count(*) as with_usage,
        -- made by scripts/sql.py: halves-of-usage s
        sum(s.threads >> 32) as threads_high,
        sum(s.threads & 4294967295) as threads_low,
        sum(s.run_ns >> 32) as run_ns_high,
        sum(s.run_ns & 4294967295) as run_ns_low,
        sum(s.utime_us >> 32) as utime_us_high,
        sum(s.utime_us & 4294967295) as utime_us_low,
        sum(s.stime_us >> 32) as stime_us_high,
        sum(s.stime_us & 4294967295) as stime_us_low,
        sum(s.read_chars >> 32) as read_chars_high,
        sum(s.read_chars & 4294967295) as read_chars_low,
        sum(s.write_chars >> 32) as write_chars_high,
        sum(s.write_chars & 4294967295) as write_chars_low,
        sum((nullif(s.read_syscalls, 0)) >> 32) as read_syscalls_high,
        sum((nullif(s.read_syscalls, 0)) & 4294967295) as read_syscalls_low,
        sum((nullif(s.write_syscalls, 0)) >> 32) as write_syscalls_high,
        sum((nullif(s.write_syscalls, 0)) & 4294967295) as write_syscalls_low,
        sum(s.read_bytes >> 32) as read_bytes_high,
        sum(s.read_bytes & 4294967295) as read_bytes_low,
        sum(s.write_bytes >> 32) as write_bytes_high,
        sum(s.write_bytes & 4294967295) as write_bytes_low,
        sum(s.cancelled_write_bytes >> 32) as cancelled_write_bytes_high,
        sum(s.cancelled_write_bytes & 4294967295) as cancelled_write_bytes_low,
        sum(s.nvcsw >> 32) as nvcsw_high,
        sum(s.nvcsw & 4294967295) as nvcsw_low,
        sum(s.nivcsw >> 32) as nivcsw_high,
        sum(s.nivcsw & 4294967295) as nivcsw_low,
        sum(s.cpu_delay_ns >> 32) as cpu_delay_ns_high,
        sum(s.cpu_delay_ns & 4294967295) as cpu_delay_ns_low,
        sum(s.blkio_delay_ns >> 32) as blkio_delay_ns_high,
        sum(s.blkio_delay_ns & 4294967295) as blkio_delay_ns_low,
        sum(s.swapin_delay_ns >> 32) as swapin_delay_ns_high,
        sum(s.swapin_delay_ns & 4294967295) as swapin_delay_ns_low,
        sum(s.reclaim_delay_ns >> 32) as reclaim_delay_ns_high,
        sum(s.reclaim_delay_ns & 4294967295) as reclaim_delay_ns_low,
        sum(s.thrashing_delay_ns >> 32) as thrashing_delay_ns_high,
        sum(s.thrashing_delay_ns & 4294967295) as thrashing_delay_ns_low,
        sum(s.compact_delay_ns >> 32) as compact_delay_ns_high,
        sum(s.compact_delay_ns & 4294967295) as compact_delay_ns_low,
        sum(s.irq_delay_ns >> 32) as irq_delay_ns_high,
        sum(s.irq_delay_ns & 4294967295) as irq_delay_ns_low
        -- to here
    from usage as s
),

everything as (
    select
        (
            select count(*)
            from process
        ) as processes,
        recorded.*,
        told.*
    from recorded
    cross join told
),

attributed as (
    select
        count(u.process_id) as processes,
        count(u.acct_id) as records,
        count(u.usage_complete) as with_usage,
        -- made by scripts/sql.py: halves u
        sum(u.utime_ticks >> 32) as utime_ticks_high,
        sum(u.utime_ticks & 4294967295) as utime_ticks_low,
        sum(u.stime_ticks >> 32) as stime_ticks_high,
        sum(u.stime_ticks & 4294967295) as stime_ticks_low,
        sum(u.minflt >> 32) as minflt_high,
        sum(u.minflt & 4294967295) as minflt_low,
        sum(u.majflt >> 32) as majflt_high,
        sum(u.majflt & 4294967295) as majflt_low,
        sum(u.threads >> 32) as threads_high,
        sum(u.threads & 4294967295) as threads_low,
        sum(u.run_ns >> 32) as run_ns_high,
        sum(u.run_ns & 4294967295) as run_ns_low,
        sum(u.utime_us >> 32) as utime_us_high,
        sum(u.utime_us & 4294967295) as utime_us_low,
        sum(u.stime_us >> 32) as stime_us_high,
        sum(u.stime_us & 4294967295) as stime_us_low,
        sum(u.read_chars >> 32) as read_chars_high,
        sum(u.read_chars & 4294967295) as read_chars_low,
        sum(u.write_chars >> 32) as write_chars_high,
        sum(u.write_chars & 4294967295) as write_chars_low,
        sum(u.read_syscalls >> 32) as read_syscalls_high,
        sum(u.read_syscalls & 4294967295) as read_syscalls_low,
        sum(u.write_syscalls >> 32) as write_syscalls_high,
        sum(u.write_syscalls & 4294967295) as write_syscalls_low,
        sum(u.read_bytes >> 32) as read_bytes_high,
        sum(u.read_bytes & 4294967295) as read_bytes_low,
        sum(u.write_bytes >> 32) as write_bytes_high,
        sum(u.write_bytes & 4294967295) as write_bytes_low,
        sum(u.cancelled_write_bytes >> 32) as cancelled_write_bytes_high,
        sum(u.cancelled_write_bytes & 4294967295) as cancelled_write_bytes_low,
        sum(u.nvcsw >> 32) as nvcsw_high,
        sum(u.nvcsw & 4294967295) as nvcsw_low,
        sum(u.nivcsw >> 32) as nivcsw_high,
        sum(u.nivcsw & 4294967295) as nivcsw_low,
        sum(u.cpu_delay_ns >> 32) as cpu_delay_ns_high,
        sum(u.cpu_delay_ns & 4294967295) as cpu_delay_ns_low,
        sum(u.blkio_delay_ns >> 32) as blkio_delay_ns_high,
        sum(u.blkio_delay_ns & 4294967295) as blkio_delay_ns_low,
        sum(u.swapin_delay_ns >> 32) as swapin_delay_ns_high,
        sum(u.swapin_delay_ns & 4294967295) as swapin_delay_ns_low,
        sum(u.reclaim_delay_ns >> 32) as reclaim_delay_ns_high,
        sum(u.reclaim_delay_ns & 4294967295) as reclaim_delay_ns_low,
        sum(u.thrashing_delay_ns >> 32) as thrashing_delay_ns_high,
        sum(u.thrashing_delay_ns & 4294967295) as thrashing_delay_ns_low,
        sum(u.compact_delay_ns >> 32) as compact_delay_ns_high,
        sum(u.compact_delay_ns & 4294967295) as compact_delay_ns_low,
        sum(u.irq_delay_ns >> 32) as irq_delay_ns_high,
        sum(u.irq_delay_ns & 4294967295) as irq_delay_ns_low
        -- to here
    from incarnation_usage as u
    where
        exists (
            select 1
            from membership as m
            where m.process_id = u.process_id
        )
),

rest as (
    select
        count(u.process_id) as processes,
        count(u.acct_id) as records,
        count(u.usage_complete) as with_usage,
        -- made by scripts/sql.py: halves u
        sum(u.utime_ticks >> 32) as utime_ticks_high,
        sum(u.utime_ticks & 4294967295) as utime_ticks_low,
        sum(u.stime_ticks >> 32) as stime_ticks_high,
        sum(u.stime_ticks & 4294967295) as stime_ticks_low,
        sum(u.minflt >> 32) as minflt_high,
        sum(u.minflt & 4294967295) as minflt_low,
        sum(u.majflt >> 32) as majflt_high,
        sum(u.majflt & 4294967295) as majflt_low,
        sum(u.threads >> 32) as threads_high,
        sum(u.threads & 4294967295) as threads_low,
        sum(u.run_ns >> 32) as run_ns_high,
        sum(u.run_ns & 4294967295) as run_ns_low,
        sum(u.utime_us >> 32) as utime_us_high,
        sum(u.utime_us & 4294967295) as utime_us_low,
        sum(u.stime_us >> 32) as stime_us_high,
        sum(u.stime_us & 4294967295) as stime_us_low,
        sum(u.read_chars >> 32) as read_chars_high,
        sum(u.read_chars & 4294967295) as read_chars_low,
        sum(u.write_chars >> 32) as write_chars_high,
        sum(u.write_chars & 4294967295) as write_chars_low,
        sum(u.read_syscalls >> 32) as read_syscalls_high,
        sum(u.read_syscalls & 4294967295) as read_syscalls_low,
        sum(u.write_syscalls >> 32) as write_syscalls_high,
        sum(u.write_syscalls & 4294967295) as write_syscalls_low,
        sum(u.read_bytes >> 32) as read_bytes_high,
        sum(u.read_bytes & 4294967295) as read_bytes_low,
        sum(u.write_bytes >> 32) as write_bytes_high,
        sum(u.write_bytes & 4294967295) as write_bytes_low,
        sum(u.cancelled_write_bytes >> 32) as cancelled_write_bytes_high,
        sum(u.cancelled_write_bytes & 4294967295) as cancelled_write_bytes_low,
        sum(u.nvcsw >> 32) as nvcsw_high,
        sum(u.nvcsw & 4294967295) as nvcsw_low,
        sum(u.nivcsw >> 32) as nivcsw_high,
        sum(u.nivcsw & 4294967295) as nivcsw_low,
        sum(u.cpu_delay_ns >> 32) as cpu_delay_ns_high,
        sum(u.cpu_delay_ns & 4294967295) as cpu_delay_ns_low,
        sum(u.blkio_delay_ns >> 32) as blkio_delay_ns_high,
        sum(u.blkio_delay_ns & 4294967295) as blkio_delay_ns_low,
        sum(u.swapin_delay_ns >> 32) as swapin_delay_ns_high,
        sum(u.swapin_delay_ns & 4294967295) as swapin_delay_ns_low,
        sum(u.reclaim_delay_ns >> 32) as reclaim_delay_ns_high,
        sum(u.reclaim_delay_ns & 4294967295) as reclaim_delay_ns_low,
        sum(u.thrashing_delay_ns >> 32) as thrashing_delay_ns_high,
        sum(u.thrashing_delay_ns & 4294967295) as thrashing_delay_ns_low,
        sum(u.compact_delay_ns >> 32) as compact_delay_ns_high,
        sum(u.compact_delay_ns & 4294967295) as compact_delay_ns_low,
        sum(u.irq_delay_ns >> 32) as irq_delay_ns_high,
        sum(u.irq_delay_ns & 4294967295) as irq_delay_ns_low
        -- to here
    from process_usage as u
    where
        u.process_id is null
        or not exists (
            select 1
            from membership as m
            where m.process_id = u.process_id
        )
),

gone as (
    select
        r.in_job,
        sum(r.processes) as processes,
        sum(r.records) as records,
        sum(r.with_usage) as with_usage,
        -- made by scripts/sql.py: halves r
        sum(r.utime_ticks >> 32) as utime_ticks_high,
        sum(r.utime_ticks & 4294967295) as utime_ticks_low,
        sum(r.stime_ticks >> 32) as stime_ticks_high,
        sum(r.stime_ticks & 4294967295) as stime_ticks_low,
        sum(r.minflt >> 32) as minflt_high,
        sum(r.minflt & 4294967295) as minflt_low,
        sum(r.majflt >> 32) as majflt_high,
        sum(r.majflt & 4294967295) as majflt_low,
        sum(r.threads >> 32) as threads_high,
        sum(r.threads & 4294967295) as threads_low,
        sum(r.run_ns >> 32) as run_ns_high,
        sum(r.run_ns & 4294967295) as run_ns_low,
        sum(r.utime_us >> 32) as utime_us_high,
        sum(r.utime_us & 4294967295) as utime_us_low,
        sum(r.stime_us >> 32) as stime_us_high,
        sum(r.stime_us & 4294967295) as stime_us_low,
        sum(r.read_chars >> 32) as read_chars_high,
        sum(r.read_chars & 4294967295) as read_chars_low,
        sum(r.write_chars >> 32) as write_chars_high,
        sum(r.write_chars & 4294967295) as write_chars_low,
        sum(r.read_syscalls >> 32) as read_syscalls_high,
        sum(r.read_syscalls & 4294967295) as read_syscalls_low,
        sum(r.write_syscalls >> 32) as write_syscalls_high,
        sum(r.write_syscalls & 4294967295) as write_syscalls_low,
        sum(r.read_bytes >> 32) as read_bytes_high,
        sum(r.read_bytes & 4294967295) as read_bytes_low,
        sum(r.write_bytes >> 32) as write_bytes_high,
        sum(r.write_bytes & 4294967295) as write_bytes_low,
        sum(r.cancelled_write_bytes >> 32) as cancelled_write_bytes_high,
        sum(r.cancelled_write_bytes & 4294967295) as cancelled_write_bytes_low,
        sum(r.nvcsw >> 32) as nvcsw_high,
        sum(r.nvcsw & 4294967295) as nvcsw_low,
        sum(r.nivcsw >> 32) as nivcsw_high,
        sum(r.nivcsw & 4294967295) as nivcsw_low,
        sum(r.cpu_delay_ns >> 32) as cpu_delay_ns_high,
        sum(r.cpu_delay_ns & 4294967295) as cpu_delay_ns_low,
        sum(r.blkio_delay_ns >> 32) as blkio_delay_ns_high,
        sum(r.blkio_delay_ns & 4294967295) as blkio_delay_ns_low,
        sum(r.swapin_delay_ns >> 32) as swapin_delay_ns_high,
        sum(r.swapin_delay_ns & 4294967295) as swapin_delay_ns_low,
        sum(r.reclaim_delay_ns >> 32) as reclaim_delay_ns_high,
        sum(r.reclaim_delay_ns & 4294967295) as reclaim_delay_ns_low,
        sum(r.thrashing_delay_ns >> 32) as thrashing_delay_ns_high,
        sum(r.thrashing_delay_ns & 4294967295) as thrashing_delay_ns_low,
        sum(r.compact_delay_ns >> 32) as compact_delay_ns_high,
        sum(r.compact_delay_ns & 4294967295) as compact_delay_ns_low,
        sum(r.irq_delay_ns >> 32) as irq_delay_ns_high,
        sum(r.irq_delay_ns & 4294967295) as irq_delay_ns_low
        -- to here
    from rollup_user as r
    where r.pruned = 1
    group by r.in_job
),

measure as (
    -- made by scripts/sql.py: compared
    select
        0 as place, 'processes' as measure,
        0 as all_high, e.processes as all_low,
        0 as jobs_high, j.processes as jobs_low,
        0 as none_high, r.processes as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        1 as place, 'records' as measure,
        0 as all_high, e.records as all_low,
        0 as jobs_high, j.records as jobs_low,
        0 as none_high, r.records as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        2 as place, 'utime_ticks' as measure,
        e.utime_ticks_high as all_high, e.utime_ticks_low as all_low,
        j.utime_ticks_high as jobs_high, j.utime_ticks_low as jobs_low,
        r.utime_ticks_high as none_high, r.utime_ticks_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        3 as place, 'stime_ticks' as measure,
        e.stime_ticks_high as all_high, e.stime_ticks_low as all_low,
        j.stime_ticks_high as jobs_high, j.stime_ticks_low as jobs_low,
        r.stime_ticks_high as none_high, r.stime_ticks_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        4 as place, 'minflt' as measure,
        e.minflt_high as all_high, e.minflt_low as all_low,
        j.minflt_high as jobs_high, j.minflt_low as jobs_low,
        r.minflt_high as none_high, r.minflt_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        5 as place, 'majflt' as measure,
        e.majflt_high as all_high, e.majflt_low as all_low,
        j.majflt_high as jobs_high, j.majflt_low as jobs_low,
        r.majflt_high as none_high, r.majflt_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        6 as place, 'with_usage' as measure,
        0 as all_high, e.with_usage as all_low,
        0 as jobs_high, j.with_usage as jobs_low,
        0 as none_high, r.with_usage as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        7 as place, 'threads' as measure,
        e.threads_high as all_high, e.threads_low as all_low,
        j.threads_high as jobs_high, j.threads_low as jobs_low,
        r.threads_high as none_high, r.threads_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        8 as place, 'run_ns' as measure,
        e.run_ns_high as all_high, e.run_ns_low as all_low,
        j.run_ns_high as jobs_high, j.run_ns_low as jobs_low,
        r.run_ns_high as none_high, r.run_ns_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        9 as place, 'utime_us' as measure,
        e.utime_us_high as all_high, e.utime_us_low as all_low,
        j.utime_us_high as jobs_high, j.utime_us_low as jobs_low,
        r.utime_us_high as none_high, r.utime_us_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        10 as place, 'stime_us' as measure,
        e.stime_us_high as all_high, e.stime_us_low as all_low,
        j.stime_us_high as jobs_high, j.stime_us_low as jobs_low,
        r.stime_us_high as none_high, r.stime_us_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        11 as place, 'read_chars' as measure,
        e.read_chars_high as all_high, e.read_chars_low as all_low,
        j.read_chars_high as jobs_high, j.read_chars_low as jobs_low,
        r.read_chars_high as none_high, r.read_chars_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        12 as place, 'write_chars' as measure,
        e.write_chars_high as all_high, e.write_chars_low as all_low,
        j.write_chars_high as jobs_high, j.write_chars_low as jobs_low,
        r.write_chars_high as none_high, r.write_chars_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        13 as place, 'read_syscalls' as measure,
        e.read_syscalls_high as all_high, e.read_syscalls_low as all_low,
        j.read_syscalls_high as jobs_high, j.read_syscalls_low as jobs_low,
        r.read_syscalls_high as none_high, r.read_syscalls_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        14 as place, 'write_syscalls' as measure,
        e.write_syscalls_high as all_high, e.write_syscalls_low as all_low,
        j.write_syscalls_high as jobs_high, j.write_syscalls_low as jobs_low,
        r.write_syscalls_high as none_high, r.write_syscalls_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        15 as place, 'read_bytes' as measure,
        e.read_bytes_high as all_high, e.read_bytes_low as all_low,
        j.read_bytes_high as jobs_high, j.read_bytes_low as jobs_low,
        r.read_bytes_high as none_high, r.read_bytes_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        16 as place, 'write_bytes' as measure,
        e.write_bytes_high as all_high, e.write_bytes_low as all_low,
        j.write_bytes_high as jobs_high, j.write_bytes_low as jobs_low,
        r.write_bytes_high as none_high, r.write_bytes_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        17 as place, 'cancelled_write_bytes' as measure,
        e.cancelled_write_bytes_high as all_high, e.cancelled_write_bytes_low as all_low,
        j.cancelled_write_bytes_high as jobs_high, j.cancelled_write_bytes_low as jobs_low,
        r.cancelled_write_bytes_high as none_high, r.cancelled_write_bytes_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        18 as place, 'nvcsw' as measure,
        e.nvcsw_high as all_high, e.nvcsw_low as all_low,
        j.nvcsw_high as jobs_high, j.nvcsw_low as jobs_low,
        r.nvcsw_high as none_high, r.nvcsw_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        19 as place, 'nivcsw' as measure,
        e.nivcsw_high as all_high, e.nivcsw_low as all_low,
        j.nivcsw_high as jobs_high, j.nivcsw_low as jobs_low,
        r.nivcsw_high as none_high, r.nivcsw_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        20 as place, 'cpu_delay_ns' as measure,
        e.cpu_delay_ns_high as all_high, e.cpu_delay_ns_low as all_low,
        j.cpu_delay_ns_high as jobs_high, j.cpu_delay_ns_low as jobs_low,
        r.cpu_delay_ns_high as none_high, r.cpu_delay_ns_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        21 as place, 'blkio_delay_ns' as measure,
        e.blkio_delay_ns_high as all_high, e.blkio_delay_ns_low as all_low,
        j.blkio_delay_ns_high as jobs_high, j.blkio_delay_ns_low as jobs_low,
        r.blkio_delay_ns_high as none_high, r.blkio_delay_ns_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        22 as place, 'swapin_delay_ns' as measure,
        e.swapin_delay_ns_high as all_high, e.swapin_delay_ns_low as all_low,
        j.swapin_delay_ns_high as jobs_high, j.swapin_delay_ns_low as jobs_low,
        r.swapin_delay_ns_high as none_high, r.swapin_delay_ns_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        23 as place, 'reclaim_delay_ns' as measure,
        e.reclaim_delay_ns_high as all_high, e.reclaim_delay_ns_low as all_low,
        j.reclaim_delay_ns_high as jobs_high, j.reclaim_delay_ns_low as jobs_low,
        r.reclaim_delay_ns_high as none_high, r.reclaim_delay_ns_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        24 as place, 'thrashing_delay_ns' as measure,
        e.thrashing_delay_ns_high as all_high, e.thrashing_delay_ns_low as all_low,
        j.thrashing_delay_ns_high as jobs_high, j.thrashing_delay_ns_low as jobs_low,
        r.thrashing_delay_ns_high as none_high, r.thrashing_delay_ns_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        25 as place, 'compact_delay_ns' as measure,
        e.compact_delay_ns_high as all_high, e.compact_delay_ns_low as all_low,
        j.compact_delay_ns_high as jobs_high, j.compact_delay_ns_low as jobs_low,
        r.compact_delay_ns_high as none_high, r.compact_delay_ns_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        26 as place, 'irq_delay_ns' as measure,
        e.irq_delay_ns_high as all_high, e.irq_delay_ns_low as all_low,
        j.irq_delay_ns_high as jobs_high, j.irq_delay_ns_low as jobs_low,
        r.irq_delay_ns_high as none_high, r.irq_delay_ns_low as none_low
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        0 as place, 'processes' as measure,
        0 as all_high, p.processes as all_low,
        case when p.in_job = 1 then 0 end as jobs_high, case when p.in_job = 1 then p.processes end as jobs_low,
        case when p.in_job = 0 then 0 end as none_high, case when p.in_job = 0 then p.processes end as none_low
    from gone as p
    union all
    select
        1 as place, 'records' as measure,
        0 as all_high, p.records as all_low,
        case when p.in_job = 1 then 0 end as jobs_high, case when p.in_job = 1 then p.records end as jobs_low,
        case when p.in_job = 0 then 0 end as none_high, case when p.in_job = 0 then p.records end as none_low
    from gone as p
    union all
    select
        2 as place, 'utime_ticks' as measure,
        p.utime_ticks_high as all_high, p.utime_ticks_low as all_low,
        case when p.in_job = 1 then p.utime_ticks_high end as jobs_high, case when p.in_job = 1 then p.utime_ticks_low end as jobs_low,
        case when p.in_job = 0 then p.utime_ticks_high end as none_high, case when p.in_job = 0 then p.utime_ticks_low end as none_low
    from gone as p
    union all
    select
        3 as place, 'stime_ticks' as measure,
        p.stime_ticks_high as all_high, p.stime_ticks_low as all_low,
        case when p.in_job = 1 then p.stime_ticks_high end as jobs_high, case when p.in_job = 1 then p.stime_ticks_low end as jobs_low,
        case when p.in_job = 0 then p.stime_ticks_high end as none_high, case when p.in_job = 0 then p.stime_ticks_low end as none_low
    from gone as p
    union all
    select
        4 as place, 'minflt' as measure,
        p.minflt_high as all_high, p.minflt_low as all_low,
        case when p.in_job = 1 then p.minflt_high end as jobs_high, case when p.in_job = 1 then p.minflt_low end as jobs_low,
        case when p.in_job = 0 then p.minflt_high end as none_high, case when p.in_job = 0 then p.minflt_low end as none_low
    from gone as p
    union all
    select
        5 as place, 'majflt' as measure,
        p.majflt_high as all_high, p.majflt_low as all_low,
        case when p.in_job = 1 then p.majflt_high end as jobs_high, case when p.in_job = 1 then p.majflt_low end as jobs_low,
        case when p.in_job = 0 then p.majflt_high end as none_high, case when p.in_job = 0 then p.majflt_low end as none_low
    from gone as p
    union all
    select
        6 as place, 'with_usage' as measure,
        0 as all_high, p.with_usage as all_low,
        case when p.in_job = 1 then 0 end as jobs_high, case when p.in_job = 1 then p.with_usage end as jobs_low,
        case when p.in_job = 0 then 0 end as none_high, case when p.in_job = 0 then p.with_usage end as none_low
    from gone as p
    union all
    select
        7 as place, 'threads' as measure,
        p.threads_high as all_high, p.threads_low as all_low,
        case when p.in_job = 1 then p.threads_high end as jobs_high, case when p.in_job = 1 then p.threads_low end as jobs_low,
        case when p.in_job = 0 then p.threads_high end as none_high, case when p.in_job = 0 then p.threads_low end as none_low
    from gone as p
    union all
    select
        8 as place, 'run_ns' as measure,
        p.run_ns_high as all_high, p.run_ns_low as all_low,
        case when p.in_job = 1 then p.run_ns_high end as jobs_high, case when p.in_job = 1 then p.run_ns_low end as jobs_low,
        case when p.in_job = 0 then p.run_ns_high end as none_high, case when p.in_job = 0 then p.run_ns_low end as none_low
    from gone as p
    union all
    select
        9 as place, 'utime_us' as measure,
        p.utime_us_high as all_high, p.utime_us_low as all_low,
        case when p.in_job = 1 then p.utime_us_high end as jobs_high, case when p.in_job = 1 then p.utime_us_low end as jobs_low,
        case when p.in_job = 0 then p.utime_us_high end as none_high, case when p.in_job = 0 then p.utime_us_low end as none_low
    from gone as p
    union all
    select
        10 as place, 'stime_us' as measure,
        p.stime_us_high as all_high, p.stime_us_low as all_low,
        case when p.in_job = 1 then p.stime_us_high end as jobs_high, case when p.in_job = 1 then p.stime_us_low end as jobs_low,
        case when p.in_job = 0 then p.stime_us_high end as none_high, case when p.in_job = 0 then p.stime_us_low end as none_low
    from gone as p
    union all
    select
        11 as place, 'read_chars' as measure,
        p.read_chars_high as all_high, p.read_chars_low as all_low,
        case when p.in_job = 1 then p.read_chars_high end as jobs_high, case when p.in_job = 1 then p.read_chars_low end as jobs_low,
        case when p.in_job = 0 then p.read_chars_high end as none_high, case when p.in_job = 0 then p.read_chars_low end as none_low
    from gone as p
    union all
    select
        12 as place, 'write_chars' as measure,
        p.write_chars_high as all_high, p.write_chars_low as all_low,
        case when p.in_job = 1 then p.write_chars_high end as jobs_high, case when p.in_job = 1 then p.write_chars_low end as jobs_low,
        case when p.in_job = 0 then p.write_chars_high end as none_high, case when p.in_job = 0 then p.write_chars_low end as none_low
    from gone as p
    union all
    select
        13 as place, 'read_syscalls' as measure,
        p.read_syscalls_high as all_high, p.read_syscalls_low as all_low,
        case when p.in_job = 1 then p.read_syscalls_high end as jobs_high, case when p.in_job = 1 then p.read_syscalls_low end as jobs_low,
        case when p.in_job = 0 then p.read_syscalls_high end as none_high, case when p.in_job = 0 then p.read_syscalls_low end as none_low
    from gone as p
    union all
    select
        14 as place, 'write_syscalls' as measure,
        p.write_syscalls_high as all_high, p.write_syscalls_low as all_low,
        case when p.in_job = 1 then p.write_syscalls_high end as jobs_high, case when p.in_job = 1 then p.write_syscalls_low end as jobs_low,
        case when p.in_job = 0 then p.write_syscalls_high end as none_high, case when p.in_job = 0 then p.write_syscalls_low end as none_low
    from gone as p
    union all
    select
        15 as place, 'read_bytes' as measure,
        p.read_bytes_high as all_high, p.read_bytes_low as all_low,
        case when p.in_job = 1 then p.read_bytes_high end as jobs_high, case when p.in_job = 1 then p.read_bytes_low end as jobs_low,
        case when p.in_job = 0 then p.read_bytes_high end as none_high, case when p.in_job = 0 then p.read_bytes_low end as none_low
    from gone as p
    union all
    select
        16 as place, 'write_bytes' as measure,
        p.write_bytes_high as all_high, p.write_bytes_low as all_low,
        case when p.in_job = 1 then p.write_bytes_high end as jobs_high, case when p.in_job = 1 then p.write_bytes_low end as jobs_low,
        case when p.in_job = 0 then p.write_bytes_high end as none_high, case when p.in_job = 0 then p.write_bytes_low end as none_low
    from gone as p
    union all
    select
        17 as place, 'cancelled_write_bytes' as measure,
        p.cancelled_write_bytes_high as all_high, p.cancelled_write_bytes_low as all_low,
        case when p.in_job = 1 then p.cancelled_write_bytes_high end as jobs_high, case when p.in_job = 1 then p.cancelled_write_bytes_low end as jobs_low,
        case when p.in_job = 0 then p.cancelled_write_bytes_high end as none_high, case when p.in_job = 0 then p.cancelled_write_bytes_low end as none_low
    from gone as p
    union all
    select
        18 as place, 'nvcsw' as measure,
        p.nvcsw_high as all_high, p.nvcsw_low as all_low,
        case when p.in_job = 1 then p.nvcsw_high end as jobs_high, case when p.in_job = 1 then p.nvcsw_low end as jobs_low,
        case when p.in_job = 0 then p.nvcsw_high end as none_high, case when p.in_job = 0 then p.nvcsw_low end as none_low
    from gone as p
    union all
    select
        19 as place, 'nivcsw' as measure,
        p.nivcsw_high as all_high, p.nivcsw_low as all_low,
        case when p.in_job = 1 then p.nivcsw_high end as jobs_high, case when p.in_job = 1 then p.nivcsw_low end as jobs_low,
        case when p.in_job = 0 then p.nivcsw_high end as none_high, case when p.in_job = 0 then p.nivcsw_low end as none_low
    from gone as p
    union all
    select
        20 as place, 'cpu_delay_ns' as measure,
        p.cpu_delay_ns_high as all_high, p.cpu_delay_ns_low as all_low,
        case when p.in_job = 1 then p.cpu_delay_ns_high end as jobs_high, case when p.in_job = 1 then p.cpu_delay_ns_low end as jobs_low,
        case when p.in_job = 0 then p.cpu_delay_ns_high end as none_high, case when p.in_job = 0 then p.cpu_delay_ns_low end as none_low
    from gone as p
    union all
    select
        21 as place, 'blkio_delay_ns' as measure,
        p.blkio_delay_ns_high as all_high, p.blkio_delay_ns_low as all_low,
        case when p.in_job = 1 then p.blkio_delay_ns_high end as jobs_high, case when p.in_job = 1 then p.blkio_delay_ns_low end as jobs_low,
        case when p.in_job = 0 then p.blkio_delay_ns_high end as none_high, case when p.in_job = 0 then p.blkio_delay_ns_low end as none_low
    from gone as p
    union all
    select
        22 as place, 'swapin_delay_ns' as measure,
        p.swapin_delay_ns_high as all_high, p.swapin_delay_ns_low as all_low,
        case when p.in_job = 1 then p.swapin_delay_ns_high end as jobs_high, case when p.in_job = 1 then p.swapin_delay_ns_low end as jobs_low,
        case when p.in_job = 0 then p.swapin_delay_ns_high end as none_high, case when p.in_job = 0 then p.swapin_delay_ns_low end as none_low
    from gone as p
    union all
    select
        23 as place, 'reclaim_delay_ns' as measure,
        p.reclaim_delay_ns_high as all_high, p.reclaim_delay_ns_low as all_low,
        case when p.in_job = 1 then p.reclaim_delay_ns_high end as jobs_high, case when p.in_job = 1 then p.reclaim_delay_ns_low end as jobs_low,
        case when p.in_job = 0 then p.reclaim_delay_ns_high end as none_high, case when p.in_job = 0 then p.reclaim_delay_ns_low end as none_low
    from gone as p
    union all
    select
        24 as place, 'thrashing_delay_ns' as measure,
        p.thrashing_delay_ns_high as all_high, p.thrashing_delay_ns_low as all_low,
        case when p.in_job = 1 then p.thrashing_delay_ns_high end as jobs_high, case when p.in_job = 1 then p.thrashing_delay_ns_low end as jobs_low,
        case when p.in_job = 0 then p.thrashing_delay_ns_high end as none_high, case when p.in_job = 0 then p.thrashing_delay_ns_low end as none_low
    from gone as p
    union all
    select
        25 as place, 'compact_delay_ns' as measure,
        p.compact_delay_ns_high as all_high, p.compact_delay_ns_low as all_low,
        case when p.in_job = 1 then p.compact_delay_ns_high end as jobs_high, case when p.in_job = 1 then p.compact_delay_ns_low end as jobs_low,
        case when p.in_job = 0 then p.compact_delay_ns_high end as none_high, case when p.in_job = 0 then p.compact_delay_ns_low end as none_low
    from gone as p
    union all
    select
        26 as place, 'irq_delay_ns' as measure,
        p.irq_delay_ns_high as all_high, p.irq_delay_ns_low as all_low,
        case when p.in_job = 1 then p.irq_delay_ns_high end as jobs_high, case when p.in_job = 1 then p.irq_delay_ns_low end as jobs_low,
        case when p.in_job = 0 then p.irq_delay_ns_high end as none_high, case when p.in_job = 0 then p.irq_delay_ns_low end as none_low
    from gone as p
    -- to here
),

summed as (
    select
        m.place,
        m.measure,
        sum(m.all_high) as all_high,
        sum(m.all_low) as all_low,
        sum(m.jobs_high) as jobs_high,
        sum(m.jobs_low) as jobs_low,
        sum(m.none_high) as none_high,
        sum(m.none_low) as none_low
    from measure as m
    group by m.place, m.measure
),

counted as (
    select
        summed.*,
        case when coalesce(summed.all_low, summed.jobs_low, summed.none_low) is not null then 0 end as zero
    from summed
)

select
    counted.measure,
    coalesce(counted.all_high * 4294967296 + counted.all_low, counted.zero) as in_all,
    coalesce(counted.jobs_high * 4294967296 + counted.jobs_low, counted.zero) as in_jobs,
    coalesce(counted.none_high * 4294967296 + counted.none_low, counted.zero) as in_none,
    (
        coalesce(counted.all_high, counted.zero) - coalesce(counted.jobs_high, counted.zero) - coalesce(counted.none_high, counted.zero)
    ) * 4294967296
    + coalesce(counted.all_low, counted.zero) - coalesce(counted.jobs_low, counted.zero) - coalesce(counted.none_low, counted.zero) as difference
from counted
order by counted.place
