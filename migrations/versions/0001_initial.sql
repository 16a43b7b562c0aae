-- Revision 0001: every table and index. Written by scripts/schema.py (make sql).

create table host (
    id integer not null,
    machine_id text,
    name text not null,
    primary key (id),
    unique (machine_id)
) strict;

create table boot (
    id integer not null,
    host_id integer not null,
    uuid text,
    started_at_ns integer,
    ended_at_ns integer,
    tick_ns integer,
    primary key (id),
    foreign key(host_id) references host (id),
    unique (uuid)
) strict;

create table clock (
    id integer not null,
    boot_id integer not null,
    since_ns integer not null,
    offset_ns integer not null,
    boottime_offset_ns integer not null,
    primary key (id),
    foreign key(boot_id) references boot (id)
) strict;

create table collector (
    id integer not null,
    boot_id integer not null,
    pid integer not null,
    version text not null,
    since_ns integer not null,
    heard_ns integer not null,
    stopped_ns integer,
    events integer not null,
    lost integer not null,
    job_ids_until integer not null,
    primary key (id),
    foreign key(boot_id) references boot (id)
) strict;

create index collector_boot on collector (boot_id, since_ns);

create table gap (
    id integer not null,
    boot_id integer,
    kind text not null,
    from_ns integer,
    to_ns integer,
    lost integer,
    acct_file_id integer,
    from_position integer,
    to_position integer,
    note text,
    primary key (id),
    foreign key(boot_id) references boot (id),
    foreign key(acct_file_id) references acct_file (id)
) strict;

create table comm (
    id integer not null,
    name text not null,
    primary key (id),
    unique (name)
) strict;

create table process (
    id integer not null,
    boot_id integer not null,
    pid integer not null,
    parent_id integer,
    origin integer not null,
    parent_pid integer,
    parent_inferred integer,
    start_ns integer not null,
    clock_id integer not null,
    elapsed_ns integer,
    end_clock_id integer,
    end_source integer,
    exit_status integer,
    leader_status integer,
    uid integer,
    comm_id integer,
    ended_s integer,
    ended_hour integer generated always as ((ended_s - case when ended_s < 0 then 3599 else 0 end) /
        3600) virtual,
    ended_at text generated always as (datetime(ended_s, 'unixepoch')) virtual,
    inherited_job_id integer,
    exe_id integer,
    primary key (id),
    foreign key(boot_id) references boot (id),
    foreign key(clock_id) references clock (id),
    foreign key(end_clock_id) references clock (id),
    foreign key(comm_id) references comm (id),
    foreign key(inherited_job_id) references job (id),
    foreign key(exe_id) references long_text (id)
) strict;

create index process_ended on process (ended_hour);

create index process_ended_at on process (ended_at);

create index process_inexact on process (id) where end_source = 2 or end_source >= 4;

create index process_lasting on process (boot_id, pid, elapsed_ns, ended_hour) where elapsed_ns >
    10000000000;

create index process_orphan on process (boot_id, parent_pid) where parent_pid is not null;

create index process_running on process (boot_id, pid) where elapsed_ns is null;

create table process_start_block (
    boot_id integer not null,
    time_slot integer not null,
    block integer not null,
    primary key (boot_id, time_slot, block),
    foreign key(boot_id) references boot (id)
) without rowid,
 strict;

create table job_block (
    job_id integer not null,
    block integer not null,
    primary key (job_id, block),
    foreign key(job_id) references job (id)
) without rowid,
 strict;

create index job_block_block on job_block (block);

