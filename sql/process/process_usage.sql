-- Grain: one row per incarnation, plus one row (process_id NULL) per counted accounting record that
-- is joined to none. So every record that is counted stands here exactly once, and the records that
-- acct(2) writes about its own caller never.
select * from incarnation_usage
union all
select * from unjoined_record_usage
