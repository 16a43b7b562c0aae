-- What a user's processes that ended yesterday (local time) cost, by command.
-- sqlite3 -box -cmd '.param set :uid 1000' /var/lib/elsa/elsa.db < user_yesterday.sql
select
    command,
    count(*) as processes,
    count(acct_id) as records,
    sum(cpu_s) as cpu_s,
    sum(elapsed_s) as elapsed_s,
    sum(majflt) as majflt,
    min(started_at) as first_started_at,
    max(ended_at) as last_ended_at
from process_usage
where
    uid = cast(:uid as integer)
    and ended_at >= datetime('now', 'localtime', 'start of day', '-1 day', 'utc')
    and ended_at < datetime('now', 'localtime', 'start of day', 'utc')
group by
    command
order by
    cpu_s desc;