create table usage (
    process_id integer not null,
    threads integer not null,
    complete integer not null,
    minflt integer,
    majflt integer,
    run_ns integer,
    utime_us integer,
    stime_us integer,
    coremem_mb_us integer,
    virtmem_mb_us integer,
    read_chars integer,
    write_chars integer,
    read_syscalls integer,
    write_syscalls integer,
    read_bytes integer,
    write_bytes integer,
    cancelled_write_bytes integer,
    nvcsw integer,
    nivcsw integer,
    cpu_delay_ns integer,
    blkio_delay_ns integer,
    swapin_delay_ns integer,
    reclaim_delay_ns integer,
    thrashing_delay_ns integer,
    compact_delay_ns integer,
    irq_delay_ns integer,
    rss_kib integer,
    vm_kib integer,
    exe_dev integer,
    exe_inode integer,
    primary key (process_id)
) strict;

create table usage_reading (
    id integer not null,
    clock_id integer not null,
    since_ns integer not null,
    until_ns integer not null,
    hour integer not null,
    of_all integer not null,
    primary key (id),
    foreign key(clock_id) references clock (id)
) strict;

create index usage_reading_hour on usage_reading (hour);

create table usage_interval (
    reading_id integer not null,
    process_id integer not null,
    user_us integer,
    system_us integer,
    minflt integer,
    majflt integer,
    read_chars integer,
    write_chars integer,
    read_bytes integer,
    write_bytes integer,
    rss_kib integer,
    primary key (reading_id, process_id)
) without rowid,
 strict;

create table usage_so_far (
    process_id integer not null,
    edge_ns integer not null,
    until_ns integer not null,
    gid integer,
    forked_only integer,
    rss_kib integer,
    user_us integer,
    system_us integer,
    minflt integer,
    majflt integer,
    run_ns integer,
    utime_us integer,
    stime_us integer,
    coremem_mb_us integer,
    virtmem_mb_us integer,
    read_chars integer,
    write_chars integer,
    read_syscalls integer,
    write_syscalls integer,
    read_bytes integer,
    write_bytes integer,
    cancelled_write_bytes integer,
    nvcsw integer,
    nivcsw integer,
    cpu_delay_ns integer,
    blkio_delay_ns integer,
    swapin_delay_ns integer,
    reclaim_delay_ns integer,
    thrashing_delay_ns integer,
    compact_delay_ns integer,
    irq_delay_ns integer,
    primary key (process_id, edge_ns)
) without rowid,
 strict;

create table long_text (
    id integer not null,
    value text not null,
    primary key (id),
    unique (value)
) strict;

create table program (
    process_id integer not null,
    cmdline_id integer,
    exe_id integer,
    cwd_id integer,
    cgroup_id integer,
    loginuid integer,
    session integer,
    primary key (process_id),
    foreign key(cmdline_id) references long_text (id),
    foreign key(exe_id) references long_text (id),
    foreign key(cwd_id) references long_text (id),
    foreign key(cgroup_id) references long_text (id)
) strict;

create table event (
    id integer not null,
    boot_id integer not null,
    kind integer not null,
    time_ns integer not null,
    cpu integer not null,
    pid integer not null,
    tgid integer not null,
    parent_pid integer,
    parent_tgid integer,
    code integer,
    signal integer,
    process_id integer,
    primary key (id),
    foreign key(boot_id) references boot (id)
) strict;

create table job (
    id integer not null,
    boot_id integer not null,
    name text not null,
    owner_uid integer not null,
    created_at_ns integer not null,
    closed_at_ns integer,
    close_reason text,
    closes_itself integer not null,
    kind text default 'manual' not null,
    cgroup_id integer,
    cgroup_inode integer,
    invocation text,
    memory_kib integer,
    memory_by integer,
    primary key (id),
    foreign key(boot_id) references boot (id),
    foreign key(cgroup_id) references long_text (id)
) strict;

create index job_owner on job (owner_uid);

create table job_tag (
    job_id integer not null,
    "key" text not null,
    value text not null,
    primary key (job_id, "key"),
    foreign key(job_id) references job (id)
) without rowid,
 strict;

