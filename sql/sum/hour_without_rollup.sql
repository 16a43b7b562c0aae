-- Grain: one row per hour (since 1970) that is not rolled up, and in which a process or record
-- ended, a process left a job, or counters of living processes were read. It walks through four
-- indexes and searches for the next hour at each step; days that are rolled up are skipped, since
-- each of their hours is.
with recursive ended (hour) as (
    select min(p.ended_hour)
    from process as p
    union all
    select (
        select min(p.ended_hour)
        from process as p
        where p.ended_hour > case when d.day is null then ended.hour else d.day * 24 + 23 end
    )
    from ended
    left join rollup_day as d
        on d.day * 24 <= ended.hour and d.day = ended.hour / 24
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
            and a.ended_hour > case when d.day is null then recorded.hour else d.day * 24 + 23 end
    )
    from recorded
    left join rollup_day as d
        on d.day * 24 <= recorded.hour and d.day = recorded.hour / 24
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
        where m.left_hour > case when d.day is null then left_job.hour else d.day * 24 + 23 end
    )
    from left_job
    left join rollup_day as d
        on d.day * 24 <= left_job.hour and d.day = left_job.hour / 24
    where left_job.hour is not null
),

was_read (hour) as (
    select min(r.hour)
    from usage_reading as r
    union all
    select (
        select min(r.hour)
        from usage_reading as r
        where r.hour > case when d.day is null then was_read.hour else d.day * 24 + 23 end
    )
    from was_read
    left join rollup_day as d
        on d.day * 24 <= was_read.hour and d.day = was_read.hour / 24
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
