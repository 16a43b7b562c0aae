-- Grain: one row per class of processes and records, by which of the two sources (the connector and
-- accounting) saw them. what is the class in words, place the order to show the classes in.
select
    1 as place,
    'both' as class,
    'seen by both sources' as what
union all
select
    2 as place,
    'uncertain' as class,
    'seen by both but joined without certainty' as what
union all
select
    3 as place,
    'only_connector' as class,
    'seen only by the connector' as what
union all
select
    4 as place,
    'only_acct' as class,
    'seen only by accounting' as what
union all
select
    5 as place,
    'running' as class,
    'still running' as what
union all
select
    6 as place,
    'pending' as class,
    'records that wait for their process events' as what
union all
select
    7 as place,
    'ambiguous' as class,
    'records that fit several processes' as what
union all
select
    8 as place,
    'self' as class,
    'records that acct(2) wrote about its own caller, not counted' as what