create table job_cgroup (
    job_id integer not null,
    read_ns integer not null,
    final integer not null,
    user_us integer,
    system_us integer,
    memory_peak integer,
    read_bytes integer,
    write_bytes integer,
    user_us_before integer,
    system_us_before integer,
    memory_peak_before integer,
    read_bytes_before integer,
    write_bytes_before integer,
    primary key (job_id),
    foreign key(job_id) references job (id)
) strict;

create table job_memory (
    job_id integer not null,
    read_ns integer not null,
    memory_kib integer not null,
    memory_by integer not null,
    primary key (job_id, read_ns),
    foreign key(job_id) references job (id)
) without rowid,
 strict;

create table membership (
    job_id integer not null,
    process_id integer not null,
    since_ns integer not null,
    until_ns integer,
    how integer not null,
    left_hour integer,
    primary key (job_id, process_id, since_ns),
    foreign key(job_id) references job (id)
) without rowid,
 strict;

create index membership_left on membership (left_hour) where left_hour is not null;

create index membership_left_of on membership (process_id, left_hour) where left_hour is not null;

create index membership_process on membership (process_id);

create table tariff (
    id integer not null,
    valid_from_at_ns integer not null,
    added_at_ns integer not null,
    withdrawn_at_ns integer,
    currency text not null,
    zone text not null,
    decimals integer not null,
    note text,
    process text not null,
    cpu_hour text not null,
    memory_gib_hour text not null,
    read_gib text not null,
    written_gib text not null,
    primary key (id)
) strict;

create table tariff_factor (
    tariff_id integer not null,
    weekday integer not null,
    hour integer not null,
    factor text not null,
    primary key (tariff_id, weekday, hour),
    foreign key(tariff_id) references tariff (id)
) without rowid,
 strict;

create table acct_file (
    id integer not null,
    host_id integer not null,
    path text not null,
    device integer not null,
    inode integer not null,
    disk_size integer not null,
    modified_at_ns integer not null,
    head blob not null,
    tail blob not null,
    position integer not null,
    records integer not null,
    skipped_bytes integer not null,
    read_at_ns integer not null,
    primary key (id),
    foreign key(host_id) references host (id)
) strict;

create table acct (
    id integer not null,
    acct_file_id integer not null,
    position integer not null,
    process_id integer,
    join_outcome integer not null,
    flag integer not null,
    version integer not null,
    tty integer not null,
    exitcode integer not null,
    uid integer not null,
    gid integer not null,
    pid integer not null,
    ppid integer not null,
    btime integer not null,
    etime real not null,
    utime integer not null,
    stime integer not null,
    mem integer not null,
    io integer not null,
    rw integer not null,
    minflt integer not null,
    majflt integer not null,
    swaps integer not null,
    comm_id integer not null,
    late_s integer,
    ended_s integer generated always as (btime + cast(etime / 100 as integer) + coalesce(late_s, 0)
        - case when btime + cast(etime / 100 as integer) + coalesce(late_s, 0) >= 4291747200 then
        4294967296 else 0 end) virtual,
    ended_hour integer generated always as ((ended_s - case when ended_s < 0 then 3599 else 0 end) /
        3600) virtual,
    ended_at text generated always as (datetime(ended_s, 'unixepoch')) virtual,
    primary key (id),
    foreign key(acct_file_id) references acct_file (id),
    foreign key(comm_id) references comm (id)
) strict;

create index acct_late on acct (id) where late_s is not null;

create index acct_pending on acct (pid) where join_outcome = 0;

create unique index acct_process on acct (process_id) where process_id is not null;

create index acct_self on acct (id) where join_outcome = 3;

create index acct_unjoined on acct (ended_hour) where process_id is null and join_outcome <> 3;

create index acct_unjoined_at on acct (ended_at) where process_id is null and join_outcome <> 3;

create table rollup_hour (
    hour integer not null,
    ready integer not null,
    made_at_ns integer,
    primary key (hour)
) strict;

create table rollup_pruned (
    hour integer not null,
    primary key (hour)
) strict;

