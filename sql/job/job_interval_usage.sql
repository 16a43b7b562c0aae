-- Grain: one row per job, process and interval in which the process used something and at whose end
-- it was a member, with the columns of job_end_usage. None of a member that is charged for its
-- whole life, since its counters were not read when it entered or left.
select
    m.job_id as job_id,
    null as how,
    null as since_ns,
    null as until_ns,
    null as part_life,
    null as part_life_whole,
    s.ended_hour as out_hour,
    s.*
from interval_usage as s
cross join membership as m
    on m.process_id = s.used_by
    and m.since_ns < s.used_until_ns
    and (m.until_ns is null or m.until_ns >= s.used_until_ns)
where
    (
        (m.since_ns = 0 and m.until_ns is null)
        or not exists (
            select 1
            from membership as x
            where
                x.job_id = m.job_id
                and x.process_id = m.process_id
                and (
                    (
                        x.since_ns <> 0
                        and not exists (
                            select 1
                            from usage_so_far as f
                            where
                                f.process_id = x.process_id
                                and f.edge_ns = x.since_ns
                        )
                    )
                    or (
                        x.until_ns is not null
                        and not exists (
                            select 1
                            from usage_so_far as f
                            where
                                f.process_id = x.process_id
                                and f.edge_ns = x.until_ns
                        )
                    )
                )
        )
    )
union all
select
    p.inherited_job_id as job_id,
    null as how,
    null as since_ns,
    null as until_ns,
    null as part_life,
    null as part_life_whole,
    s.ended_hour as out_hour,
    s.*
from interval_usage as s
cross join process as p
    on p.id = s.used_by
where
    p.inherited_job_id is not null
    and not exists (
        select 1
        from membership as m
        where
            m.job_id = p.inherited_job_id
            and m.process_id = p.id
    )
