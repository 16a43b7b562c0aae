-- Grain: one row per hour, command and forked_only, of those hours that are rolled up: sums over
-- what ended in the hour. Where processes were pruned there is a row for them and one for what is
-- left, so sum these rows. Hours that are not rolled up (yet) are in process_usage alone.
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