create table rollup_command (
    hour integer not null,
    pruned integer not null,
    comm_id integer,
    forked_only integer,
    host_id integer,
    processes integer,
    running integer,
    records integer,
    without_record integer,
    uncertain integer,
    unjoined integer,
    elapsed_us integer,
    etime_ticks integer,
    utime_ticks integer,
    stime_ticks integer,
    minflt integer,
    majflt integer,
    with_usage integer,
    with_ticks integer,
    without_usage integer,
    usage_partial integer,
    sampled integer,
    user_ns integer,
    system_ns integer,
    cpu_ns integer,
    minor_faults integer,
    major_faults integer,
    threads integer,
    run_ns integer,
    utime_us integer,
    stime_us integer,
    rss_kib integer,
    vm_kib integer,
    coremem_mb_us real,
    virtmem_mb_us real,
    read_chars integer,
    write_chars integer,
    read_syscalls integer,
    write_syscalls integer,
    read_bytes integer,
    write_bytes integer,
    cancelled_write_bytes integer,
    nvcsw integer,
    nivcsw integer,
    cpu_delay_ns integer,
    blkio_delay_ns integer,
    swapin_delay_ns integer,
    reclaim_delay_ns integer,
    thrashing_delay_ns integer,
    compact_delay_ns integer,
    irq_delay_ns integer,
    seen_by_both integer,
    still_running integer,
    only_by_acct integer,
    foreign key(comm_id) references comm (id),
    foreign key(host_id) references host (id)
) strict;

create index rollup_command_hour on rollup_command (hour);

create index rollup_command_pruned on rollup_command (hour) where pruned = 1;

create table rollup_user (
    hour integer not null,
    pruned integer not null,
    uid integer,
    gid integer,
    in_job integer not null,
    host_id integer,
    processes integer,
    running integer,
    records integer,
    without_record integer,
    uncertain integer,
    unjoined integer,
    elapsed_us integer,
    etime_ticks integer,
    utime_ticks integer,
    stime_ticks integer,
    minflt integer,
    majflt integer,
    with_usage integer,
    with_ticks integer,
    without_usage integer,
    usage_partial integer,
    sampled integer,
    user_ns integer,
    system_ns integer,
    cpu_ns integer,
    minor_faults integer,
    major_faults integer,
    threads integer,
    run_ns integer,
    utime_us integer,
    stime_us integer,
    rss_kib integer,
    vm_kib integer,
    coremem_mb_us real,
    virtmem_mb_us real,
    read_chars integer,
    write_chars integer,
    read_syscalls integer,
    write_syscalls integer,
    read_bytes integer,
    write_bytes integer,
    cancelled_write_bytes integer,
    nvcsw integer,
    nivcsw integer,
    cpu_delay_ns integer,
    blkio_delay_ns integer,
    swapin_delay_ns integer,
    reclaim_delay_ns integer,
    thrashing_delay_ns integer,
    compact_delay_ns integer,
    irq_delay_ns integer,
    seen_by_both integer,
    still_running integer,
    only_by_acct integer,
    foreign key(host_id) references host (id)
) strict;

create index rollup_user_hour on rollup_user (hour);

create index rollup_user_pruned on rollup_user (hour) where pruned = 1;

