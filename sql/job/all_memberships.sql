-- Grain: one row per membership of an incarnation in a job: the rows of table membership, and those
-- that a process inherited and never left and that are in its own row (process.inherited_job_id). A
-- condition on job_id reads the blocks of ids in which the job has members, one on process_id the
-- jobs that have members in the block of the process.
select
    b.job_id,
    p.id as process_id,
    coalesce(m.since_ns, 0) as since_ns,
    m.until_ns,
    coalesce(m.how, 2) as how
from job_block as b
join process as p
    on p.id between b.block * 128 and b.block * 128 + 127
    and p.id / 128 = b.block
left join membership as m
    on m.job_id = b.job_id
    and m.process_id = p.id
where
    m.process_id is not null
    or p.inherited_job_id = b.job_id
