-- Grain: one row per hour (since 1970, real time; NULL for processes that still run), boot, class
-- and before_first_start, with sums over the processes and records that ended in the hour. Several
-- rows may have the same key: add them up. minutes has a bit for each minute of the hour in which a
-- process ended. compared counts the processes whose CPU time both sources report. Hours that are
-- rolled up come from rollup_audit, all others from the processes and records themselves.
select
    r.hour,
    r.boot_id,
    r.class,
    r.before_first_start,
    r.processes,
    r.records,
    r.first_ns,
    r.last_ns,
    r.minutes,
    r.compared,
    r.compared_ns,
    r.compared_ticks
from rollup_audit as r
union all
select
    u.ended_hour as hour,
    u.boot_id,
    u.class,
    u.before_first_start,
    count(u.process_id) as processes,
    count(u.acct_id) as records,
    min(u.ended_ns) as first_ns,
    max(u.ended_ns) as last_ns,
    sum(distinct 1 << (u.ended_ns / 60000000000 % 60)) as minutes,
    -- made by scripts/sql.py: class compared compared_ns compared_ticks
    count(case when u.provenance = 'taskstats' and u.acct_id is not null then 1 end) as compared,
    sum((case when u.provenance = 'taskstats' and u.acct_id is not null
        then u.user_ns + u.system_ns end) >> 32) * 4294967296
        + sum((case when u.provenance = 'taskstats' and u.acct_id is not null
        then u.user_ns + u.system_ns end) & 4294967295) as compared_ns,
    sum((case when u.provenance = 'taskstats' and u.acct_id is not null
        then u.utime_ticks + u.stime_ticks end) >> 32) * 4294967296
        + sum((case when u.provenance = 'taskstats' and u.acct_id is not null
        then u.utime_ticks + u.stime_ticks end) & 4294967295) as compared_ticks
    -- to here
from incarnation_usage as u
where u.ended_hour in (select h.hour from hour_without_rollup as h)
group by
    u.ended_hour,
    u.boot_id,
    u.class,
    u.before_first_start
union all
select
    null as hour,
    u.boot_id,
    u.class,
    u.before_first_start,
    count(u.process_id) as processes,
    count(u.acct_id) as records,
    null as first_ns,
    null as last_ns,
    null as minutes,
    -- made by scripts/sql.py: class compared compared_ns compared_ticks
    count(case when u.provenance = 'taskstats' and u.acct_id is not null then 1 end) as compared,
    sum((case when u.provenance = 'taskstats' and u.acct_id is not null
        then u.user_ns + u.system_ns end) >> 32) * 4294967296
        + sum((case when u.provenance = 'taskstats' and u.acct_id is not null
        then u.user_ns + u.system_ns end) & 4294967295) as compared_ns,
    sum((case when u.provenance = 'taskstats' and u.acct_id is not null
        then u.utime_ticks + u.stime_ticks end) >> 32) * 4294967296
        + sum((case when u.provenance = 'taskstats' and u.acct_id is not null
        then u.utime_ticks + u.stime_ticks end) & 4294967295) as compared_ticks
    -- to here
from incarnation_usage as u
where u.ended_hour is null
group by
    u.boot_id,
    u.class,
    u.before_first_start
union all
select
    u.ended_hour as hour,
    null as boot_id,
    u.class,
    null as before_first_start,
    0 as processes,
    count(u.acct_id) as records,
    min(u.ended_ns) as first_ns,
    max(u.ended_ns) as last_ns,
    sum(distinct 1 << (u.ended_ns / 60000000000 % 60)) as minutes,
    0 as compared,
    null as compared_ns,
    null as compared_ticks
from unjoined_record_usage as u
where u.ended_hour in (select h.hour from hour_without_rollup as h)
group by
    u.ended_hour,
    u.class
