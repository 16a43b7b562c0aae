-- Grain: one row per incarnation of which jobd knows the program: what it executed last. exe is the
-- path of the file that /proc shows, or of a process that ended before that could be read the path
-- as it was given to execve(2); what else only /proc shows is NULL then. cmdline has the arguments
-- quoted as for a shell, secrets replaced, and ends in … where it was cut. loginuid is NULL for
-- processes that no login started.
select
    p.id as process_id,
    line.value as cmdline,
    coalesce(exe.value, path.value) as exe,
    cwd.value as cwd,
    cgroup.value as cgroup,
    g.loginuid,
    g.session
from process as p
left join program as g
    on g.process_id = p.id
left join long_text as line
    on line.id = g.cmdline_id
left join long_text as exe
    on exe.id = g.exe_id
left join long_text as path
    on path.id = p.exe_id
left join long_text as cwd
    on cwd.id = g.cwd_id
left join long_text as cgroup
    on cgroup.id = g.cgroup_id
where
    g.process_id is not null
    or p.exe_id is not null
