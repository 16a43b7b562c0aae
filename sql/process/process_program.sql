-- Grain: one row per incarnation that lived long enough to be looked at: what it executed last,
-- NULL where it was gone before that could be seen. cmdline has its arguments quoted as for a
-- shell, secrets replaced, and ends in … where it was cut; loginuid is NULL for what no login
-- began.
select
    p.process_id,
    line.value as cmdline,
    exe.value as exe,
    cwd.value as cwd,
    cgroup.value as cgroup,
    p.loginuid,
    p.session
from program as p
left join long_text as line
    on line.id = p.cmdline_id
left join long_text as exe
    on exe.id = p.exe_id
left join long_text as cwd
    on cwd.id = p.cwd_id
left join long_text as cgroup
    on cgroup.id = p.cgroup_id
