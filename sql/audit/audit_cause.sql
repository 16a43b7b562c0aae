-- Grain: one row per likely cause why a process was not seen by both sources (the connector and
-- accounting), or not with certainty. why is the cause in words.
select
    'reboot' as cause,
    'it still ran when the machine went down, so no record was written' as why
union all
select
    'unjoined' as cause,
    'a record of its pid and time is joined to no process and may be its own' as why
union all
select
    'never' as cause,
    'no accounting record ever: accounting is off, or its file was not ingested yet' as why
union all
select
    'since' as cause,
    'no accounting record since: accounting is off, or its file was not ingested yet' as why
union all
select
    'until' as cause,
    'no accounting record until then: accounting was off, or an older file was not ingested' as why
union all
select
    'between' as cause,
    'no record, but some before and after: accounting was off or suspended'
    || ' (disk full, kernel.acct), or lost it' as why
union all
select
    'earlier_boot' as cause,
    'from before this boot was recorded' as why
union all
select
    'before' as cause,
    'before the collector was first started on this host, or at about that time' as why
union all
select
    'boot' as cause,
    'the machine had booted and the collector was not listening yet' as why
union all
select
    'shutdown' as cause,
    'the collector had stopped and the machine was going down' as why
union all
select
    'crash' as cause,
    'the machine or the collector was stopped without notice (power cut, kill):'
    || ' what was not on disk yet is lost' as why
union all
select
    'down' as cause,
    'the collector did not run' as why
union all
select
    'lost' as cause,
    'events were lost' as why
union all
select
    'unexplained' as cause,
    'no known loss explains it' as why
