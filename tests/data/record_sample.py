"""Records tests/data/sample.pacct on a real kernel: run as root, with accounting off, from the top
of the repository.

Only the workload's own records are kept (it has a group id of its own), with the kernel threads and
the records that acct(2) wrote about its caller, so that the file holds nothing of the machine that
it was made on.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from elsa.decode.acct import RECORD_SIZE, decode_record, is_self_record
from elsa.kernel.accounting import canary, switch_off, switch_on

GROUP = 4242
NIGHTLY = r"""
# a pipeline of another user
setpriv --reuid=1001 sh -c 'seq 3000000 | sort -r | md5sum'
# a daemon
setsid sh -c '(sleep 0.7; head -c 20000000 /dev/zero | gzip | wc -c) & exit 0'
# killed
sleep 600 & sleep 0.2; kill -9 $!; wait $!
# failed
sh -c 'exit 3'
sh -c 'kill -SEGV $$'
# forked, executed nothing
(: ; exit 0)
# a name that is not UTF-8
cp /bin/true "$(printf 'caf\351')" && "./$(printf 'caf\351')"
# a backslash and a tab
cp /bin/true "$(printf 'tab\\\there')" && "./$(printf 'tab\\\there')"
for n in 1 2 3 4 5 6 7 8; do /bin/true; cat /dev/null; sh -c :; done | cat
i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done
sleep 1.2
"""
# A file system on a loop device has kernel threads, which end with it.
MOUNT = (
    "truncate -s 8M disk && mkfs.ext4 -q disk && mkdir -p at && mount -o loop disk at && umount at"
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        pacct = Path(folder) / "pacct"
        if canary(pacct) is not None:
            raise SystemExit("accounting is on: switch it off first")
        try:
            switch_on(pacct)
            subprocess.run(
                ["setpriv", f"--regid={GROUP}", "--clear-groups", "sh", "-c", NIGHTLY],
                cwd=folder,
                check=True,
            )
            switch_on(pacct)  # leaves a record about this process, in the middle
            subprocess.run(["sh", "-c", MOUNT], cwd=folder, check=True)
            os.sync()
        finally:
            switch_off()
        raw = pacct.read_bytes()
    kept = [
        raw[start : start + RECORD_SIZE]
        for start in range(0, len(raw), RECORD_SIZE)
        if _wanted(raw, start)
    ]
    Path(__file__).with_name("sample.pacct").write_bytes(b"".join(kept))


def _wanted(raw: bytes, start: int) -> bool:
    record = decode_record(raw, start)
    return (
        record.gid == GROUP
        or record.ppid == 2
        or (is_self_record(record) and record.pid == os.getpid())
    )


if __name__ == "__main__":
    main()