create table rollup_job (
    hour integer not null,
    pruned integer not null,
    job_id integer not null,
    processes integer,
    running integer,
    records integer,
    without_record integer,
    uncertain integer,
    unjoined integer,
    elapsed_us integer,
    etime_ticks integer,
    utime_ticks integer,
    stime_ticks integer,
    minflt integer,
    majflt integer,
    with_usage integer,
    with_ticks integer,
    without_usage integer,
    usage_partial integer,
    sampled integer,
    user_ns integer,
    system_ns integer,
    cpu_ns integer,
    minor_faults integer,
    major_faults integer,
    threads integer,
    run_ns integer,
    utime_us integer,
    stime_us integer,
    rss_kib integer,
    vm_kib integer,
    coremem_mb_us real,
    virtmem_mb_us real,
    read_chars integer,
    write_chars integer,
    read_syscalls integer,
    write_syscalls integer,
    read_bytes integer,
    write_bytes integer,
    cancelled_write_bytes integer,
    nvcsw integer,
    nivcsw integer,
    cpu_delay_ns integer,
    blkio_delay_ns integer,
    swapin_delay_ns integer,
    reclaim_delay_ns integer,
    thrashing_delay_ns integer,
    compact_delay_ns integer,
    irq_delay_ns integer,
    seen_by_both integer,
    still_running integer,
    only_by_acct integer,
    inferred integer,
    part_life integer,
    part_life_whole integer,
    living integer,
    left_before_end integer,
    usage_missing integer,
    start_ns integer,
    end_ns integer,
    started_ns integer,
    ended_ns integer,
    exit_status integer,
    foreign key(job_id) references job (id)
) strict;

create index rollup_job_hour on rollup_job (hour);

create index rollup_job_job on rollup_job (job_id);

create index rollup_job_pruned on rollup_job (hour) where pruned = 1;

create table rollup_day (
    day integer not null,
    primary key (day)
) strict;

create table rollup_day_command (
    day integer not null,
    comm_id integer,
    forked_only integer,
    host_id integer,
    processes integer,
    running integer,
    records integer,
    without_record integer,
    uncertain integer,
    unjoined integer,
    elapsed_us integer,
    etime_ticks integer,
    utime_ticks integer,
    stime_ticks integer,
    minflt integer,
    majflt integer,
    with_usage integer,
    with_ticks integer,
    without_usage integer,
    usage_partial integer,
    sampled integer,
    user_ns integer,
    system_ns integer,
    cpu_ns integer,
    minor_faults integer,
    major_faults integer,
    threads integer,
    run_ns integer,
    utime_us integer,
    stime_us integer,
    rss_kib integer,
    vm_kib integer,
    coremem_mb_us real,
    virtmem_mb_us real,
    read_chars integer,
    write_chars integer,
    read_syscalls integer,
    write_syscalls integer,
    read_bytes integer,
    write_bytes integer,
    cancelled_write_bytes integer,
    nvcsw integer,
    nivcsw integer,
    cpu_delay_ns integer,
    blkio_delay_ns integer,
    swapin_delay_ns integer,
    reclaim_delay_ns integer,
    thrashing_delay_ns integer,
    compact_delay_ns integer,
    irq_delay_ns integer,
    seen_by_both integer,
    still_running integer,
    only_by_acct integer,
    foreign key(comm_id) references comm (id),
    foreign key(host_id) references host (id)
) strict;

create index rollup_day_command_day on rollup_day_command (day);

create table rollup_day_user (
    day integer not null,
    uid integer,
    gid integer,
    in_job integer not null,
    host_id integer,
    processes integer,
    running integer,
    records integer,
    without_record integer,
    uncertain integer,
    unjoined integer,
    elapsed_us integer,
    etime_ticks integer,
    utime_ticks integer,
    stime_ticks integer,
    minflt integer,
    majflt integer,
    with_usage integer,
    with_ticks integer,
    without_usage integer,
    usage_partial integer,
    sampled integer,
    user_ns integer,
    system_ns integer,
    cpu_ns integer,
    minor_faults integer,
    major_faults integer,
    threads integer,
    run_ns integer,
    utime_us integer,
    stime_us integer,
    rss_kib integer,
    vm_kib integer,
    coremem_mb_us real,
    virtmem_mb_us real,
    read_chars integer,
    write_chars integer,
    read_syscalls integer,
    write_syscalls integer,
    read_bytes integer,
    write_bytes integer,
    cancelled_write_bytes integer,
    nvcsw integer,
    nivcsw integer,
    cpu_delay_ns integer,
    blkio_delay_ns integer,
    swapin_delay_ns integer,
    reclaim_delay_ns integer,
    thrashing_delay_ns integer,
    compact_delay_ns integer,
    irq_delay_ns integer,
    seen_by_both integer,
    still_running integer,
    only_by_acct integer,
    foreign key(host_id) references host (id)
) strict;

