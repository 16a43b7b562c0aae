-- Grain: one row per known loss: what may be missing, between which times (of a boot) or bytes (of
-- an accounting file). Times that are unknown are NULL; real times are by the clock at the start of
-- the gap.
with timed as (
    select
        g.id as gap_id,
        g.boot_id,
        g.kind,
        g.from_ns,
        g.to_ns,
        g.lost,
        g.acct_file_id,
        g.from_position,
        g.to_position,
        g.note,
        coalesce(
            (
                select c.offset_ns
                from clock as c
                where
                    c.boot_id = g.boot_id
                    and c.since_ns <= coalesce(g.from_ns, g.to_ns)
                order by c.since_ns desc
                limit 1
            ),
            (
                select c.offset_ns
                from clock as c
                where c.boot_id = g.boot_id
                order by c.since_ns
                limit 1
            )
        ) as offset_ns
    from gap as g
)

select
    timed.gap_id,
    coalesce(bh.name, fh.name) as host,
    coalesce(b.host_id, f.host_id) as host_id,
    timed.boot_id,
    timed.kind,
    case timed.kind
        when 'boot' then 'the machine had booted and jobd was not listening yet'
        when 'shutdown' then 'jobd had stopped and the machine was going down'
        when 'crash' then 'the machine or jobd was stopped without notice (power cut, kill)'
        when 'overrun' then 'jobd was too slow and the kernel dropped events'
        when 'sequence' then 'events are missing from the kernel''s numbering'
        when 'down' then 'jobd was not listening'
        when 'backlog' then 'jobd could not write and dropped events'
        when 'replaced' then 'the warehouse was replaced while jobd ran'
        when 'taskstats' then 'statistics of threads were lost'
        when 'cgroup' then 'moves between control groups were lost'
        when 'file' then 'bytes of an accounting file that are no records'
        else timed.kind
    end as what,
    timed.from_ns,
    timed.to_ns,
    timed.from_ns + timed.offset_ns as started_ns,
    timed.to_ns + timed.offset_ns as ended_ns,
    datetime((timed.from_ns + timed.offset_ns) / 1000000000, 'unixepoch') as started_at,
    datetime((timed.to_ns + timed.offset_ns) / 1000000000, 'unixepoch') as ended_at,
    (timed.to_ns - timed.from_ns) / 1e9 as duration_s,
    timed.lost,
    f.path,
    timed.from_position,
    timed.to_position,
    timed.note
from timed
left join boot as b
    on b.id = timed.boot_id
left join host as bh
    on bh.id = b.host_id
left join acct_file as f
    on f.id = timed.acct_file_id
left join host as fh
    on fh.id = f.host_id
