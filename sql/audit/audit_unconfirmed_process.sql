-- Grain: one row per incarnation that is in audit_unconfirmed, with the hour (since 1970, real
-- time) in which it ended.
select
    d.process_id,
    d.hour as ended_hour
from rollup_unconfirmed as d
union all
select
    u.process_id,
    u.ended_hour
from incarnation_usage as u
where
    u.ended_hour in (select h.hour from hour_without_rollup as h)
    and (
        u.class in ('uncertain', 'only_connector')
        or u.class = 'only_acct' and u.before_first_start = 0
    )
union all
select
    u.process_id,
    u.ended_hour
from incarnation_usage as u
where
    u.ended_hour is null
    and (
        u.class in ('uncertain', 'only_connector')
        or u.class = 'only_acct' and u.before_first_start = 0
    )
