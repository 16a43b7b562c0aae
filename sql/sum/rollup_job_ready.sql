-- Grain: one row per hour and job, of those hours that are rolled up: sums over what ended in the
-- hour, or was taken out of the job in it. Where processes were pruned there is a row for them and
-- one for what is left, so sum these rows. Hours that are not rolled up (yet) are in process_usage
-- alone.
select r.*
from rollup_job as r
where
    r.pruned = 1
    or exists (
        select 1
        from rollup_hour as h
        where
            h.hour = r.hour
            and h.ready = 1
    )
