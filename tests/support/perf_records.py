"""Records as perf rings have them, and the formats of their tracepoints, as in Linux 6.18."""

from __future__ import annotations

import struct

_COMMON = """\
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

"""
_GROUP = [
    "int root;\toffset:8;\tsize:4;\tsigned:1;",
    "int level;\toffset:12;\tsize:4;\tsigned:1;",
    "u64 id;\toffset:16;\tsize:8;\tsigned:0;",
    "__data_loc char[] path;\toffset:24;\tsize:4;\tsigned:0;",
]
_FIELDS = {
    "cgroup_attach_task": [
        "int dst_root;\toffset:8;\tsize:4;\tsigned:1;",
        "int dst_level;\toffset:12;\tsize:4;\tsigned:1;",
        "u64 dst_id;\toffset:16;\tsize:8;\tsigned:0;",
        "int pid;\toffset:24;\tsize:4;\tsigned:1;",
        "__data_loc char[] dst_path;\toffset:28;\tsize:4;\tsigned:0;",
        "__data_loc char[] comm;\toffset:32;\tsize:4;\tsigned:0;",
    ],
    "cgroup_mkdir": _GROUP,
    "cgroup_rmdir": _GROUP,
    "task_newtask": [
        "pid_t pid;\toffset:8;\tsize:4;\tsigned:1;",
        "char comm[16];\toffset:12;\tsize:16;\tsigned:0;",
        "u64 clone_flags;\toffset:32;\tsize:8;\tsigned:0;",
        "short oom_score_adj;\toffset:40;\tsize:2;\tsigned:1;",
    ],
    "sched_process_exec": [
        "__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;",
        "pid_t pid;\toffset:12;\tsize:4;\tsigned:1;",
        "pid_t old_pid;\toffset:16;\tsize:4;\tsigned:1;",
    ],
    "sched_process_exit": [
        "char comm[16];\toffset:8;\tsize:16;\tsigned:0;",
        "pid_t pid;\toffset:24;\tsize:4;\tsigned:1;",
        "int prio;\toffset:28;\tsize:4;\tsigned:1;",
        "bool group_dead;\toffset:32;\tsize:1;\tsigned:0;",
    ],
    "sys_enter_exit_group": [
        "int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;",
        "int error_code;\toffset:16;\tsize:8;\tsigned:0;",
    ],
    "cgroup_notify_populated": [*_GROUP, "int val;\toffset:28;\tsize:4;\tsigned:1;"],
}
FORMATS = {
    name: (
        f"name: {name}\nID: 7\nformat:\n{_COMMON}"
        + "".join(f"\tfield:{field}\n" for field in fields)
        + '\nprint fmt: "%d", REC->common_pid\n'
    ).encode()
    for name, fields in _FIELDS.items()
}
NAMES = dict(enumerate(FORMATS, start=1))
_IDS = {name: number for number, name in NAMES.items()}
# Common fields of any tracepoint.
_HEAD = struct.pack("=HBBi", 7, 0, 0, 1)


def opened(exit_filter: str = "group_dead != 0") -> dict[str, tuple[bytes, str]]:
    """Formats and filters, as a kernel's rings report them."""
    return {
        name: (described, exit_filter if name == "sched_process_exit" else "")
        for name, described in FORMATS.items()
    }


def _record(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 8)
    return struct.pack("=IHH", kind, 1, 8 + len(body)) + body


def sample(
    name: str,
    time_ns: int,
    pid: int,
    *,
    tgid: int | None = None,
    raw: bytes | None = None,
    cgroup: int | None = None,
) -> bytes:
    """A sample of a tracepoint."""
    body = struct.pack("=QIIQ", _IDS[name], pid if tgid is None else tgid, pid, time_ns)
    if raw is not None:
        raw += bytes(-(len(raw) + 4) % 8)
        body += struct.pack("=I", len(raw)) + raw
    return _record(9, body + (b"" if cgroup is None else struct.pack("=Q", cgroup)))


def _text(at: int, text: bytes) -> int:
    return (len(text) + 1) << 16 | at


def attach(time_ns: int, pid: int, cgroup: int, path: bytes) -> bytes:
    """A process is moved, by process 1."""
    location = _text(36, path)
    raw = _HEAD + struct.pack("=iiQiII", 0, 1, cgroup, pid, location, 2 << 16 | location & 0xFFFF)
    return sample("cgroup_attach_task", time_ns, 1, raw=raw + path + b"\0")


def group(name: str, time_ns: int, cgroup: int, path: bytes) -> bytes:
    """A group is made or removed (cgroup_mkdir, cgroup_rmdir)."""
    raw = _HEAD + struct.pack("=iiQI", 0, 1, cgroup, _text(28, path)) + path + b"\0"
    return sample(name, time_ns, 1, raw=raw)


def emptied(time_ns: int, cgroup: int, path: bytes) -> bytes:
    """The last process has left a group (cgroup_notify_populated)."""
    raw = _HEAD + struct.pack("=iiQIi", 0, 1, cgroup, _text(32, path), 0) + path + b"\0"
    return sample("cgroup_notify_populated", time_ns, 1, raw=raw)


def newtask(time_ns: int, pid: int, parent: int) -> bytes:
    """A process is cloned into a group."""
    raw = _HEAD + struct.pack("=i16s4xQh", pid, b"sh", 1 << 33, 0)
    return sample("task_newtask", time_ns, parent, raw=raw)


def execution(time_ns: int, pid: int, cgroup: int | None, filename: bytes) -> bytes:
    """A process starts a program."""
    raw = _HEAD + struct.pack("=Iii", _text(20, filename), pid, pid) + filename + b"\0"
    return sample("sched_process_exec", time_ns, pid, raw=raw, cgroup=cgroup)


def end(time_ns: int, pid: int, cgroup: int, tgid: int | None = None) -> bytes:
    """A process or a thread ends."""
    return sample("sched_process_exit", time_ns, pid, tgid=tgid, cgroup=cgroup)


def exit_group(time_ns: int, pid: int, code: int) -> bytes:
    """A process ends itself with a code."""
    raw = _HEAD + struct.pack("=i4xQ", 231, code)
    return sample("sys_enter_exit_group", time_ns, pid, raw=raw)


def lost(time_ns: int, records: int) -> bytes:
    """The ring was full."""
    return _record(2, struct.pack("=QQIIQQ", 1, records, 1, 1, time_ns, 1))
