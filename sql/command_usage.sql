create view command_usage as
-- Grain: one row per command and forked_only, the key of GNU sa: forked_only 1 (sa's `*`) is a process that never called exec,
-- NULL one without an accounting record (it runs still, or its record was lost).
-- With sa over the same records: calls = records, re = etime_ticks / 6000 minutes, cp = (utime_ticks + stime_ticks) / 6000 minutes.
select
    u.command,
    u.forked_only,
    count(u.process_id) as processes,
    count(case when u.state = 'running' then 1 end) as running,
    count(u.acct_id) as records,
    count(case when u.state = 'ended' and u.acct_id is null then 1 end) as without_record,
    count(case when u.record = 'uncertain' then 1 end) as uncertain,
    count(u.acct_id) - count(case when u.process_id is not null then u.acct_id end) as unjoined,
    sum(u.elapsed_s) as elapsed_s,
    sum(u.etime_ticks) as etime_ticks,
    sum(u.utime_ticks) as utime_ticks,
    sum(u.stime_ticks) as stime_ticks,
    sum(u.utime_ticks) / 100.0 as user_s,
    sum(u.stime_ticks) / 100.0 as system_s,
    sum(u.utime_ticks + u.stime_ticks) / 100.0 as cpu_s,
    sum(u.minflt) as minflt,
    sum(u.majflt) as majflt
from process_usage as u
group by
    u.command,
    u.forked_only
