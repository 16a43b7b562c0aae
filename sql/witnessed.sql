create view witnessed as
-- Grain: one row per incarnation: which of the two witnesses, the connector and accounting, saw it (class, in words in audit_class).
-- Lean, because every report counts it: the tables are joined by key, and only those whose columns are asked for.
select
    p.id as process_id,
    a.id as acct_id,
    b.host_id,
    p.boot_id,
    p.pid,
    p.start_ns,
    p.start_ns + p.elapsed_ns + coalesce(died.offset_ns, born.offset_ns) as ended_ns,
    case
        when p.origin = 3 then 'only_acct'
        when a.join_how = 0 then 'pending'
        when a.join_how = 1 then 'both'
        when a.join_how = 2 then 'uncertain'
        when a.join_how = 4 then 'only_acct'
        when a.join_how = 5 then 'ambiguous'
        when p.elapsed_ns is null then 'running'
        else 'only_connector'
    end as class
from process as p
left join boot as b
    on b.id = p.boot_id
left join clock as born
    on born.id = p.clock_id
left join clock as died
    on died.id = p.end_clock_id
left join acct as a
    on a.process_id = p.id
    and a.join_how <> 3
