-- The newest hundred processes that failed today (local time).
select
    ended_at,
    command,
    pid,
    uid,
    exit_code,
    exit_signal,
    elapsed_s,
    cpu_s
from process_usage
where
    ended_at >= datetime('now', 'localtime', 'start of day', 'utc')
    and exit_status <> 0
order by
    ended_at desc,
    ended_ns desc
limit 100;
