"""What a command line is about."""

from __future__ import annotations

import pytest

from elsa.decode.command_name import command_name


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["/usr/bin/rsync", "-a"], "rsync"),
        (["/bin/sh", "-c", "/usr/local/bin/backup.sh --full >/dev/null 2>&1"], "backup.sh"),
        (["/bin/sh", "-c", "cd /srv && nice -n 19 ./backup.sh"], "backup.sh"),
        (["/bin/sh", "-c", "cd / && run-parts --report /etc/cron.hourly"], "cron.hourly"),
        (
            [
                "/bin/sh",
                "-c",
                "test -x /usr/sbin/anacron || { cd / && run-parts /etc/cron.daily; }",
            ],
            "cron.daily",
        ),
        (["/bin/sh", "-c", "command -v debian-sa1 > /dev/null && debian-sa1 1 1"], "debian-sa1"),
        (["/bin/sh", "-c", "if [ -x /a/b ]; then /a/b start; fi"], "b"),
        (["/bin/sh", "-c", "(umask 077; exec /opt/z)"], "z"),
        (["sh", "-c", "TOKEN=secret /opt/a"], "a"),
        (["sh", "-c", "# nothing\n/opt/b"], "b"),
        (["sh", "-c", "cd /srv"], "cd"),
        (["sh", "-c", 'cd / && nice -n 5 sh -c "sleep 41"'], "sleep"),
        (["sh", "-c", "/opt/x 'never closed"], "x"),
        (["sh", "-c", ""], None),
        (["sh", "-c"], None),
        (["-bash"], None),
        (["sh"], None),
        (["sh", "-x", "/opt/y.sh"], "y.sh"),
        (["bash", "-lc", "flock -n /tmp/l timeout -k 5 300 /opt/x.sh"], "x.sh"),
        (["sudo", "-u", "anna", "A=1", "/x/y"], "y"),
        (["env", "-i", "A=1", "prog"], "prog"),
        (["ionice", "-c3", "nice", "rsync"], "rsync"),
        (["timeout", "--"], "timeout"),
        (["python3", "/srv/job.py", "x"], "job.py"),
        (["python3.12", "-m", "job"], "python3.12"),
        ([], None),
        (["A=1"], None),
        (["/"], None),
        (["sh", "-c", "sh -c 'sh -c \"/opt/deep\"'"], "deep"),
    ],
)
def test_the_program_behind_shells_and_helpers_is_the_name(
    arguments: list[str], name: str | None
) -> None:
    assert command_name(arguments) == name
