-- Revision 0001: every table and index. Written by scripts/schema.py (make sql).

create table elsa.host (
    id bigint generated always as identity,
    machine_id text not null,
    name text not null,
    role text default current_user not null,
    version text not null,
    pushed_at_ns bigint,
    since_hour integer,
    until_hour integer,
    pruned_hour integer,
    silent_since_ns bigint,
    unread_since_ns bigint,
    primary key (id),
    unique (machine_id),
    constraint host_possible check ("id" between 0 and 999999999 and "pushed_at_ns" between
        -4611686018427387903 and 4611686018427387903 and "since_hour" between 0 and 1281023 and
        "until_hour" between 0 and 1281023 and "pruned_hour" between 0 and 1281023 and
        "silent_since_ns" between -4611686018427387903 and 4611686018427387903 and "unread_since_ns"
        between -4611686018427387903 and 4611686018427387903)
);

create table elsa.hour (
    host_id bigint not null,
    hour integer not null,
    made_at_ns bigint not null,
    primary key (host_id, hour),
    foreign key(host_id) references elsa.host (id) on delete cascade,
    constraint hour_possible check ("hour" between 0 and 1281023 and "made_at_ns" between
        -4611686018427387903 and 4611686018427387903)
);

create table elsa.boot (
    host_id bigint not null,
    id bigint not null,
    uuid text,
    started_at_ns bigint,
    ended_at_ns bigint,
    tick_ns bigint,
    primary key (host_id, id),
    foreign key(host_id) references elsa.host (id) on delete cascade,
    constraint boot_possible check ("id" between 0 and 999999999 and "started_at_ns" between
        -4611686018427387903 and 4611686018427387903 and "ended_at_ns" between -4611686018427387903
        and 4611686018427387903 and "tick_ns" between -4611686018427387903 and 4611686018427387903)
);

create table elsa.clock (
    host_id bigint not null,
    id bigint not null,
    boot_id bigint not null,
    since_ns bigint not null,
    offset_ns bigint not null,
    boottime_offset_ns bigint not null,
    primary key (host_id, id),
    foreign key(host_id) references elsa.host (id) on delete cascade,
    constraint clock_possible check ("id" between 0 and 999999999 and "boot_id" between 0 and
        999999999 and "since_ns" between -4611686018427387903 and 4611686018427387903 and
        "offset_ns" between -4611686018427387903 and 4611686018427387903 and "boottime_offset_ns"
        between -4611686018427387903 and 4611686018427387903)
);

create table elsa.collector (
    host_id bigint not null,
    id bigint not null,
    boot_id bigint not null,
    pid integer not null,
    version text not null,
    since_ns bigint not null,
    heard_ns bigint not null,
    stopped_ns bigint,
    events bigint not null,
    lost bigint not null,
    job_ids_until bigint not null,
    primary key (host_id, id),
    foreign key(host_id) references elsa.host (id) on delete cascade,
    constraint collector_possible check ("id" between 0 and 999999999 and "boot_id" between 0 and
        999999999 and "since_ns" between -4611686018427387903 and 4611686018427387903 and "heard_ns"
        between -4611686018427387903 and 4611686018427387903 and "stopped_ns" between
        -4611686018427387903 and 4611686018427387903 and "events" between -100000000000000000 and
        100000000000000000 and "lost" between 0 and 1000000000000 and "job_ids_until" between
        -100000000000000000 and 100000000000000000)
);

create table elsa.gap (
    host_id bigint not null,
    id bigint not null,
    boot_id bigint,
    kind text not null,
    from_ns bigint,
    to_ns bigint,
    lost bigint,
    acct_file text,
    from_position bigint,
    to_position bigint,
    note text,
    primary key (host_id, id),
    foreign key(host_id) references elsa.host (id) on delete cascade,
    constraint gap_possible check ("id" between 0 and 999999999 and "boot_id" between 0 and
        999999999 and "from_ns" between -4611686018427387903 and 4611686018427387903 and "to_ns"
        between -4611686018427387903 and 4611686018427387903 and "lost" between 0 and 1000000000000
        and "from_position" between -100000000000000000 and 100000000000000000 and "to_position"
        between -100000000000000000 and 100000000000000000)
);

