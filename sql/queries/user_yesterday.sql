-- What a user's processes that ended yesterday (local time) cost, by command. Put the uid in the
-- place of 1000. sqlite3 -box /var/lib/elsa/elsa.db < user_yesterday.sql
with bounds as (
    select
        1000 as uid,
        cast(strftime('%s', 'now', 'localtime', 'start of day', '-1 day', 'utc') as integer)
        * 1000000000 as since_ns,
        cast(strftime('%s', 'now', 'localtime', 'start of day', 'utc') as integer)
        * 1000000000 as until_ns
)

select
    u.command,
    count(*) as processes,
    count(u.acct_id) as records,
    sum(u.cpu_s) as cpu_s,
    sum(u.elapsed_s) as elapsed_s,
    sum(u.majflt) as majflt,
    min(u.started_at) as first_started_at,
    max(u.ended_at) as last_ended_at
from process_usage as u
join bounds as b
    on u.uid = b.uid
    and u.ended_ns >= b.since_ns
    and u.ended_ns < b.until_ns
group by
    u.command
order by
    cpu_s desc;
