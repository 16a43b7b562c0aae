create view audit_stretch as
-- Grain: one row per stretch of time in which processes were seen by one witness only, or with a doubt, for one likely cause.
select
    d.host,
    d.boot_id,
    d.class,
    k.what,
    d.cause,
    d.why,
    d.stretch,
    count(d.process_id) as processes,
    count(d.acct_id) as records,
    strftime('%Y-%m-%dT%H:%M:%fZ', min(d.ended_ns) / 1e9, 'unixepoch') as first_ended_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', max(d.ended_ns) / 1e9, 'unixepoch') as last_ended_at
from audit_doubt as d
join audit_class as k
    on k.class = d.class
group by
    d.host,
    d.boot_id,
    d.class,
    k.what,
    d.cause,
    d.why,
    d.stretch