create table elsa.job (
    host_id bigint not null,
    id bigint not null,
    boot_id bigint not null,
    name text not null,
    owner_uid bigint not null,
    created_at_ns bigint not null,
    closed_at_ns bigint,
    close_reason text,
    closes_itself integer not null,
    kind text not null,
    cgroup text,
    cgroup_inode bigint,
    invocation text,
    memory_kib bigint,
    memory_by integer,
    digest bigint not null,
    primary key (host_id, id),
    foreign key(host_id) references elsa.host (id) on delete cascade,
    constraint job_possible check ("id" between 0 and 999999999 and "boot_id" between 0 and
        999999999 and "owner_uid" between 0 and 4294967295 and "created_at_ns" between
        -4611686018427387903 and 4611686018427387903 and "closed_at_ns" between -4611686018427387903
        and 4611686018427387903 and "memory_kib" between -100000000000000000 and 100000000000000000)
);

create table elsa.job_tag (
    host_id bigint not null,
    job_id bigint not null,
    key text not null,
    value text not null,
    primary key (host_id, job_id, key),
    foreign key(host_id) references elsa.host (id) on delete cascade,
    constraint job_tag_possible check ("job_id" between 0 and 999999999)
);

create index job_tag_key on elsa.job_tag (key, value);

create table elsa.job_cgroup (
    host_id bigint not null,
    job_id bigint not null,
    read_ns bigint not null,
    final integer not null,
    user_us bigint,
    system_us bigint,
    memory_peak bigint,
    read_bytes bigint,
    write_bytes bigint,
    user_us_before bigint,
    system_us_before bigint,
    memory_peak_before bigint,
    read_bytes_before bigint,
    write_bytes_before bigint,
    primary key (host_id, job_id),
    foreign key(host_id) references elsa.host (id) on delete cascade,
    constraint job_cgroup_possible check ("job_id" between 0 and 999999999 and "read_ns" between
        -4611686018427387903 and 4611686018427387903 and "user_us" between -100000000000000000 and
        100000000000000000 and "system_us" between -100000000000000000 and 100000000000000000 and
        "memory_peak" between -100000000000000000 and 100000000000000000 and "read_bytes" between
        -100000000000000000 and 100000000000000000 and "write_bytes" between -100000000000000000 and
        100000000000000000 and "user_us_before" between -100000000000000000 and 100000000000000000
        and "system_us_before" between -100000000000000000 and 100000000000000000 and
        "memory_peak_before" between -100000000000000000 and 100000000000000000 and
        "read_bytes_before" between -100000000000000000 and 100000000000000000 and
        "write_bytes_before" between -100000000000000000 and 100000000000000000)
);

create table elsa.account (
    host_id bigint not null,
    kind text not null,
    id bigint not null,
    name text not null,
    primary key (host_id, kind, id),
    foreign key(host_id) references elsa.host (id) on delete cascade
);

create table elsa.rollup_user (
    host_id bigint not null,
    hour integer not null,
    uid bigint,
    gid bigint,
    in_job integer not null,
    processes bigint,
    running bigint,
    records bigint,
    without_record bigint,
    uncertain bigint,
    unjoined bigint,
    elapsed_us bigint,
    etime_ticks bigint,
    utime_ticks bigint,
    stime_ticks bigint,
    minflt bigint,
    majflt bigint,
    with_usage bigint,
    with_ticks bigint,
    without_usage bigint,
    usage_partial bigint,
    sampled bigint,
    user_ns bigint,
    system_ns bigint,
    cpu_ns bigint,
    minor_faults bigint,
    major_faults bigint,
    threads bigint,
    run_ns bigint,
    utime_us bigint,
    stime_us bigint,
    rss_kib bigint,
    vm_kib bigint,
    coremem_mb_us double precision,
    virtmem_mb_us double precision,
    read_chars bigint,
    write_chars bigint,
    read_syscalls bigint,
    write_syscalls bigint,
    read_bytes bigint,
    write_bytes bigint,
    cancelled_write_bytes bigint,
    nvcsw bigint,
    nivcsw bigint,
    cpu_delay_ns bigint,
    blkio_delay_ns bigint,
    swapin_delay_ns bigint,
    reclaim_delay_ns bigint,
    thrashing_delay_ns bigint,
    compact_delay_ns bigint,
    irq_delay_ns bigint,
    seen_by_both bigint,
    still_running bigint,
    only_by_acct bigint,
    constraint rollup_user_possible check ("hour" between 0 and 1281023 and "uid" between 0 and
        4294967295 and "gid" between 0 and 4294967295 and "processes" between 0 and 1000000000000
        and "running" between 0 and 1000000000000 and "records" between 0 and 1000000000000 and
        "without_record" between 0 and 1000000000000 and "uncertain" between 0 and 1000000000000 and
        "unjoined" between 0 and 1000000000000 and "with_usage" between 0 and 1000000000000 and
        "with_ticks" between 0 and 1000000000000 and "without_usage" between 0 and 1000000000000 and
        "usage_partial" between 0 and 1000000000000 and "sampled" between 0 and 1000000000000 and
        "rss_kib" between -100000000000000000 and 100000000000000000 and "vm_kib" between
        -100000000000000000 and 100000000000000000 and "coremem_mb_us" between -1e+200 and 1e+200
        and "virtmem_mb_us" between -1e+200 and 1e+200 and "seen_by_both" between 0 and
        1000000000000 and "still_running" between 0 and 1000000000000 and "only_by_acct" between 0
        and 1000000000000)
);

