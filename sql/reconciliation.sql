create view reconciliation as
-- Grain: one row per measure. in_all is counted straight from process, acct and usage; in_jobs over the processes that were ever in a job,
-- each once and whole, however many jobs it was in; in_none is unattributed_usage: all other processes and the records joined to none.
-- Three counts that know nothing of each other: difference = in_all - in_jobs - in_none is 0, or the warehouse is damaged.
-- NULL: nobody counted that, of any of these processes.
with recorded as (
    select
        count(*) as records,
        sum(a.utime) as utime_ticks,
        sum(a.stime) as stime_ticks,
        sum(a.minflt) as minflt,
        sum(a.majflt) as majflt
    from acct as a
    where a.join_how <> 3
),

told as (
    select
        count(*) as with_usage,
        sum(s.threads) as threads,
        sum(s.run_ns) as run_ns,
        sum(s.utime_us) as utime_us,
        sum(s.stime_us) as stime_us,
        sum(s.read_chars) as read_chars,
        sum(s.write_chars) as write_chars,
        sum(nullif(s.read_syscalls, 0)) as read_syscalls,
        sum(nullif(s.write_syscalls, 0)) as write_syscalls,
        sum(s.read_bytes) as read_bytes,
        sum(s.write_bytes) as write_bytes,
        sum(s.cancelled_write_bytes) as cancelled_write_bytes,
        sum(s.nvcsw) as nvcsw,
        sum(s.nivcsw) as nivcsw,
        sum(s.cpu_delay_ns) as cpu_delay_ns,
        sum(s.blkio_delay_ns) as blkio_delay_ns,
        sum(s.swapin_delay_ns) as swapin_delay_ns,
        sum(s.reclaim_delay_ns) as reclaim_delay_ns,
        sum(s.thrashing_delay_ns) as thrashing_delay_ns,
        sum(s.compact_delay_ns) as compact_delay_ns
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
        sum(u.utime_ticks) as utime_ticks,
        sum(u.stime_ticks) as stime_ticks,
        sum(u.minflt) as minflt,
        sum(u.majflt) as majflt,
        count(u.usage_complete) as with_usage,
        sum(u.threads) as threads,
        sum(u.run_ns) as run_ns,
        sum(u.utime_us) as utime_us,
        sum(u.stime_us) as stime_us,
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
    from incarnation_usage as u
    where
        exists (
            select 1
            from membership as m
            where m.process_id = u.process_id
        )
),

rest as (
    select *
    from unattributed_usage
),

measure as (
    select 'processes' as measure, e.processes as in_all, j.processes as in_jobs, r.processes as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'records' as measure, e.records as in_all, j.records as in_jobs, r.records as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'utime_ticks' as measure, e.utime_ticks as in_all, j.utime_ticks as in_jobs, r.utime_ticks as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'stime_ticks' as measure, e.stime_ticks as in_all, j.stime_ticks as in_jobs, r.stime_ticks as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'minflt' as measure, e.minflt as in_all, j.minflt as in_jobs, r.minflt as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'majflt' as measure, e.majflt as in_all, j.majflt as in_jobs, r.majflt as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'with_usage' as measure, e.with_usage as in_all, j.with_usage as in_jobs, r.with_usage as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'threads' as measure, e.threads as in_all, j.threads as in_jobs, r.threads as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'run_ns' as measure, e.run_ns as in_all, j.run_ns as in_jobs, r.run_ns as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'utime_us' as measure, e.utime_us as in_all, j.utime_us as in_jobs, r.utime_us as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'stime_us' as measure, e.stime_us as in_all, j.stime_us as in_jobs, r.stime_us as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'read_chars' as measure, e.read_chars as in_all, j.read_chars as in_jobs, r.read_chars as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'write_chars' as measure, e.write_chars as in_all, j.write_chars as in_jobs, r.write_chars as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'read_syscalls' as measure, e.read_syscalls as in_all, j.read_syscalls as in_jobs, r.read_syscalls as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'write_syscalls' as measure, e.write_syscalls as in_all, j.write_syscalls as in_jobs, r.write_syscalls as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'read_bytes' as measure, e.read_bytes as in_all, j.read_bytes as in_jobs, r.read_bytes as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'write_bytes' as measure, e.write_bytes as in_all, j.write_bytes as in_jobs, r.write_bytes as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'cancelled_write_bytes' as measure,
        e.cancelled_write_bytes as in_all, j.cancelled_write_bytes as in_jobs, r.cancelled_write_bytes as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'nvcsw' as measure, e.nvcsw as in_all, j.nvcsw as in_jobs, r.nvcsw as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'nivcsw' as measure, e.nivcsw as in_all, j.nivcsw as in_jobs, r.nivcsw as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'cpu_delay_ns' as measure, e.cpu_delay_ns as in_all, j.cpu_delay_ns as in_jobs, r.cpu_delay_ns as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'blkio_delay_ns' as measure, e.blkio_delay_ns as in_all, j.blkio_delay_ns as in_jobs, r.blkio_delay_ns as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'swapin_delay_ns' as measure, e.swapin_delay_ns as in_all, j.swapin_delay_ns as in_jobs, r.swapin_delay_ns as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'reclaim_delay_ns' as measure, e.reclaim_delay_ns as in_all, j.reclaim_delay_ns as in_jobs, r.reclaim_delay_ns as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'thrashing_delay_ns' as measure, e.thrashing_delay_ns as in_all, j.thrashing_delay_ns as in_jobs, r.thrashing_delay_ns as in_none
    from everything as e cross join attributed as j cross join rest as r
    union all
    select 'compact_delay_ns' as measure, e.compact_delay_ns as in_all, j.compact_delay_ns as in_jobs, r.compact_delay_ns as in_none
    from everything as e cross join attributed as j cross join rest as r
),

counted as (
    select
        measure.*,
        case when coalesce(measure.in_all, measure.in_jobs, measure.in_none) is not null then 0 end as zero
    from measure
)

select
    counted.measure,
    coalesce(counted.in_all, counted.zero) as in_all,
    coalesce(counted.in_jobs, counted.zero) as in_jobs,
    coalesce(counted.in_none, counted.zero) as in_none,
    coalesce(counted.in_all, counted.zero) - coalesce(counted.in_jobs, counted.zero) - coalesce(counted.in_none, counted.zero) as difference
from counted
