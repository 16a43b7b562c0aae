-- Grain: one row per fork, exec and exit event that jobd received, in words and real times. Threads
-- have events of their own, with their tid, and exit_status is their wait status. There is no index
-- by time: events are numbered in the order in which the kernel reported them.
with timed as (
    select
        e.*,
        coalesce(
            (
                select c.offset_ns
                from clock as c
                where
                    c.boot_id = e.boot_id
                    and c.since_ns <= e.time_ns
                order by c.since_ns desc
                limit 1
            ),
            (
                select c.offset_ns
                from clock as c
                where c.boot_id = e.boot_id
                order by c.since_ns
                limit 1
            )
        ) as offset_ns
    from event as e
)

select
    t.id as event_id,
    h.name as host,
    b.host_id,
    t.boot_id,
    case t.kind
        when 1 then 'fork'
        when 2 then 'exec'
        when 3 then 'exit'
    end as event,
    t.time_ns,
    t.time_ns + t.offset_ns as real_ns,
    datetime((t.time_ns + t.offset_ns) / 1000000000, 'unixepoch') as at,
    t.tgid as pid,
    t.pid as tid,
    t.parent_tgid as ppid,
    t.cpu,
    t.code as exit_status,
    t.process_id
from timed as t
left join boot as b
    on b.id = t.boot_id
left join host as h
    on h.id = b.host_id