create index rollup_user_hour on elsa.rollup_user (hour, host_id);

create table elsa.rollup_command (
    host_id bigint not null,
    hour integer not null,
    command text,
    forked_only integer,
    processes bigint,
    running bigint,
    records bigint,
    without_record bigint,
    uncertain bigint,
    unjoined bigint,
    elapsed_us bigint,
    etime_ticks bigint,
    utime_ticks bigint,
    stime_ticks bigint,
    minflt bigint,
    majflt bigint,
    with_usage bigint,
    with_ticks bigint,
    without_usage bigint,
    usage_partial bigint,
    sampled bigint,
    user_ns bigint,
    system_ns bigint,
    cpu_ns bigint,
    minor_faults bigint,
    major_faults bigint,
    threads bigint,
    run_ns bigint,
    utime_us bigint,
    stime_us bigint,
    rss_kib bigint,
    vm_kib bigint,
    coremem_mb_us double precision,
    virtmem_mb_us double precision,
    read_chars bigint,
    write_chars bigint,
    read_syscalls bigint,
    write_syscalls bigint,
    read_bytes bigint,
    write_bytes bigint,
    cancelled_write_bytes bigint,
    nvcsw bigint,
    nivcsw bigint,
    cpu_delay_ns bigint,
    blkio_delay_ns bigint,
    swapin_delay_ns bigint,
    reclaim_delay_ns bigint,
    thrashing_delay_ns bigint,
    compact_delay_ns bigint,
    irq_delay_ns bigint,
    seen_by_both bigint,
    still_running bigint,
    only_by_acct bigint,
    constraint rollup_command_possible check ("hour" between 0 and 1281023 and "processes" between 0
        and 1000000000000 and "running" between 0 and 1000000000000 and "records" between 0 and
        1000000000000 and "without_record" between 0 and 1000000000000 and "uncertain" between 0 and
        1000000000000 and "unjoined" between 0 and 1000000000000 and "with_usage" between 0 and
        1000000000000 and "with_ticks" between 0 and 1000000000000 and "without_usage" between 0 and
        1000000000000 and "usage_partial" between 0 and 1000000000000 and "sampled" between 0 and
        1000000000000 and "rss_kib" between -100000000000000000 and 100000000000000000 and "vm_kib"
        between -100000000000000000 and 100000000000000000 and "coremem_mb_us" between -1e+200 and
        1e+200 and "virtmem_mb_us" between -1e+200 and 1e+200 and "seen_by_both" between 0 and
        1000000000000 and "still_running" between 0 and 1000000000000 and "only_by_acct" between 0
        and 1000000000000)
);

create index rollup_command_hour on elsa.rollup_command (hour, host_id);

