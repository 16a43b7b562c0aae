-- Grain: one row per incarnation, plus one row (process_id NULL) per accounting record that is
-- joined to none, including those that acct(2) writes about its own caller. So every incarnation
-- and every record is here exactly once, in one class. ended_ns is real time; without a process it
-- is known to the second.
select
    u.process_id,
    u.acct_id,
    u.class,
    u.ended_ns
from process_usage as u
union all
select
    cast(null as integer) as process_id,
    a.id as acct_id,
    'self' as class,
    a.ended_s * 1000000000 as ended_ns
from acct as a
where a.join_outcome = 3
