-- Grain: one row per measure. in_all is counted from the tables process, acct, usage and
-- usage_so_far; in_jobs over the processes that were ever in a job, each once and whole, however
-- many jobs it was in; in_none over all other processes and the records that are joined to none.
-- Each includes the sums that are left of pruned processes. difference = in_all - in_jobs - in_none
-- is 0 unless the warehouse is damaged. A row is NULL where no source counted the measure for any
-- process.
with counted as materialized (
    -- JSON objects with two halves of each sum, the upper in units of 2^32, so that no sum
    -- overflows. in_all and in_job say to which of the three figures a row adds.
    select
        1 as in_all,
        null as in_job,
        json_object('processes', json_array(0, count(*))) as sums
    from process
    union all
    select
        1 as in_all,
        null as in_job,
        json_object(
            'records', json_array(0, count(*)),
            -- made by scripts/sql.py: halves-of-acct a
            'utime_ticks', json_array(sum(a.utime >> 32), sum(a.utime & 4294967295)),
            'stime_ticks', json_array(sum(a.stime >> 32), sum(a.stime & 4294967295)),
            'minflt', json_array(sum(a.minflt >> 32), sum(a.minflt & 4294967295)),
            'majflt', json_array(sum(a.majflt >> 32), sum(a.majflt & 4294967295))
            -- to here
        ) as sums
    from acct as a
    where a.join_outcome <> 3
    union all
    select
        1 as in_all,
        null as in_job,
        json_object(
            'with_usage', json_array(0, count(*)),
            -- made by scripts/sql.py: halves-of-usage s
            'threads', json_array(sum(s.threads >> 32), sum(s.threads & 4294967295)),
            'run_ns', json_array(sum(s.run_ns >> 32), sum(s.run_ns & 4294967295)),
            'utime_us', json_array(sum(s.utime_us >> 32), sum(s.utime_us & 4294967295)),
            'stime_us', json_array(sum(s.stime_us >> 32), sum(s.stime_us & 4294967295)),
            'read_chars', json_array(sum(s.read_chars >> 32), sum(s.read_chars & 4294967295)),
            'write_chars', json_array(sum(s.write_chars >> 32), sum(s.write_chars & 4294967295)),
            'read_syscalls', json_array(sum((nullif(s.read_syscalls, 0)) >> 32),
                sum((nullif(s.read_syscalls, 0)) & 4294967295)),
            'write_syscalls', json_array(sum((nullif(s.write_syscalls, 0)) >> 32),
                sum((nullif(s.write_syscalls, 0)) & 4294967295)),
            'read_bytes', json_array(sum(s.read_bytes >> 32), sum(s.read_bytes & 4294967295)),
            'write_bytes', json_array(sum(s.write_bytes >> 32), sum(s.write_bytes & 4294967295)),
            'cancelled_write_bytes', json_array(sum(s.cancelled_write_bytes >> 32),
                sum(s.cancelled_write_bytes & 4294967295)),
            'nvcsw', json_array(sum(s.nvcsw >> 32), sum(s.nvcsw & 4294967295)),
            'nivcsw', json_array(sum(s.nivcsw >> 32), sum(s.nivcsw & 4294967295)),
            'cpu_delay_ns', json_array(sum(s.cpu_delay_ns >> 32), sum(s.cpu_delay_ns & 4294967295)),
            'blkio_delay_ns', json_array(sum(s.blkio_delay_ns >> 32),
                sum(s.blkio_delay_ns & 4294967295)),
            'swapin_delay_ns', json_array(sum(s.swapin_delay_ns >> 32),
                sum(s.swapin_delay_ns & 4294967295)),
            'reclaim_delay_ns', json_array(sum(s.reclaim_delay_ns >> 32),
                sum(s.reclaim_delay_ns & 4294967295)),
            'thrashing_delay_ns', json_array(sum(s.thrashing_delay_ns >> 32),
                sum(s.thrashing_delay_ns & 4294967295)),
            'compact_delay_ns', json_array(sum(s.compact_delay_ns >> 32),
                sum(s.compact_delay_ns & 4294967295)),
            'irq_delay_ns', json_array(sum(s.irq_delay_ns >> 32), sum(s.irq_delay_ns & 4294967295))
            -- to here
        ) as sums
    from usage as s
    union all
    -- what intervals know beyond that, above all of processes that still run
    select
        1 as in_all,
        null as in_job,
        json_object(
            -- made by scripts/sql.py: halves-of-intervals d
            'run_ns', json_array(sum(d.run_ns >> 32), sum(d.run_ns & 4294967295)),
            'utime_us', json_array(sum(d.utime_us >> 32), sum(d.utime_us & 4294967295)),
            'stime_us', json_array(sum(d.stime_us >> 32), sum(d.stime_us & 4294967295)),
            'read_chars', json_array(sum(d.read_chars >> 32), sum(d.read_chars & 4294967295)),
            'write_chars', json_array(sum(d.write_chars >> 32), sum(d.write_chars & 4294967295)),
            'read_syscalls', json_array(sum(d.read_syscalls >> 32),
                sum(d.read_syscalls & 4294967295)),
            'write_syscalls', json_array(sum(d.write_syscalls >> 32),
                sum(d.write_syscalls & 4294967295)),
            'read_bytes', json_array(sum(d.read_bytes >> 32), sum(d.read_bytes & 4294967295)),
            'write_bytes', json_array(sum(d.write_bytes >> 32), sum(d.write_bytes & 4294967295)),
            'cancelled_write_bytes', json_array(sum(d.cancelled_write_bytes >> 32),
                sum(d.cancelled_write_bytes & 4294967295)),
            'nvcsw', json_array(sum(d.nvcsw >> 32), sum(d.nvcsw & 4294967295)),
            'nivcsw', json_array(sum(d.nivcsw >> 32), sum(d.nivcsw & 4294967295)),
            'cpu_delay_ns', json_array(sum(d.cpu_delay_ns >> 32), sum(d.cpu_delay_ns & 4294967295)),
            'blkio_delay_ns', json_array(sum(d.blkio_delay_ns >> 32),
                sum(d.blkio_delay_ns & 4294967295)),
            'swapin_delay_ns', json_array(sum(d.swapin_delay_ns >> 32),
                sum(d.swapin_delay_ns & 4294967295)),
            'reclaim_delay_ns', json_array(sum(d.reclaim_delay_ns >> 32),
                sum(d.reclaim_delay_ns & 4294967295)),
            'thrashing_delay_ns', json_array(sum(d.thrashing_delay_ns >> 32),
                sum(d.thrashing_delay_ns & 4294967295)),
            'compact_delay_ns', json_array(sum(d.compact_delay_ns >> 32),
                sum(d.compact_delay_ns & 4294967295)),
            'irq_delay_ns', json_array(sum(d.irq_delay_ns >> 32), sum(d.irq_delay_ns & 4294967295))
            -- to here
        ) as sums
    from (
        select
            -- made by scripts/sql.py: beyond-usage
            max(
                iif(f.run_ns is null, null, (f.user_us + f.system_us) * 1000)
                    - coalesce(s.run_ns, 0),
                0
            ) as run_ns,
            max(
                f.utime_us
                    - coalesce(s.utime_us, 0),
                0
            ) as utime_us,
            max(
                f.stime_us
                    - coalesce(s.stime_us, 0),
                0
            ) as stime_us,
            max(
                f.read_chars
                    - coalesce(s.read_chars, 0),
                0
            ) as read_chars,
            max(
                f.write_chars
                    - coalesce(s.write_chars, 0),
                0
            ) as write_chars,
            max(
                f.read_syscalls
                    - coalesce(s.read_syscalls, 0),
                0
            ) as read_syscalls,
            max(
                f.write_syscalls
                    - coalesce(s.write_syscalls, 0),
                0
            ) as write_syscalls,
            max(
                f.read_bytes
                    - coalesce(s.read_bytes, 0),
                0
            ) as read_bytes,
            max(
                f.write_bytes
                    - coalesce(s.write_bytes, 0),
                0
            ) as write_bytes,
            max(
                f.cancelled_write_bytes
                    - coalesce(s.cancelled_write_bytes, 0),
                0
            ) as cancelled_write_bytes,
            max(
                f.nvcsw
                    - coalesce(s.nvcsw, 0),
                0
            ) as nvcsw,
            max(
                f.nivcsw
                    - coalesce(s.nivcsw, 0),
                0
            ) as nivcsw,
            max(
                f.cpu_delay_ns
                    - coalesce(s.cpu_delay_ns, 0),
                0
            ) as cpu_delay_ns,
            max(
                f.blkio_delay_ns
                    - coalesce(s.blkio_delay_ns, 0),
                0
            ) as blkio_delay_ns,
            max(
                f.swapin_delay_ns
                    - coalesce(s.swapin_delay_ns, 0),
                0
            ) as swapin_delay_ns,
            max(
                f.reclaim_delay_ns
                    - coalesce(s.reclaim_delay_ns, 0),
                0
            ) as reclaim_delay_ns,
            max(
                f.thrashing_delay_ns
                    - coalesce(s.thrashing_delay_ns, 0),
                0
            ) as thrashing_delay_ns,
            max(
                f.compact_delay_ns
                    - coalesce(s.compact_delay_ns, 0),
                0
            ) as compact_delay_ns,
            max(
                f.irq_delay_ns
                    - coalesce(s.irq_delay_ns, 0),
                0
            ) as irq_delay_ns
            -- to here
        from usage_so_far as f
        left join usage as s
            on s.process_id = f.process_id
        where f.edge_ns = 0
    ) as d
    union all
    select
        0 as in_all,
        k.in_job,
        (
            select json_object(
                'processes', json_array(0, count(*)),
                'records', json_array(0, count(u.acct_id)),
                'with_usage', json_array(0, count(u.usage_complete)),
                -- made by scripts/sql.py: halves u
                'utime_ticks', json_array(sum(u.utime_ticks >> 32),
                    sum(u.utime_ticks & 4294967295)),
                'stime_ticks', json_array(sum(u.stime_ticks >> 32),
                    sum(u.stime_ticks & 4294967295)),
                'minflt', json_array(sum(u.minflt >> 32), sum(u.minflt & 4294967295)),
                'majflt', json_array(sum(u.majflt >> 32), sum(u.majflt & 4294967295)),
                'threads', json_array(sum(u.threads >> 32), sum(u.threads & 4294967295)),
                'run_ns', json_array(sum(u.run_ns >> 32), sum(u.run_ns & 4294967295)),
                'utime_us', json_array(sum(u.utime_us >> 32), sum(u.utime_us & 4294967295)),
                'stime_us', json_array(sum(u.stime_us >> 32), sum(u.stime_us & 4294967295)),
                'read_chars', json_array(sum(u.read_chars >> 32), sum(u.read_chars & 4294967295)),
                'write_chars', json_array(sum(u.write_chars >> 32),
                    sum(u.write_chars & 4294967295)),
                'read_syscalls', json_array(sum(u.read_syscalls >> 32),
                    sum(u.read_syscalls & 4294967295)),
                'write_syscalls', json_array(sum(u.write_syscalls >> 32),
                    sum(u.write_syscalls & 4294967295)),
                'read_bytes', json_array(sum(u.read_bytes >> 32), sum(u.read_bytes & 4294967295)),
                'write_bytes', json_array(sum(u.write_bytes >> 32),
                    sum(u.write_bytes & 4294967295)),
                'cancelled_write_bytes', json_array(sum(u.cancelled_write_bytes >> 32),
                    sum(u.cancelled_write_bytes & 4294967295)),
                'nvcsw', json_array(sum(u.nvcsw >> 32), sum(u.nvcsw & 4294967295)),
                'nivcsw', json_array(sum(u.nivcsw >> 32), sum(u.nivcsw & 4294967295)),
                'cpu_delay_ns', json_array(sum(u.cpu_delay_ns >> 32),
                    sum(u.cpu_delay_ns & 4294967295)),
                'blkio_delay_ns', json_array(sum(u.blkio_delay_ns >> 32),
                    sum(u.blkio_delay_ns & 4294967295)),
                'swapin_delay_ns', json_array(sum(u.swapin_delay_ns >> 32),
                    sum(u.swapin_delay_ns & 4294967295)),
                'reclaim_delay_ns', json_array(sum(u.reclaim_delay_ns >> 32),
                    sum(u.reclaim_delay_ns & 4294967295)),
                'thrashing_delay_ns', json_array(sum(u.thrashing_delay_ns >> 32),
                    sum(u.thrashing_delay_ns & 4294967295)),
                'compact_delay_ns', json_array(sum(u.compact_delay_ns >> 32),
                    sum(u.compact_delay_ns & 4294967295)),
                'irq_delay_ns', json_array(sum(u.irq_delay_ns >> 32),
                    sum(u.irq_delay_ns & 4294967295))
                -- to here
            )
            from incarnation_usage as u
            where u.in_job = k.in_job
        ) as sums
    from (select 0 as in_job union all select 1 as in_job) as k
    union all
    select
        0 as in_all,
        0 as in_job,
        json_object(
            'records', json_array(0, count(*)),
            -- made by scripts/sql.py: halves-of-records u
            'utime_ticks', json_array(sum(u.utime_ticks >> 32), sum(u.utime_ticks & 4294967295)),
            'stime_ticks', json_array(sum(u.stime_ticks >> 32), sum(u.stime_ticks & 4294967295)),
            'minflt', json_array(sum(u.minflt >> 32), sum(u.minflt & 4294967295)),
            'majflt', json_array(sum(u.majflt >> 32), sum(u.majflt & 4294967295))
            -- to here
        ) as sums
    from unjoined_record_usage as u
    union all
    select
        1 as in_all,
        r.in_job,
        json_object(
            'processes', json_array(0, sum(r.processes)),
            'records', json_array(0, sum(r.records)),
            'with_usage', json_array(0, sum(r.with_usage)),
            -- made by scripts/sql.py: halves r
            'utime_ticks', json_array(sum(r.utime_ticks >> 32), sum(r.utime_ticks & 4294967295)),
            'stime_ticks', json_array(sum(r.stime_ticks >> 32), sum(r.stime_ticks & 4294967295)),
            'minflt', json_array(sum(r.minflt >> 32), sum(r.minflt & 4294967295)),
            'majflt', json_array(sum(r.majflt >> 32), sum(r.majflt & 4294967295)),
            'threads', json_array(sum(r.threads >> 32), sum(r.threads & 4294967295)),
            'run_ns', json_array(sum(r.run_ns >> 32), sum(r.run_ns & 4294967295)),
            'utime_us', json_array(sum(r.utime_us >> 32), sum(r.utime_us & 4294967295)),
            'stime_us', json_array(sum(r.stime_us >> 32), sum(r.stime_us & 4294967295)),
            'read_chars', json_array(sum(r.read_chars >> 32), sum(r.read_chars & 4294967295)),
            'write_chars', json_array(sum(r.write_chars >> 32), sum(r.write_chars & 4294967295)),
            'read_syscalls', json_array(sum(r.read_syscalls >> 32),
                sum(r.read_syscalls & 4294967295)),
            'write_syscalls', json_array(sum(r.write_syscalls >> 32),
                sum(r.write_syscalls & 4294967295)),
            'read_bytes', json_array(sum(r.read_bytes >> 32), sum(r.read_bytes & 4294967295)),
            'write_bytes', json_array(sum(r.write_bytes >> 32), sum(r.write_bytes & 4294967295)),
            'cancelled_write_bytes', json_array(sum(r.cancelled_write_bytes >> 32),
                sum(r.cancelled_write_bytes & 4294967295)),
            'nvcsw', json_array(sum(r.nvcsw >> 32), sum(r.nvcsw & 4294967295)),
            'nivcsw', json_array(sum(r.nivcsw >> 32), sum(r.nivcsw & 4294967295)),
            'cpu_delay_ns', json_array(sum(r.cpu_delay_ns >> 32), sum(r.cpu_delay_ns & 4294967295)),
            'blkio_delay_ns', json_array(sum(r.blkio_delay_ns >> 32),
                sum(r.blkio_delay_ns & 4294967295)),
            'swapin_delay_ns', json_array(sum(r.swapin_delay_ns >> 32),
                sum(r.swapin_delay_ns & 4294967295)),
            'reclaim_delay_ns', json_array(sum(r.reclaim_delay_ns >> 32),
                sum(r.reclaim_delay_ns & 4294967295)),
            'thrashing_delay_ns', json_array(sum(r.thrashing_delay_ns >> 32),
                sum(r.thrashing_delay_ns & 4294967295)),
            'compact_delay_ns', json_array(sum(r.compact_delay_ns >> 32),
                sum(r.compact_delay_ns & 4294967295)),
            'irq_delay_ns', json_array(sum(r.irq_delay_ns >> 32), sum(r.irq_delay_ns & 4294967295))
            -- to here
        ) as sums
    from rollup_user as r
    where r.pruned = 1
    group by r.in_job
),

