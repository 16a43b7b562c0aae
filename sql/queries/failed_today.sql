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
    -- by the hour, since there is an index on that
    ended_hour >= cast(
        strftime('%s', 'now', 'localtime', 'start of day', 'utc') as integer
    ) / 3600
    and exit_status <> 0
order by
    ended_ns desc
limit 100;
