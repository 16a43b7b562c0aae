-- Grain: one row per incarnation that only one of the two sources saw, or both but not with
-- certainty, with the likely cause. Incarnations that ended before the collector was first started
-- are not in it (see audit_period). period numbers the rows that belong together, within boot,
-- class and cause: a new period starts where a process that both sources saw ended in a minute
-- between the minutes in which the previous row and this row ended.
with unjoined as (
    -- by pid: the period of the records that are joined to no process, with the 2 s that times of
    -- joined records may differ
    select
        f.host_id,
        a.pid,
        (min(a.ended_s) - 2) * 1000000000 as first_ns,
        (max(a.ended_s) + 2) * 1000000000 as last_ns
    from acct as a
    join acct_file as f
        on f.id = a.acct_file_id
    where
        a.process_id is null
        and a.join_outcome <> 3
        -- lets SQLite use the index of such records
        and a.ended_hour is not null
    group by
        f.host_id,
        a.pid
),

recorded_of_boot as materialized (
    select
        s.boot_id,
        min(s.first_ns) as first_ns,
        max(s.last_ns) as last_ns
    from audit_hour as s
    where s.records > 0
    group by s.boot_id
),

recorded as (
    -- from when to when records were written, of the records that were ingested
    select
        r.host_id,
        min(r.first_ns) as first_ns,
        max(r.last_ns) as last_ns
    from (
        select
            b.host_id,
            s.first_ns,
            s.last_ns
        from recorded_of_boot as s
        join boot as b
            on b.id = s.boot_id
        union all
        select
            l.host_id,
            l.first_ns + 2000000000 as first_ns,
            l.last_ns - 2000000000 as last_ns
        from unjoined as l
    ) as r
    group by r.host_id
),

listened as (
    -- from when to when the collector listened; listened_before: it had run on this host before
    -- this boot
    select
        b.id as boot_id,
        min(c.since_ns) as since_ns,
        max(c.heard_ns) as until_ns,
        exists (
            select 1
            from boot as e
            join collector as o
                on o.boot_id = e.id
            where
                e.host_id = b.host_id
                and e.id < b.id
        ) as listened_before
    from boot as b
    left join collector as c
        on c.boot_id = b.id
    group by b.id
),

crashed as (
    -- boots that ended without notice: records of the last minute before may not have been on disk
    select
        g.boot_id,
        max(g.from_ns) - 60000000000 as since_ns
    from gap as g
    where g.kind = 'crash'
    group by g.boot_id
),

placed as (
    select
        u.process_id,
        u.acct_id,
        b.host_id,
        u.boot_id,
        u.pid,
        u.class,
        u.start_ns,
        u.ended_ns,
        u.end_source,
        h.since_ns,
        h.until_ns,
        h.listened_before,
        u.end_ns >= k.since_ns and u.ended_ns >= coalesce(o.last_ns, 0) as unsynced,
        -- The fork was missed. Records give its time to the second, and joining allows some more
        -- seconds, so gaps within 4 s of it count.
        case
            when u.class <> 'only_connector'
                then (
                    select min(
                        case
                            when g.kind in ('boot', 'shutdown', 'crash', 'down') then g.kind
                            else 'lost'
                        end
                    )
                    from gap as g
                    where
                        g.boot_id = u.boot_id
                        and g.kind <> 'taskstats'
                        and coalesce(g.from_ns, u.start_ns) <= u.start_ns + 4000000000
                        and coalesce(g.to_ns, u.start_ns) >= u.start_ns - 4000000000
                )
        end as gap_cause
    from audit_unconfirmed_process as d
    join incarnation_usage as u
        on u.process_id = d.process_id
    left join boot as b
        on b.id = u.boot_id
    left join listened as h
        on h.boot_id = u.boot_id
    left join crashed as k
        on k.boot_id = u.boot_id
    left join recorded_of_boot as o
        on o.boot_id = u.boot_id
),

caused as (
    select
        d.process_id,
        d.acct_id,
        d.host_id,
        d.boot_id,
        d.pid,
        d.class,
        d.ended_ns,
        case
            when d.class = 'only_connector'
                then case
                    when d.end_source = 'reboot' then 'reboot'
                    when d.ended_ns between l.first_ns and l.last_ns then 'unjoined'
                    when r.host_id is null then 'never'
                    when d.unsynced then 'crash'
                    when d.ended_ns >= r.last_ns then 'since'
                    when d.ended_ns < r.first_ns then 'until'
                    else 'between'
                end
            when d.gap_cause is not null then d.gap_cause
            -- In the second in which the collector started, a gap is the likelier cause. In its
            -- first seconds a record may also be that of a process that had just ended.
            when d.since_ns is null or d.start_ns < d.since_ns
                + case d.class when 'uncertain' then 4000000000 else 0 end
                then case when d.listened_before then 'boot' else 'before' end
            when d.start_ns + 2000000000 > d.until_ns then 'down'
            else 'unexplained'
        end as cause
    from placed as d
    left join recorded as r
        on r.host_id = d.host_id
    left join unjoined as l
        on l.host_id = d.host_id
        and l.pid = d.pid
),

preceded as (
    select
        c.*,
        c.ended_ns / 60000000000 as minute,
        lag(c.ended_ns / 60000000000) over cluster as minute_before
    from caused as c
    window cluster as (
        partition by c.boot_id, c.class, c.cause
        order by c.ended_ns, c.process_id
    )
),

both as materialized (
    -- the minutes in which processes ended that both sources saw
    select
        s.boot_id,
        s.hour,
        s.minutes
    from audit_hour as s
    where s.class = 'both'
),

marked as (
    select
        p.*,
        case
            when p.minute - p.minute_before <= 1 or p.minute_before is null then 0
            when p.minute / 60 = p.minute_before / 60
                then exists (
                    select 1
                    from both as s
                    where
                        s.boot_id = p.boot_id
                        and s.hour = p.minute / 60
                        and s.minutes & ((1 << (p.minute % 60)) - (2 << (p.minute_before % 60)))
                )
            else exists (
                select 1
                from both as s
                where
                    s.boot_id = p.boot_id
                    and s.hour = p.minute / 60
                    and s.minutes & ((1 << (p.minute % 60)) - 1)
            )
            or exists (
                select 1
                from both as s
                where
                    s.boot_id = p.boot_id
                    and s.hour = p.minute_before / 60
                    and s.minutes & -(2 << (p.minute_before % 60))
            )
            or exists (
                select 1
                from both as s
                where
                    s.boot_id = p.boot_id
                    and s.hour > p.minute_before / 60
                    and s.hour < p.minute / 60
            )
        end as starts_period
    from preceded as p
)

select
    m.process_id,
    m.acct_id,
    h.name as host,
    m.boot_id,
    m.pid,
    m.class,
    m.cause,
    k.why,
    m.ended_ns,
    1 + sum(m.starts_period) over cluster as period
from marked as m
join audit_cause as k
    on k.cause = m.cause
left join host as h
    on h.id = m.host_id
window cluster as (
    partition by m.boot_id, m.class, m.cause
    order by m.ended_ns, m.process_id
)
