-- Grain: one row per hour (since 1970) of which there are sums, in a day that is not put together
-- (see rollup_day). Two walks through indexes, each step one search for the next hour; what is put
-- together is skipped by the day.
with recursive ended (hour) as (
    select min(r.hour)
    from rollup_user as r
    union all
    select (
        select min(r.hour)
        from rollup_user as r
        where r.hour > case when d.day is null then ended.hour else d.day * 24 + 23 end
    )
    from ended
    left join rollup_day as d
        on d.day = ended.hour / 24
    where ended.hour is not null
),

taken_out (hour) as (
    select min(r.hour)
    from rollup_job as r
    union all
    select (
        select min(r.hour)
        from rollup_job as r
        where r.hour > case when d.day is null then taken_out.hour else d.day * 24 + 23 end
    )
    from taken_out
    left join rollup_day as d
        on d.day = taken_out.hour / 24
    where taken_out.hour is not null
),

known as (
    select ended.hour
    from ended
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
        from rollup_day as d
        where d.day = known.hour / 24
    )
