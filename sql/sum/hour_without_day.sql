-- Grain: one row per hour (since 1970) that is rolled up, in a day that is not (see rollup_day).
-- It walks through two indexes and searches for the next hour at each step; days that are rolled
-- up are skipped. Hours before 1970, which a clock that was set back may give, are in no day.
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
        on d.day * 24 <= ended.hour and d.day = ended.hour / 24
    where ended.hour is not null
),

left_job (hour) as (
    select min(r.hour)
    from rollup_job as r
    union all
    select (
        select min(r.hour)
        from rollup_job as r
        where r.hour > case when d.day is null then left_job.hour else d.day * 24 + 23 end
    )
    from left_job
    left join rollup_day as d
        on d.day * 24 <= left_job.hour and d.day = left_job.hour / 24
    where left_job.hour is not null
),

known as (
    select ended.hour
    from ended
    union
    select left_job.hour
    from left_job
)

select known.hour
from known
where
    known.hour is not null
    and not exists (
        select 1
        from rollup_day as d
        where
            d.day * 24 <= known.hour
            and d.day = known.hour / 24
    )
