-- Grain: one row per incarnation (one process, from its start to its end), with what taskstats and
-- its accounting record say it used. NULL is unknown. in_job is 1 if it was ever in a job. class
-- says which source saw it (audit_class has the words); before_first_start is 1 if only accounting
-- could, because the collector had not yet been started on this host. user_s, system_s and cpu_s
-- are from taskstats where it reported the end, else from the record: provenance says which. Every
-- table but the first is joined `left`, even where a row always exists: then the planner starts
-- from the process, looks up the rest by key, and skips tables whose columns a query does not use.
-- SQLite joins all rows before it sorts them, but evaluates expressions only for rows that are
-- within the limit so far: so a table that has only one column to give is read by a subquery.
with life as (
    select
        p.id as process_id,
        a.id as acct_id,
        (select h.name from host as h where h.id = b.host_id) as host,
        p.boot_id,
        p.pid,
        p.parent_id as parent_process_id,
        -- the parent at the start where it is known, else at the end
        coalesce((select e.pid from process as e where e.id = p.parent_id), a.ppid) as ppid,
        -- the record has the name of the command at the end
        (select n.name from comm as n where n.id = coalesce(a.comm_id, p.comm_id)) as command,
        a.flag,
        coalesce(a.uid, p.uid) as uid,
        a.gid,
        a.tty,
        p.start_ns,
        p.start_ns + p.elapsed_ns as end_ns,
        p.start_ns + born.offset_ns as started_ns,
        -- the clock at the end: a step of the clock in between must not move the end
        p.start_ns + p.elapsed_ns + case
            when p.end_clock_id <> p.clock_id then (
                select died.offset_ns
                from clock as died
                where died.id = p.end_clock_id
            )
            else born.offset_ns
        end as ended_ns,
        p.ended_hour,
        p.ended_at,
        p.elapsed_ns,
        cast(a.etime as integer) as etime_ticks,
        a.utime as utime_ticks,
        a.stime as stime_ticks,
        a.minflt,
        a.majflt,
        a.swaps,
        a.mem as mem_kib,
        a.io as io_raw,
        iif(
            f.minflt is null,
            coalesce(s.minflt, a.minflt),
            max(f.minflt, coalesce(s.minflt, a.minflt, 0))
        ) as minor_faults,
        iif(
            f.majflt is null,
            coalesce(s.majflt, a.majflt),
            max(f.majflt, coalesce(s.majflt, a.majflt, 0))
        ) as major_faults,
        s.threads,
        s.complete as usage_complete,
        -- at least what the intervals add up to: they may know of threads whose messages were lost,
        -- and of a process that still runs there is nothing else
        iif(
            f.run_ns is null,
            s.run_ns,
            max((f.user_us + f.system_us) * 1000, coalesce(s.run_ns, 0))
        ) as run_ns,
        f.user_us * 1000 as user_so_far_ns,
        f.system_us * 1000 as system_so_far_ns,
        coalesce(b.tick_ns, 10000000) as tick_ns,
        -- run_ns is measured, but only up to the last tick: for processes that ran shorter than a
        -- tick, utime and stime, which are sampled, are right on average, and run_ns is not
        case
            when s.run_ns >= coalesce(b.tick_ns, 10000000) then s.run_ns
            -- the cast cuts more than 292 years down to that
            else max(
                coalesce(s.run_ns, 0), cast((s.utime_us + s.stime_us) * 1000 as integer)
            )
        end as measured_ns,
        -- measured_ns is divided as utime and stime are, as the kernel does for getrusage
        case
            when s.utime_us + s.stime_us > 0 then s.utime_us * 1.0 / (s.utime_us + s.stime_us)
            else 1.0
        end as user_share,
        iif(f.utime_us is null, s.utime_us, max(f.utime_us, coalesce(s.utime_us, 0))) as utime_us,
        iif(f.stime_us is null, s.stime_us, max(f.stime_us, coalesce(s.stime_us, 0))) as stime_us,
        iif(f.rss_kib is null, s.rss_kib, max(f.rss_kib, coalesce(s.rss_kib, 0))) as rss_kib,
        s.vm_kib,
        s.coremem_mb_us,
        s.virtmem_mb_us,
        -- the kernel rounds system calls down to a multiple of 1024 per thread: 0 is unknown
        -- made by scripts/sql.py: counters from read_chars
        iif(f.read_chars is null, s.read_chars,
            max(f.read_chars, coalesce(s.read_chars, 0))) as read_chars,
        iif(f.write_chars is null, s.write_chars,
            max(f.write_chars, coalesce(s.write_chars, 0))) as write_chars,
        nullif(iif(f.read_syscalls is null, s.read_syscalls,
            max(f.read_syscalls, coalesce(s.read_syscalls, 0))), 0) as read_syscalls,
        nullif(iif(f.write_syscalls is null, s.write_syscalls,
            max(f.write_syscalls, coalesce(s.write_syscalls, 0))), 0) as write_syscalls,
        iif(f.read_bytes is null, s.read_bytes,
            max(f.read_bytes, coalesce(s.read_bytes, 0))) as read_bytes,
        iif(f.write_bytes is null, s.write_bytes,
            max(f.write_bytes, coalesce(s.write_bytes, 0))) as write_bytes,
        iif(f.cancelled_write_bytes is null, s.cancelled_write_bytes,
            max(f.cancelled_write_bytes, coalesce(s.cancelled_write_bytes, 0)))
            as cancelled_write_bytes,
        iif(f.nvcsw is null, s.nvcsw, max(f.nvcsw, coalesce(s.nvcsw, 0))) as nvcsw,
        iif(f.nivcsw is null, s.nivcsw, max(f.nivcsw, coalesce(s.nivcsw, 0))) as nivcsw,
        iif(f.cpu_delay_ns is null, s.cpu_delay_ns,
            max(f.cpu_delay_ns, coalesce(s.cpu_delay_ns, 0))) as cpu_delay_ns,
        iif(f.blkio_delay_ns is null, s.blkio_delay_ns,
            max(f.blkio_delay_ns, coalesce(s.blkio_delay_ns, 0))) as blkio_delay_ns,
        iif(f.swapin_delay_ns is null, s.swapin_delay_ns,
            max(f.swapin_delay_ns, coalesce(s.swapin_delay_ns, 0))) as swapin_delay_ns,
        iif(f.reclaim_delay_ns is null, s.reclaim_delay_ns,
            max(f.reclaim_delay_ns, coalesce(s.reclaim_delay_ns, 0))) as reclaim_delay_ns,
        iif(f.thrashing_delay_ns is null, s.thrashing_delay_ns,
            max(f.thrashing_delay_ns, coalesce(s.thrashing_delay_ns, 0))) as thrashing_delay_ns,
        iif(f.compact_delay_ns is null, s.compact_delay_ns,
            max(f.compact_delay_ns, coalesce(s.compact_delay_ns, 0))) as compact_delay_ns,
        iif(f.irq_delay_ns is null, s.irq_delay_ns,
            max(f.irq_delay_ns, coalesce(s.irq_delay_ns, 0))) as irq_delay_ns,
        -- to here
        s.exe_dev,
        s.exe_inode,
        -- the record has only the leader's own status: for a process with an exit event or several
        -- threads, the status that ended the process is unknown without p.exit_status
        case
            when p.end_source = 1 or s.threads > 1 then p.exit_status
            else coalesce(p.exit_status, a.exitcode)
        end as exit_status,
        p.origin,
        p.end_source,
        a.late_s,
        a.join_outcome,
        b.uuid,
        b.host_id,
        p.inherited_job_id is not null
            or exists (select 1 from membership as m where m.process_id = p.id) as in_job
    from process as p
    left join clock as born
        on born.id = p.clock_id
    left join boot as b
        on b.id = p.boot_id
    -- what acct(2) wrote about its own caller (join_outcome 3) has no process_id
    left join acct as a
        on a.process_id = p.id
    left join usage as s
        on s.process_id = p.id
    left join usage_so_far as f
        on f.process_id = p.id
        and f.edge_ns = 0
),

