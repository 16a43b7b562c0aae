-- Grain: one row per incarnation, plus one row (process_id NULL) per counted accounting record that
-- is joined to none. So every counted record is here exactly once. The records that acct(2)
-- writes about its own caller are not counted.
select * from incarnation_usage
union all
select * from unjoined_record_usage
