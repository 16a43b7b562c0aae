create view audit as
-- Grain: one row per class: how far the connector and accounting agree. The processes of all classes are all incarnations, the
-- records of all classes but self all records that count.
select
    k.class,
    k.what,
    count(r.process_id) as processes,
    count(r.acct_id) as records,
    strftime('%Y-%m-%dT%H:%M:%fZ', min(r.ended_ns) / 1e9, 'unixepoch') as first_ended_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', max(r.ended_ns) / 1e9, 'unixepoch') as last_ended_at
from audit_class as k
left join audit_row as r
    on r.class = k.class
group by
    k.place,
    k.class,
    k.what
order by
    k.place