create table elsa.rollup_job (
    host_id bigint not null,
    hour integer,
    job_id bigint not null,
    processes bigint,
    running bigint,
    records bigint,
    without_record bigint,
    uncertain bigint,
    unjoined bigint,
    elapsed_us bigint,
    etime_ticks bigint,
    utime_ticks bigint,
    stime_ticks bigint,
    minflt bigint,
    majflt bigint,
    with_usage bigint,
    with_ticks bigint,
    without_usage bigint,
    usage_partial bigint,
    sampled bigint,
    user_ns bigint,
    system_ns bigint,
    cpu_ns bigint,
    minor_faults bigint,
    major_faults bigint,
    threads bigint,
    run_ns bigint,
    utime_us bigint,
    stime_us bigint,
    rss_kib bigint,
    vm_kib bigint,
    coremem_mb_us double precision,
    virtmem_mb_us double precision,
    read_chars bigint,
    write_chars bigint,
    read_syscalls bigint,
    write_syscalls bigint,
    read_bytes bigint,
    write_bytes bigint,
    cancelled_write_bytes bigint,
    nvcsw bigint,
    nivcsw bigint,
    cpu_delay_ns bigint,
    blkio_delay_ns bigint,
    swapin_delay_ns bigint,
    reclaim_delay_ns bigint,
    thrashing_delay_ns bigint,
    compact_delay_ns bigint,
    irq_delay_ns bigint,
    seen_by_both bigint,
    still_running bigint,
    only_by_acct bigint,
    inferred bigint,
    part_life bigint,
    part_life_whole bigint,
    living bigint,
    left_before_end bigint,
    usage_missing bigint,
    start_ns bigint,
    end_ns bigint,
    started_ns bigint,
    ended_ns bigint,
    exit_status bigint,
    constraint rollup_job_possible check ("hour" between 0 and 1281023 and "job_id" between 0 and
        999999999 and "processes" between 0 and 1000000000000 and "running" between 0 and
        1000000000000 and "records" between 0 and 1000000000000 and "without_record" between 0 and
        1000000000000 and "uncertain" between 0 and 1000000000000 and "unjoined" between 0 and
        1000000000000 and "with_usage" between 0 and 1000000000000 and "with_ticks" between 0 and
        1000000000000 and "without_usage" between 0 and 1000000000000 and "usage_partial" between 0
        and 1000000000000 and "sampled" between 0 and 1000000000000 and "rss_kib" between
        -100000000000000000 and 100000000000000000 and "vm_kib" between -100000000000000000 and
        100000000000000000 and "coremem_mb_us" between -1e+200 and 1e+200 and "virtmem_mb_us"
        between -1e+200 and 1e+200 and "seen_by_both" between 0 and 1000000000000 and
        "still_running" between 0 and 1000000000000 and "only_by_acct" between 0 and 1000000000000
        and "inferred" between 0 and 1000000000000 and "part_life" between 0 and 1000000000000 and
        "part_life_whole" between 0 and 1000000000000 and "living" between 0 and 1000000000000 and
        "left_before_end" between 0 and 1000000000000 and "usage_missing" between 0 and
        1000000000000 and "start_ns" between -4611686018427387903 and 4611686018427387903 and
        "end_ns" between -4611686018427387903 and 4611686018427387903 and "started_ns" between
        -4611686018427387903 and 4611686018427387903 and "ended_ns" between -4611686018427387903 and
        4611686018427387903 and "exit_status" between -100000000000000000 and 100000000000000000)
);

create index rollup_job_hour on elsa.rollup_job (hour, host_id);

create index rollup_job_job on elsa.rollup_job (host_id, job_id);

create table elsa.rollup_audit (
    host_id bigint not null,
    hour integer not null,
    boot_id bigint,
    class text not null,
    before_first_start integer,
    processes bigint,
    records bigint,
    first_ns bigint,
    last_ns bigint,
    minutes bigint,
    compared bigint,
    compared_ns bigint,
    compared_ticks bigint,
    constraint rollup_audit_possible check ("hour" between 0 and 1281023 and "boot_id" between 0 and
        999999999 and "processes" between 0 and 1000000000000 and "records" between 0 and
        1000000000000 and "first_ns" between -4611686018427387903 and 4611686018427387903 and
        "last_ns" between -4611686018427387903 and 4611686018427387903 and "minutes" between 0 and
        1152921504606846975 and "compared" between 0 and 1000000000000)
);

create index rollup_audit_hour on elsa.rollup_audit (hour, host_id);

