"""Living processes as /proc shows them; what is half gone is left out."""

from __future__ import annotations

from pathlib import Path

from elsa.host.living import living
from elsa.kernel.procfs import Procfs
from elsa.state.living_jobs import Living

STAT = b"77 (my cron) S 41 42 43 0 -1 4194304 90 91 92 93 94 95 96 97 20 0 7 0 123456" + b" 0" * 30
STATUS = b"Name:\tcron\nUid:\t1000\t0\t0\t0\n"


def write(root: Path, pid: int, **files: bytes) -> None:
    (root / str(pid)).mkdir()
    for name, data in files.items():
        (root / str(pid) / name).write_bytes(data)


def test_a_process_has_all_that_rules_ask_for(tmp_path: Path) -> None:
    group = b"0::/system.slice/cron.service\n"
    cmdline = b"/bin/sh\0-c\0/opt/x\xff\0"
    login = str(2**32 - 1).encode()
    write(tmp_path, 77, stat=STAT, status=STATUS, cgroup=group, cmdline=cmdline, loginuid=login)
    write(tmp_path, 78, stat=STAT, status=STATUS, cgroup=group, loginuid=b"1001")
    write(tmp_path, 79, stat=STAT, status=STATUS)
    write(tmp_path, 80, stat=b"no stat", status=STATUS, cgroup=group)
    write(tmp_path, 81)
    path = "/system.slice/cron.service"
    assert list(living(Procfs(tmp_path), 0)) == [
        Living(77, 41, path, "my cron", 1000, None, ("/bin/sh", "-c", "/opt/x\udcff"), 123456),
        Living(78, 41, path, "my cron", 1000, 1001, (), 123456),
    ]
