-- Grain: one row per incarnation that lived long enough for the collector to read it in /proc: the
-- program that it executed last, NULL where the process ended before that could be read. cmdline
-- has the arguments quoted as for a shell, secrets replaced, and ends in … where it was cut.
-- loginuid is NULL for processes that no login started.
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
