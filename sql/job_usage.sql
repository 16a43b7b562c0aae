create view job_usage as
-- Grain: one row per job. Jobs may share processes, so the rows do not add up to the host: see reconciliation.
-- A sum is over what is known: `running`, `without_record`, `uncertain`, `inferred`, `part_life` and `gaps` say what that leaves out,
-- `complete` is 1 when nothing that ended is missing or doubtful.
-- wall_s = last end - first start, elapsed_s is summed over processes.
-- It joins the tables itself, since SQLite cannot look into a view of many tables on the right of a left join.
with total as (
    select
        j.id as job_id,
        j.name,
        j.owner_uid,
        j.boot_id,
        j.created_at_ns,
        j.closed_at_ns,
        j.close_how,
        count(p.id) as processes,
        count(p.id) - count(p.elapsed_ns) as running,
        count(a.id) as records,
        min(p.start_ns) as start_ns,
        case when count(p.id) = count(p.elapsed_ns) then max(p.start_ns + p.elapsed_ns) end as end_ns,
        -- from here on a lost fork may have been a child of a member
        min(case when pj.since_ns > p.start_ns then pj.since_ns else p.start_ns end) as member_ns,
        min(p.start_ns + born.offset_ns) as started_ns,
        case
            when count(p.id) = count(p.elapsed_ns)
                then max(p.start_ns + p.elapsed_ns + coalesce(died.offset_ns, born.offset_ns))
        end as ended_ns,
        sum(p.elapsed_ns) / 1e9 as elapsed_s,
        sum(a.etime) as etime_ticks,
        sum(a.utime) as utime_ticks,
        sum(a.stime) as stime_ticks,
        sum(a.minflt) as minflt,
        sum(a.majflt) as majflt,
        -- `elsa job run` launches exactly one
        max(case when pj.how = 'launched' then coalesce(p.exit_status, a.exitcode) end) as exit_status,
        count(case when pj.how = 'inferred' then 1 end) as inferred,
        count(case when pj.part_life = 1 then 1 end) as part_life,
        count(case when a.join_how = 2 then 1 end) as uncertain,
        count(case when p.elapsed_ns is not null and a.id is null then 1 end) as without_record
    from job as j
    left join process_job as pj
        on pj.job_id = j.id
    left join process as p
        on p.id = pj.process_id
    left join clock as born
        on born.id = p.clock_id
    left join clock as died
        on died.id = p.end_clock_id
    left join acct as a
        on a.process_id = p.id
        and a.join_how <> 3
    group by
        j.id
),

touched as (
    select
        total.*,
        (
            select count(*)
            from gap as g
            where
                g.boot_id = total.boot_id
                and coalesce(g.from_ns, 0) <= coalesce(total.end_ns, g.from_ns, 0)
                and (g.to_ns is null or g.to_ns >= total.member_ns)
                and total.member_ns is not null
        ) as gaps
    from total
)

select
    touched.job_id,
    touched.name,
    touched.owner_uid,
    strftime('%Y-%m-%dT%H:%M:%fZ', touched.created_at_ns / 1e9, 'unixepoch') as created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', touched.closed_at_ns / 1e9, 'unixepoch') as closed_at,
    touched.close_how,
    case when touched.closed_at_ns is null then 'open' else 'closed' end as state,
    touched.processes,
    touched.running,
    touched.records,
    touched.started_ns,
    touched.ended_ns,
    strftime('%Y-%m-%dT%H:%M:%fZ', touched.started_ns / 1e9, 'unixepoch') as started_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', touched.ended_ns / 1e9, 'unixepoch') as ended_at,
    (touched.end_ns - touched.start_ns) / 1e9 as wall_s,
    touched.elapsed_s,
    touched.etime_ticks,
    touched.utime_ticks,
    touched.stime_ticks,
    touched.utime_ticks / 100.0 as user_s,
    touched.stime_ticks / 100.0 as system_s,
    (touched.utime_ticks + touched.stime_ticks) / 100.0 as cpu_s,
    touched.minflt,
    touched.majflt,
    touched.exit_status,
    case when touched.exit_status & 127 = 0 then (touched.exit_status >> 8) & 255 end as exit_code,
    touched.exit_status & 127 as exit_signal,
    touched.inferred,
    touched.part_life,
    touched.uncertain,
    touched.without_record,
    touched.gaps,
    case
        when touched.inferred + touched.uncertain + touched.without_record + touched.gaps = 0 then 1
        else 0
    end as complete,
    (
        select json_group_object(t.key, t.value)
        from job_tag as t
        where t.job_id = touched.job_id
    ) as tags
from touched
