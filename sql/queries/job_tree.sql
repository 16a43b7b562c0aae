-- The processes of a job as a tree: who started whom, and what each one cost. A process whose
-- parent is not in the job (or is unknown) is a root; so a lost fork shows as a second tree.
-- sqlite3 -box -cmd '.param set :job_id 1' /var/lib/elsa/elsa.db < job_tree.sql
with recursive member as (
    select *
    from job_process_usage
    where job_id = :job_id
),

tree as (
    select
        m.process_id,
        0 as depth,
        printf('%020d', m.process_id) as place
    from member as m
    where
        m.parent_process_id is null
        or m.parent_process_id not in (
            select process_id
            from member
        )
    union all
    select
        m.process_id,
        t.depth + 1,
        t.place || printf('/%020d', m.process_id)
    from tree as t
    join member as m
        on m.parent_process_id = t.process_id
)

select
    printf('%*s', t.depth * 2, '') || m.command as command,
    m.pid,
    m.how,
    m.elapsed_s,
    m.cpu_s,
    m.exit_code,
    m.record
from tree as t
join member as m
    on m.process_id = t.process_id
order by
    t.place;
