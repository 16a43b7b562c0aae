-- What is known to be missing, the newest first.
select *
from gaps
order by
    gap_id desc
limit 50;
