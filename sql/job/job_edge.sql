-- Grain: one row per entry of a running process into a job (sign -1) and leave of it (sign 1), with
-- what it had used by then; none where its counters were not read.
select
    m.job_id,
    m.process_id,
    f.edge_ns,
    e.sign,
    f.user_us * 1000 as user_ns,
    f.system_us * 1000 as system_ns,
    -- made by scripts/sql.py: so-far f
    f.minflt,
    f.majflt,
    iif(f.run_ns is null, null, (f.user_us + f.system_us) * 1000) as run_ns,
    f.utime_us,
    f.stime_us,
    f.coremem_mb_us,
    f.virtmem_mb_us,
    f.read_chars,
    f.write_chars,
    f.read_syscalls,
    f.write_syscalls,
    f.read_bytes,
    f.write_bytes,
    f.cancelled_write_bytes,
    f.nvcsw,
    f.nivcsw,
    f.cpu_delay_ns,
    f.blkio_delay_ns,
    f.swapin_delay_ns,
    f.reclaim_delay_ns,
    f.thrashing_delay_ns,
    f.compact_delay_ns,
    f.irq_delay_ns
    -- to here
from membership as m
cross join (select -1 as sign union all select 1) as e
cross join usage_so_far as f
    on f.process_id = m.process_id
    and f.edge_ns = case e.sign when -1 then nullif(m.since_ns, 0) else m.until_ns end
