create view job_process_usage as
-- Grain: one row per job and incarnation that was ever in it, with what the process used in its whole life.
-- A process in several jobs has a row in each, so never sum this over jobs: see reconciliation.
select
    pj.job_id,
    pj.how,
    pj.since_ns,
    pj.until_ns,
    pj.stays,
    pj.part_life,
    u.*
from process_job as pj
join incarnation_usage as u
    on u.process_id = pj.process_id
