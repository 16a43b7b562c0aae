-- Grain: one row per accounting record, counted or not, in the kernel's units, with its file and
-- what became of it. counted is 0 for the records that acct(2) writes about its own caller.
-- ended_at is the second of the exit, the only time of a record to trust; ended_inferred is 1 where
-- it was inferred from the record's place in the file (see late_s in docs/schema.md), else NULL.
select
    a.id as acct_id,
    (select h.name from host as h where h.id = f.host_id) as host,
    f.path,
    a.position,
    a.process_id,
    case a.join_outcome
        when 0 then 'pending'
        when 1 then 'exact'
        when 2 then 'uncertain'
        when 3 then 'self'
        when 4 then 'own'
        when 5 then 'ambiguous'
    end as record,
    case when a.join_outcome = 3 then 0 else 1 end as counted,
    (select n.name from comm as n where n.id = a.comm_id) as command,
    a.flag,
    a.flag & 1 as forked_only,
    (a.flag >> 1) & 1 as superuser,
    (a.flag >> 3) & 1 as dumped_core,
    (a.flag >> 4) & 1 as killed,
    a.version & 127 as version,
    a.tty,
    a.exitcode,
    a.uid,
    a.gid,
    a.pid,
    a.ppid,
    a.btime,
    datetime(
        a.btime - case when a.ended_s < a.btime then 4294967296 else 0 end, 'unixepoch'
    ) as started_at,
    a.ended_at,
    case when a.late_s is not null then 1 end as ended_inferred,
    a.etime as etime_ticks,
    a.utime as utime_ticks,
    a.stime as stime_ticks,
    a.mem as mem_kib,
    a.io as io_raw,
    a.rw as rw_raw,
    a.minflt,
    a.majflt,
    a.swaps
from acct as a
left join acct_file as f
    on f.id = a.acct_file_id
