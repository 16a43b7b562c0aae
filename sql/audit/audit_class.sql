-- Grain: one row per class that the reconciliation of the two witnesses knows, in words; place is
-- the order to show them in.
select
    1 as place,
    'both' as class,
    'seen by both witnesses' as what
union all
select
    2 as place,
    'uncertain' as class,
    'seen by both but with a doubt' as what
union all
select
    3 as place,
    'only_connector' as class,
    'only by the connector' as what
union all
select
    4 as place,
    'only_acct' as class,
    'only by accounting' as what
union all
select
    5 as place,
    'running' as class,
    'still running' as what
union all
select
    6 as place,
    'pending' as class,
    'records that wait for their events' as what
union all
select
    7 as place,
    'ambiguous' as class,
    'records that fit several processes' as what
union all
select
    8 as place,
    'self' as class,
    'records of acct''s own caller, not counted' as what
