-- Grain: one row per rolled-up hour, command, forked_only and host_id, with sums over the processes
-- and records that ended in the hour. Where processes were pruned there is one row for them (pruned
-- 1) and one for the others: add the rows up. Hours that are not rolled up yet are only in
-- process_usage.
select
    n.name as command,
    r.*
from rollup_command as r
left join comm as n
    on n.id = r.comm_id
where
    r.pruned = 1
    or exists (
        select 1
        from rollup_hour as h
        where
            h.hour = r.hour
            and h.ready = 1
    )
