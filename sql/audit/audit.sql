-- Grain: one row per class: how far the connector and accounting agree. processes adds up to all
-- incarnations; records, without class self, to all records that are counted.
with summed as (
    select
        s.class,
        s.processes,
        s.records,
        s.first_ns,
        s.last_ns
    from audit_hour as s
    union all
    select
        'self' as class,
        0 as processes,
        count(*) as records,
        min(a.ended_s * 1000000000) as first_ns,
        max(a.ended_s * 1000000000) as last_ns
    from acct as a
    where a.join_outcome = 3
)

select
    k.class,
    k.what,
    coalesce(sum(s.processes), 0) as processes,
    coalesce(sum(s.records), 0) as records,
    datetime(min(s.first_ns) / 1000000000, 'unixepoch') as first_ended_at,
    datetime(max(s.last_ns) / 1000000000, 'unixepoch') as last_ended_at
from audit_class as k
left join summed as s
    on s.class = k.class
group by
    k.place,
    k.class,
    k.what
order by
    k.place
