create view reconciliation as
-- Grain: one row per measure. in_all is counted straight from process and acct; in_jobs over the processes that were ever in a job,
-- each once however many jobs it was in; in_none is unattributed_usage: all other processes and the records joined to none.
-- Three counts that know nothing of each other: difference = in_all - in_jobs - in_none is 0, or the warehouse is damaged.
with everything as (
    select
        (
            select count(*)
            from process
        ) as processes,
        count(*) as records,
        sum(a.utime) as utime_ticks,
        sum(a.stime) as stime_ticks,
        sum(a.minflt) as minflt,
        sum(a.majflt) as majflt
    from acct as a
    where a.join_how <> 3
),

attributed as (
    select
        count(u.process_id) as processes,
        count(u.acct_id) as records,
        sum(u.utime_ticks) as utime_ticks,
        sum(u.stime_ticks) as stime_ticks,
        sum(u.minflt) as minflt,
        sum(u.majflt) as majflt
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
    select
        'processes' as measure,
        coalesce(e.processes, 0) as in_all,
        coalesce(j.processes, 0) as in_jobs,
        coalesce(r.processes, 0) as in_none
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        'records' as measure,
        coalesce(e.records, 0) as in_all,
        coalesce(j.records, 0) as in_jobs,
        coalesce(r.records, 0) as in_none
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        'utime_ticks' as measure,
        coalesce(e.utime_ticks, 0) as in_all,
        coalesce(j.utime_ticks, 0) as in_jobs,
        coalesce(r.utime_ticks, 0) as in_none
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        'stime_ticks' as measure,
        coalesce(e.stime_ticks, 0) as in_all,
        coalesce(j.stime_ticks, 0) as in_jobs,
        coalesce(r.stime_ticks, 0) as in_none
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        'minflt' as measure,
        coalesce(e.minflt, 0) as in_all,
        coalesce(j.minflt, 0) as in_jobs,
        coalesce(r.minflt, 0) as in_none
    from everything as e
    cross join attributed as j
    cross join rest as r
    union all
    select
        'majflt' as measure,
        coalesce(e.majflt, 0) as in_all,
        coalesce(j.majflt, 0) as in_jobs,
        coalesce(r.majflt, 0) as in_none
    from everything as e
    cross join attributed as j
    cross join rest as r
)

select
    measure.measure,
    measure.in_all,
    measure.in_jobs,
    measure.in_none,
    measure.in_all - measure.in_jobs - measure.in_none as difference
from measure
