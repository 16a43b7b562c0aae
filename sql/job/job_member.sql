-- Grain: one row per job and incarnation that was ever in it. Several memberships of one process
-- are one row, from the entry of the first (since_ns) to the leave of the last (until_ns), both
-- monotonic: since_ns 0 is "from its start", until_ns NULL "to its end". There is no `group by`, so
-- that a condition on job_id or process_id reaches the keys of the tables from any query. Most
-- memberships have no row (see all_memberships).
with first_membership as (
    select
        m.job_id,
        m.process_id,
        m.how,
        m.since_ns,
        max(1, (
            select count(*)
            from membership as s
            where
                s.job_id = m.job_id
                and s.process_id = m.process_id
        )) as memberships,
        -- the membership that started last ended last
        (
            select s.until_ns
            from membership as s
            where
                s.job_id = m.job_id
                and s.process_id = m.process_id
            order by s.since_ns desc
            limit 1
        ) as until_ns
    from all_memberships as m
    where
        not exists (
            select 1
            from membership as s
            where
                s.job_id = m.job_id
                and s.process_id = m.process_id
                and s.since_ns < m.since_ns
        )
)

select
    f.job_id,
    f.process_id,
    case f.how
        when 1 then 'added'
        when 2 then 'inherited'
        when 3 then 'launched'
        when 4 then 'inferred'
        when 5 then 'defined'
        when 6 then 'moved'
        when 7 then 'sampled'
        when 8 then 'present'
    end as how,
    f.since_ns,
    f.until_ns,
    f.memberships,
    case
        when f.since_ns <> 0 or f.memberships > 1 or f.until_ns is not null then 1
        else 0
    end as part_life
from first_membership as f
