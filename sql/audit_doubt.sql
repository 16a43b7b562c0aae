create view audit_doubt as
-- Grain: one row per incarnation that only one witness saw, or both with a doubt; with the likely cause.
-- stretch numbers the rows that belong together, within boot, class and cause: a new one begins where more than a minute passed since
-- the one before and a process that both saw ended in between.
with recorded as (
    -- between which seconds records were written, as far as they have been read
    select
        f.host_id,
        min(a.btime + cast(a.etime / 100 as integer)) * 1000000000 as first_ns,
        max(a.btime + cast(a.etime / 100 as integer)) * 1000000000 as last_ns
    from acct as a
    join acct_file as f
        on f.id = a.acct_file_id
    group by
        f.host_id
),

heard as (
    select
        c.boot_id,
        min(c.since_ns) as since_ns,
        max(c.heard_ns) as heard_ns
    from collector as c
    group by
        c.boot_id
),

loose as (
    -- records that are joined to none, by pid
    select
        f.host_id,
        a.pid,
        (min(a.btime + cast(a.etime / 100 as integer)) - 2) * 1000000000 as first_ns,
        (max(a.btime + cast(a.etime / 100 as integer)) + 2) * 1000000000 as last_ns
    from acct as a
    join acct_file as f
        on f.id = a.acct_file_id
    where
        a.process_id is null
        and a.join_how <> 3
    group by
        f.host_id,
        a.pid
),

ordered as (
    select
        w.*,
        sum(case when w.class = 'both' then 1 else 0 end) over (partition by w.boot_id order by w.ended_ns) as both_before
    from witnessed as w
    where w.class in ('both', 'uncertain', 'only_connector', 'only_acct')
),

placed as (
    select
        o.*,
        b.uuid,
        p.end_how,
        h.since_ns,
        h.heard_ns,
        -- The fork is what was missed. Records tell its second, and joining allows some more, so gaps within 4 s of it count.
        case
            when o.class <> 'only_connector'
                then (
                    select min(case when g.kind = 'down' then 'down' else 'lost' end)
                    from gap as g
                    where
                        g.boot_id = p.boot_id
                        and g.kind <> 'taskstats'
                        and coalesce(g.from_ns, p.start_ns) <= p.start_ns + 4000000000
                        and coalesce(g.to_ns, p.start_ns) >= p.start_ns - 4000000000
                )
        end as gap_cause
    from ordered as o
    join process as p
        on p.id = o.process_id
    left join boot as b
        on b.id = o.boot_id
    left join heard as h
        on h.boot_id = o.boot_id
    where o.class <> 'both'
),

caused as (
    select
        d.*,
        case
            when d.class = 'only_connector'
                then case
                    when d.end_how = 5 then 'reboot'
                    when d.ended_ns between l.first_ns and l.last_ns then 'unjoined'
                    when r.host_id is null then 'never'
                    when d.ended_ns >= r.last_ns then 'since'
                    when d.ended_ns < r.first_ns then 'until'
                    else 'between'
                end
            when d.uuid is null then 'earlier_boot'
            -- its start is known to the second; of the second in which the collector started a gap is the better guess
            when d.class = 'only_acct' and (d.since_ns is null or d.start_ns + 1000000000 <= d.since_ns) then 'before'
            when d.gap_cause is not null then d.gap_cause
            -- in its first seconds nobody can tell whose records those of processes that had just ended are
            when d.start_ns < d.since_ns + case d.class when 'uncertain' then 4000000000 else 0 end then 'before'
            when d.start_ns + 2000000000 > d.heard_ns then 'down'
            else 'unexplained'
        end as cause
    from placed as d
    left join recorded as r
        on r.host_id = d.host_id
    left join loose as l
        on l.host_id = d.host_id
        and l.pid = d.pid
),

marked as (
    select
        c.*,
        case
            when
                c.ended_ns - lag(c.ended_ns) over alike > 60000000000
                and c.both_before > lag(c.both_before) over alike
                then 1
            else 0
        end as begins
    from caused as c
    window alike as (partition by c.boot_id, c.class, c.cause order by c.ended_ns, c.process_id)
)

select
    m.process_id,
    m.acct_id,
    h.name as host,
    m.boot_id,
    m.pid,
    m.class,
    m.cause,
    case m.cause
        when 'reboot' then 'it ran when the machine went down, so no record was written'
        when 'unjoined' then 'a record of its pid from then is joined to no process and may be its own'
        when 'never' then 'no accounting record ever: accounting is off, or its file was not ingested yet'
        when 'since' then 'no accounting record since: accounting is off, or its file was not ingested yet'
        when 'until' then 'no accounting record until then: accounting was off, or an older file was not ingested'
        when 'between' then 'no record, but some before and after: accounting was off or suspended (disk full, kernel.acct), or lost it'
        when 'earlier_boot' then 'from before this boot was recorded'
        when 'before' then 'before the collector was first started, or about then'
        when 'down' then 'the collector did not run'
        when 'lost' then 'events were lost'
        else 'no known loss explains it'
    end as why,
    m.ended_ns,
    1 + sum(m.begins) over (partition by m.boot_id, m.class, m.cause order by m.ended_ns, m.process_id) as stretch
from marked as m
left join host as h
    on h.id = m.host_id
