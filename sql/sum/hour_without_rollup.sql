-- Grain: one row per hour (since 1970) in which something ended, or was taken out of a job, and
-- that is not rolled up. Three walks through indexes, each step one search for the next hour.
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

taken_out (hour) as (
    select min(m.left_hour)
    from membership as m
    where m.left_hour is not null
    union all
    select (
        select min(m.left_hour)
        from membership as m
        where m.left_hour > taken_out.hour
    )
    from taken_out
    where taken_out.hour is not null
),

known as (
    select ended.hour
    from ended
    union
    select recorded.hour
    from recorded
    union
    select taken_out.hour
    from taken_out
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