create index rollup_day_user_day on rollup_day_user (day);

create table rollup_day_job (
    day integer not null,
    job_id integer not null,
    processes integer,
    running integer,
    records integer,
    without_record integer,
    uncertain integer,
    unjoined integer,
    elapsed_us integer,
    etime_ticks integer,
    utime_ticks integer,
    stime_ticks integer,
    minflt integer,
    majflt integer,
    with_usage integer,
    with_ticks integer,
    without_usage integer,
    usage_partial integer,
    sampled integer,
    user_ns integer,
    system_ns integer,
    cpu_ns integer,
    minor_faults integer,
    major_faults integer,
    threads integer,
    run_ns integer,
    utime_us integer,
    stime_us integer,
    rss_kib integer,
    vm_kib integer,
    coremem_mb_us real,
    virtmem_mb_us real,
    read_chars integer,
    write_chars integer,
    read_syscalls integer,
    write_syscalls integer,
    read_bytes integer,
    write_bytes integer,
    cancelled_write_bytes integer,
    nvcsw integer,
    nivcsw integer,
    cpu_delay_ns integer,
    blkio_delay_ns integer,
    swapin_delay_ns integer,
    reclaim_delay_ns integer,
    thrashing_delay_ns integer,
    compact_delay_ns integer,
    irq_delay_ns integer,
    seen_by_both integer,
    still_running integer,
    only_by_acct integer,
    inferred integer,
    part_life integer,
    part_life_whole integer,
    living integer,
    left_before_end integer,
    usage_missing integer,
    start_ns integer,
    end_ns integer,
    started_ns integer,
    ended_ns integer,
    exit_status integer,
    foreign key(job_id) references job (id)
) strict;

create index rollup_day_job_day on rollup_day_job (day);

create index rollup_day_job_job on rollup_day_job (job_id);

create table rollup_day_total (
    hour integer not null,
    processes integer,
    running integer,
    records integer,
    without_record integer,
    uncertain integer,
    unjoined integer,
    elapsed_us integer,
    etime_ticks integer,
    utime_ticks integer,
    stime_ticks integer,
    minflt integer,
    majflt integer,
    with_usage integer,
    with_ticks integer,
    without_usage integer,
    usage_partial integer,
    sampled integer,
    user_ns integer,
    system_ns integer,
    cpu_ns integer,
    minor_faults integer,
    major_faults integer,
    threads integer,
    run_ns integer,
    utime_us integer,
    stime_us integer,
    rss_kib integer,
    vm_kib integer,
    coremem_mb_us real,
    virtmem_mb_us real,
    read_chars integer,
    write_chars integer,
    read_syscalls integer,
    write_syscalls integer,
    read_bytes integer,
    write_bytes integer,
    cancelled_write_bytes integer,
    nvcsw integer,
    nivcsw integer,
    cpu_delay_ns integer,
    blkio_delay_ns integer,
    swapin_delay_ns integer,
    reclaim_delay_ns integer,
    thrashing_delay_ns integer,
    compact_delay_ns integer,
    irq_delay_ns integer,
    seen_by_both integer,
    still_running integer,
    only_by_acct integer
) strict;

create index rollup_day_hour_hour on rollup_day_total (hour);

create table rollup_audit (
    hour integer not null,
    boot_id integer,
    class text not null,
    before_first_start integer,
    processes integer,
    records integer,
    first_ns integer,
    last_ns integer,
    minutes integer,
    compared integer,
    compared_ns integer,
    compared_ticks integer,
    foreign key(boot_id) references boot (id)
) strict;

create index rollup_class_hour on rollup_audit (hour);

create table rollup_unconfirmed (
    hour integer not null,
    process_id integer not null,
    primary key (hour, process_id)
) without rowid,
 strict;