create table elsa.rollup_day_user (
    host_id bigint not null,
    day integer not null,
    uid bigint,
    gid bigint,
    in_job integer not null,
    processes bigint,
    running bigint,
    records bigint,
    without_record bigint,
    uncertain bigint,
    unjoined bigint,
    elapsed_us bigint,
    etime_ticks bigint,
    utime_ticks bigint,
    stime_ticks bigint,
    minflt bigint,
    majflt bigint,
    with_usage bigint,
    with_ticks bigint,
    without_usage bigint,
    usage_partial bigint,
    sampled bigint,
    user_ns bigint,
    system_ns bigint,
    cpu_ns bigint,
    minor_faults bigint,
    major_faults bigint,
    threads bigint,
    run_ns bigint,
    utime_us bigint,
    stime_us bigint,
    rss_kib bigint,
    vm_kib bigint,
    coremem_mb_us double precision,
    virtmem_mb_us double precision,
    read_chars bigint,
    write_chars bigint,
    read_syscalls bigint,
    write_syscalls bigint,
    read_bytes bigint,
    write_bytes bigint,
    cancelled_write_bytes bigint,
    nvcsw bigint,
    nivcsw bigint,
    cpu_delay_ns bigint,
    blkio_delay_ns bigint,
    swapin_delay_ns bigint,
    reclaim_delay_ns bigint,
    thrashing_delay_ns bigint,
    compact_delay_ns bigint,
    irq_delay_ns bigint,
    seen_by_both bigint,
    still_running bigint,
    only_by_acct bigint,
    constraint rollup_day_user_possible check ("day" between 0 and 53375 and "uid" between 0 and
        4294967295 and "gid" between 0 and 4294967295 and "processes" between 0 and 1000000000000
        and "running" between 0 and 1000000000000 and "records" between 0 and 1000000000000 and
        "without_record" between 0 and 1000000000000 and "uncertain" between 0 and 1000000000000 and
        "unjoined" between 0 and 1000000000000 and "with_usage" between 0 and 1000000000000 and
        "with_ticks" between 0 and 1000000000000 and "without_usage" between 0 and 1000000000000 and
        "usage_partial" between 0 and 1000000000000 and "sampled" between 0 and 1000000000000 and
        "rss_kib" between -100000000000000000 and 100000000000000000 and "vm_kib" between
        -100000000000000000 and 100000000000000000 and "coremem_mb_us" between -1e+200 and 1e+200
        and "virtmem_mb_us" between -1e+200 and 1e+200 and "seen_by_both" between 0 and
        1000000000000 and "still_running" between 0 and 1000000000000 and "only_by_acct" between 0
        and 1000000000000)
);

create index rollup_day_user_day on elsa.rollup_day_user (day, host_id);

create table elsa.rollup_day_command (
    host_id bigint not null,
    day integer not null,
    command text,
    forked_only integer,
    processes bigint,
    running bigint,
    records bigint,
    without_record bigint,
    uncertain bigint,
    unjoined bigint,
    elapsed_us bigint,
    etime_ticks bigint,
    utime_ticks bigint,
    stime_ticks bigint,
    minflt bigint,
    majflt bigint,
    with_usage bigint,
    with_ticks bigint,
    without_usage bigint,
    usage_partial bigint,
    sampled bigint,
    user_ns bigint,
    system_ns bigint,
    cpu_ns bigint,
    minor_faults bigint,
    major_faults bigint,
    threads bigint,
    run_ns bigint,
    utime_us bigint,
    stime_us bigint,
    rss_kib bigint,
    vm_kib bigint,
    coremem_mb_us double precision,
    virtmem_mb_us double precision,
    read_chars bigint,
    write_chars bigint,
    read_syscalls bigint,
    write_syscalls bigint,
    read_bytes bigint,
    write_bytes bigint,
    cancelled_write_bytes bigint,
    nvcsw bigint,
    nivcsw bigint,
    cpu_delay_ns bigint,
    blkio_delay_ns bigint,
    swapin_delay_ns bigint,
    reclaim_delay_ns bigint,
    thrashing_delay_ns bigint,
    compact_delay_ns bigint,
    irq_delay_ns bigint,
    seen_by_both bigint,
    still_running bigint,
    only_by_acct bigint,
    constraint rollup_day_command_possible check ("day" between 0 and 53375 and "processes" between
        0 and 1000000000000 and "running" between 0 and 1000000000000 and "records" between 0 and
        1000000000000 and "without_record" between 0 and 1000000000000 and "uncertain" between 0 and
        1000000000000 and "unjoined" between 0 and 1000000000000 and "with_usage" between 0 and
        1000000000000 and "with_ticks" between 0 and 1000000000000 and "without_usage" between 0 and
        1000000000000 and "usage_partial" between 0 and 1000000000000 and "sampled" between 0 and
        1000000000000 and "rss_kib" between -100000000000000000 and 100000000000000000 and "vm_kib"
        between -100000000000000000 and 100000000000000000 and "coremem_mb_us" between -1e+200 and
        1e+200 and "virtmem_mb_us" between -1e+200 and 1e+200 and "seen_by_both" between 0 and
        1000000000000 and "still_running" between 0 and 1000000000000 and "only_by_acct" between 0
        and 1000000000000)
);