half as (
    select
        m.key as place,
        m.value as measure,
        c.in_all,
        c.in_job,
        json_extract(c.sums, '$.' || m.value || '[0]') as high,
        json_extract(c.sums, '$.' || m.value || '[1]') as low
    from json_each(json_array(
        -- made by scripts/sql.py: compared
        'processes', 'records', 'utime_ticks', 'stime_ticks', 'minflt', 'majflt',
        'with_usage', 'threads', 'run_ns', 'utime_us', 'stime_us', 'read_chars',
        'write_chars', 'read_syscalls', 'write_syscalls', 'read_bytes', 'write_bytes',
        'cancelled_write_bytes', 'nvcsw', 'nivcsw', 'cpu_delay_ns', 'blkio_delay_ns',
        'swapin_delay_ns', 'reclaim_delay_ns', 'thrashing_delay_ns', 'compact_delay_ns',
        'irq_delay_ns'
        -- to here
    )) as m
    cross join counted as c
),

summed as (
    select
        h.place,
        h.measure,
        -- where one figure is known, the others are not NULL but 0
        case when count(h.low) > 0 then 0 end as zero,
        sum(h.high) filter (where h.in_all = 1) as all_high,
        sum(h.low) filter (where h.in_all = 1) as all_low,
        sum(h.high) filter (where h.in_job = 1) as jobs_high,
        sum(h.low) filter (where h.in_job = 1) as jobs_low,
        sum(h.high) filter (where h.in_job = 0) as none_high,
        sum(h.low) filter (where h.in_job = 0) as none_low
    from half as h
    group by
        h.place,
        h.measure
),

known as (
    select
        s.place,
        s.measure,
        coalesce(s.all_high, s.zero) as all_high,
        coalesce(s.all_low, s.zero) as all_low,
        coalesce(s.jobs_high, s.zero) as jobs_high,
        coalesce(s.jobs_low, s.zero) as jobs_low,
        coalesce(s.none_high, s.zero) as none_high,
        coalesce(s.none_low, s.zero) as none_low
    from summed as s
)

select
    k.measure,
    k.all_high * 4294967296 + k.all_low as in_all,
    k.jobs_high * 4294967296 + k.jobs_low as in_jobs,
    k.none_high * 4294967296 + k.none_low as in_none,
    (k.all_high - k.jobs_high - k.none_high) * 4294967296
    + k.all_low - k.jobs_low - k.none_low as difference
from known as k
order by k.place
