-- Grain: one row per hour, uid, gid, in_job and host_id, of those hours that are rolled up: sums
-- over what ended in the hour. Where processes were pruned there is a row for them and one for what
-- is left, so sum these rows. Hours that are not rolled up (yet) are in process_usage alone.
select r.*
from rollup_user as r
where
    r.pruned = 1
    or exists (
        select 1
        from rollup_hour as h
        where
            h.hour = r.hour
            and h.ready = 1
    )