create index rollup_day_command_day on elsa.rollup_day_command (day, host_id);

create table elsa.rollup_day_job (
    host_id bigint not null,
    day integer not null,
    job_id bigint not null,
    processes bigint,
    running bigint,
    records bigint,
    without_record bigint,
    uncertain bigint,
    unjoined bigint,
    elapsed_us bigint,
    etime_ticks bigint,
    utime_ticks bigint,
    stime_ticks bigint,
    minflt bigint,
    majflt bigint,
    with_usage bigint,
    with_ticks bigint,
    without_usage bigint,
    usage_partial bigint,
    sampled bigint,
    user_ns bigint,
    system_ns bigint,
    cpu_ns bigint,
    minor_faults bigint,
    major_faults bigint,
    threads bigint,
    run_ns bigint,
    utime_us bigint,
    stime_us bigint,
    rss_kib bigint,
    vm_kib bigint,
    coremem_mb_us double precision,
    virtmem_mb_us double precision,
    read_chars bigint,
    write_chars bigint,
    read_syscalls bigint,
    write_syscalls bigint,
    read_bytes bigint,
    write_bytes bigint,
    cancelled_write_bytes bigint,
    nvcsw bigint,
    nivcsw bigint,
    cpu_delay_ns bigint,
    blkio_delay_ns bigint,
    swapin_delay_ns bigint,
    reclaim_delay_ns bigint,
    thrashing_delay_ns bigint,
    compact_delay_ns bigint,
    irq_delay_ns bigint,
    seen_by_both bigint,
    still_running bigint,
    only_by_acct bigint,
    inferred bigint,
    part_life bigint,
    part_life_whole bigint,
    living bigint,
    left_before_end bigint,
    usage_missing bigint,
    start_ns bigint,
    end_ns bigint,
    started_ns bigint,
    ended_ns bigint,
    exit_status bigint,
    constraint rollup_day_job_possible check ("day" between 0 and 53375 and "job_id" between 0 and
        999999999 and "processes" between 0 and 1000000000000 and "running" between 0 and
        1000000000000 and "records" between 0 and 1000000000000 and "without_record" between 0 and
        1000000000000 and "uncertain" between 0 and 1000000000000 and "unjoined" between 0 and
        1000000000000 and "with_usage" between 0 and 1000000000000 and "with_ticks" between 0 and
        1000000000000 and "without_usage" between 0 and 1000000000000 and "usage_partial" between 0
        and 1000000000000 and "sampled" between 0 and 1000000000000 and "rss_kib" between
        -100000000000000000 and 100000000000000000 and "vm_kib" between -100000000000000000 and
        100000000000000000 and "coremem_mb_us" between -1e+200 and 1e+200 and "virtmem_mb_us"
        between -1e+200 and 1e+200 and "seen_by_both" between 0 and 1000000000000 and
        "still_running" between 0 and 1000000000000 and "only_by_acct" between 0 and 1000000000000
        and "inferred" between 0 and 1000000000000 and "part_life" between 0 and 1000000000000 and
        "part_life_whole" between 0 and 1000000000000 and "living" between 0 and 1000000000000 and
        "left_before_end" between 0 and 1000000000000 and "usage_missing" between 0 and
        1000000000000 and "start_ns" between -4611686018427387903 and 4611686018427387903 and
        "end_ns" between -4611686018427387903 and 4611686018427387903 and "started_ns" between
        -4611686018427387903 and 4611686018427387903 and "ended_ns" between -4611686018427387903 and
        4611686018427387903 and "exit_status" between -100000000000000000 and 100000000000000000)
);

create index rollup_day_job_day on elsa.rollup_day_job (day, host_id);

create index rollup_day_job_job on elsa.rollup_day_job (host_id, job_id);

create table elsa.tariff (
    id bigint not null,
    valid_from_at_ns bigint not null,
    added_at_ns bigint not null,
    withdrawn_at_ns bigint,
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
);

create table elsa.tariff_factor (
    tariff_id bigint not null,
    weekday integer not null,
    hour integer not null,
    factor text not null,
    primary key (tariff_id, weekday, hour)
);

create table elsa.setting (
    name text not null,
    value text not null,
    primary key (name)
);
