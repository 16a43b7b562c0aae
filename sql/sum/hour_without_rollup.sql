-- Grain: one row per hour (since 1970) that is not rolled up, and in which a process or record
-- ended, a process left a job, or counters of living processes were read. It walks through four
-- indexes and searches for the next hour at each step.
with recursive ended (hour) as (
    select min(p.ended_hour)
    from process as p
    union all
    select (
        select min(p.ended_hour)
        from process as p
        where p.ended_hour > ended.hour
    )
    from ended
    where ended.hour is not null
),

recorded (hour) as (
    select min(a.ended_hour)
    from acct as a
    where
        a.process_id is null
        and a.join_outcome <> 3
    union all
    select (
        select min(a.ended_hour)
        from acct as a
        where
            a.process_id is null
            and a.join_outcome <> 3
            and a.ended_hour > recorded.hour
    )
    from recorded
    where recorded.hour is not null
),

left_job (hour) as (
    select min(m.left_hour)
    from membership as m
    where m.left_hour is not null
    union all
    select (
        select min(m.left_hour)
        from membership as m
        where m.left_hour > left_job.hour
    )
    from left_job
    where left_job.hour is not null
),

was_read (hour) as (
    select min(r.hour)
    from usage_reading as r
    union all
    select (
        select min(r.hour)
        from usage_reading as r
        where r.hour > was_read.hour
    )
    from was_read
    where was_read.hour is not null
),

known as (
    select ended.hour
    from ended
    union
    select recorded.hour
    from recorded
    union
    select left_job.hour
    from left_job
    union
    select was_read.hour
    from was_read
)

select known.hour
from known
where
    known.hour is not null
    and not exists (
        select 1
        from rollup_hour as h
        where
            h.hour = known.hour
            and h.ready = 1
    )
