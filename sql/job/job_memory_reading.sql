-- Grain: one row per job and reading of the memory of all its living members together. Readings
-- that showed about the same as the row before (within 1/64) have no row. memory_by says how: pss
-- counts memory that processes share once; rss counts it for each of them. Of hours that were
-- thinned (keep_intervals) the row with the most and the last row are left.
select
    m.job_id,
    m.read_ns,
    m.read_ns + c.offset_ns as read_at_ns,
    datetime((m.read_ns + c.offset_ns) / 1000000000, 'unixepoch') as read_at,
    m.memory_kib,
    case m.memory_by when 1 then 'pss' when 2 then 'rss' end as memory_by
from job_memory as m
join job as j
    on j.id = m.job_id
join clock as c
    on c.id = (
        select k.id
        from clock as k
        where
            k.boot_id = j.boot_id
            and k.since_ns <= m.read_ns
        order by
            k.since_ns desc
        limit 1
    )
