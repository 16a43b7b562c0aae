-- Grain: one row per period of time in which only one source saw processes, or both saw them but
-- not with certainty, for one likely cause. What ended before the collector was first started is
-- one period per boot, with the number 0, and is not in audit_unconfirmed.
with period as (
    select
        d.boot_id,
        d.class,
        d.cause,
        d.period,
        count(d.process_id) as processes,
        count(d.acct_id) as records,
        min(d.ended_ns) as first_ns,
        max(d.ended_ns) as last_ns
    from audit_unconfirmed as d
    group by
        d.boot_id,
        d.class,
        d.cause,
        d.period
    union all
    select
        s.boot_id,
        s.class,
        case when b.uuid is null then 'earlier_boot' else 'before' end as cause,
        0 as period,
        sum(s.processes) as processes,
        sum(s.records) as records,
        min(s.first_ns) as first_ns,
        max(s.last_ns) as last_ns
    from audit_hour as s
    join boot as b
        on b.id = s.boot_id
    where
        s.class = 'only_acct'
        and s.before_first_start = 1
    group by
        s.boot_id,
        s.class,
        b.uuid
)

select
    h.name as host,
    t.boot_id,
    t.class,
    c.what,
    t.cause,
    k.why,
    t.period,
    t.processes,
    t.records,
    datetime(t.first_ns / 1000000000, 'unixepoch') as first_ended_at,
    datetime(t.last_ns / 1000000000, 'unixepoch') as last_ended_at
from period as t
join audit_class as c
    on c.class = t.class
join audit_cause as k
    on k.cause = t.cause
join boot as b
    on b.id = t.boot_id
join host as h
    on h.id = b.host_id
