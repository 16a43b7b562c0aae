-- Grain: one row per membership of an incarnation in a job, in words and real times: how and when
-- the process entered, and when it left. since_at is the start of the process where it was a member
-- from its start; until_at is NULL where it was a member to its end.
select
    m.job_id,
    j.name,
    m.process_id,
    p.pid,
    n.name as command,
    case m.how
        when 1 then 'added'
        when 2 then 'inherited'
        when 3 then 'launched'
        when 4 then 'inferred'
        when 5 then 'defined'
        when 6 then 'moved'
        when 7 then 'sampled'
        when 8 then 'present'
    end as how,
    m.since_ns,
    m.until_ns,
    case when m.since_ns = 0 then p.start_ns else m.since_ns end + c.offset_ns as since_at_ns,
    m.until_ns + c.offset_ns as until_at_ns,
    datetime(
        (case when m.since_ns = 0 then p.start_ns else m.since_ns end + c.offset_ns) / 1000000000,
        'unixepoch'
    ) as since_at,
    datetime((m.until_ns + c.offset_ns) / 1000000000, 'unixepoch') as until_at
from all_memberships as m
left join job as j
    on j.id = m.job_id
left join process as p
    on p.id = m.process_id
left join clock as c
    on c.id = p.clock_id
left join acct as a
    on a.process_id = p.id
    and a.join_outcome <> 3
left join comm as n
    on n.id = coalesce(a.comm_id, p.comm_id)