counted as (
    select
        life.*,
        coalesce(life.measured_ns, (life.utime_ticks + life.stime_ticks) * 10000000)
            as counted_ns,
        coalesce(
            min(life.measured_ns, cast(life.measured_ns * life.user_share as integer)),
            life.utime_ticks * 10000000
        ) as counted_user_ns
    from life
),

-- Most processes have no intervals, and SQLite evaluates an expression wherever it is named. So
-- what the intervals add up to is compared only where there are some.
known as (
    select
        counted.*,
        case
            when counted.user_so_far_ns is null then counted.counted_ns
            else coalesce(
                max(counted.counted_ns, counted.user_so_far_ns + counted.system_so_far_ns),
                counted.counted_ns,
                counted.user_so_far_ns + counted.system_so_far_ns
            )
        end as cpu_ns
    from counted
),

-- neither user nor system time is less than in the intervals
divided as (
    select
        known.*,
        case
            when known.user_so_far_ns is null then known.counted_user_ns
            else coalesce(
                min(
                    max(known.counted_user_ns, known.user_so_far_ns),
                    known.cpu_ns - known.system_so_far_ns
                ),
                known.counted_user_ns,
                known.user_so_far_ns
            )
        end as user_ns
    from known
)

select
    life.process_id,
    life.acct_id,
    life.host,
    life.host_id,
    life.boot_id,
    life.pid,
    life.parent_process_id,
    life.ppid,
    life.command,
    life.flag & 1 as forked_only,
    (life.flag >> 1) & 1 as superuser,
    coalesce((life.flag >> 3) & 1, (life.exit_status >> 7) & 1) as dumped_core,
    -- the record's flag is also set where another thread ended the process
    coalesce((life.exit_status & 127) <> 0, (life.flag >> 4) & 1) as killed,
    life.uid,
    life.gid,
    life.tty,
    life.start_ns,
    life.end_ns,
    life.started_ns,
    life.ended_ns,
    life.ended_hour,
    datetime(life.started_ns / 1000000000, 'unixepoch') as started_at,
    life.ended_at,
    life.elapsed_ns,
    life.elapsed_ns / 1e9 as elapsed_s,
    life.etime_ticks,
    life.utime_ticks,
    life.stime_ticks,
    life.user_ns,
    life.cpu_ns - life.user_ns as system_ns,
    life.user_ns / 1e9 as user_s,
    (life.cpu_ns - life.user_ns) / 1e9 as system_s,
    life.cpu_ns / 1e9 as cpu_s,
    case
        when life.threads is not null then 'taskstats'
        when life.acct_id is not null then 'acct'
        when life.cpu_ns is not null then 'intervals'
    end as provenance,
    life.minflt,
    life.majflt,
    life.swaps,
    life.mem_kib,
    life.io_raw,
    life.minor_faults,
    life.major_faults,
    life.threads,
    life.usage_complete,
    life.run_ns,
    life.tick_ns,
    coalesce(life.run_ns, 0) < life.tick_ns as below_tick,
    life.utime_us,
    life.stime_us,
    life.rss_kib,
    life.vm_kib,
    life.coremem_mb_us,
    life.virtmem_mb_us,
    life.coremem_mb_us / 1e6 as coremem_mb_s,
    life.virtmem_mb_us / 1e6 as virtmem_mb_s,
    -- made by scripts/sql.py: names life from read_chars
    life.read_chars,
    life.write_chars,
    life.read_syscalls,
    life.write_syscalls,
    life.read_bytes,
    life.write_bytes,
    life.cancelled_write_bytes,
    life.nvcsw,
    life.nivcsw,
    life.cpu_delay_ns,
    life.blkio_delay_ns,
    life.swapin_delay_ns,
    life.reclaim_delay_ns,
    life.thrashing_delay_ns,
    life.compact_delay_ns,
    life.irq_delay_ns,
    -- to here
    life.exe_dev,
    life.exe_inode,
    life.exit_status,
    case when life.exit_status & 127 = 0 then (life.exit_status >> 8) & 255 end as exit_code,
    life.exit_status & 127 as exit_signal,
    case when life.elapsed_ns is null then 'running' else 'ended' end as state,
    case life.origin
        when 1 then 'fork'
        when 2 then 'snapshot'
        when 3 then 'acct'
    end as origin,
    case life.end_source
        when 1 then 'exit'
        when 2 then 'vanished'
        when 3 then 'acct'
        when 4 then 'reused'
        when 5 then 'reboot'
    end as end_source,
    -- the end is known only from the record, and its elapsed time is cut by the kernel
    case
        when life.end_source is not null then life.end_source = 3 and life.late_s is not null
    end as ended_inferred,
    case life.join_outcome
        when 0 then 'pending'
        when 1 then 'exact'
        when 2 then 'uncertain'
        when 3 then 'self'
        when 4 then 'own'
        when 5 then 'ambiguous'
    end as record,
    case
        when life.origin = 3 or life.join_outcome = 4 then 'only_acct'
        when life.join_outcome = 0 then 'pending'
        when life.join_outcome = 1 then 'both'
        when life.join_outcome = 2 then 'uncertain'
        when life.join_outcome = 5 then 'ambiguous'
        when life.elapsed_ns is null then 'running'
        else 'only_connector'
    end as class,
    -- a second is added since the start is known to the second
    case
        when life.origin = 3 or life.join_outcome = 4
            then life.uuid is null
                or (
                    coalesce(
                        life.start_ns + 1000000000 <= (
                            select min(c.since_ns)
                            from collector as c
                            where c.boot_id = life.boot_id
                        ),
                        1
                    )
                    and not exists (
                        select 1
                        from boot as e
                        join collector as c
                            on c.boot_id = e.id
                        where
                            e.host_id = life.host_id
                            and e.id < life.boot_id
                    )
                )
    end as before_first_start,
    life.in_job
from divided as life
