"""A warehouse for the web pages: a day of services, cron jobs, sessions and a build, with hostile
names, a loss, and processes that still run.
"""

from __future__ import annotations

from tests.support import given
from tests.support.given import SECOND, Warehouse

ANNA, BOB = 4_000_001, 4_000_002
HOSTILE = "<img src=x onerror=alert(1)>\"'&\x1b[31m</script><svg/onload=alert(2)>"
"""A name that is HTML, SVG and a terminal's escape."""
SINCE, UNTIL = "2026-01-02T03:00Z", "2026-01-03T03:00Z"
"""The window in which everything is."""
_HOUR = 3600


def fill(warehouse: Warehouse) -> None:
    """Fill an empty warehouse."""
    _Filler(warehouse).fill()


class _Filler:
    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.process_id = 0
        self.job_id = 0

    def fill(self) -> None:
        self.warehouse.insert(
            "collector",
            id=2,
            boot_id=1,
            pid=2**22,
            version="1",
            since_ns=0,
            heard_ns=24 * _HOUR * SECOND,
            events=70_000,
            lost=3,
            job_ids_until=0,
        )
        self.warehouse.insert(
            "gap",
            id=2,
            boot_id=1,
            kind="overrun",
            from_ns=5 * _HOUR * SECOND,
            to_ns=(5 * _HOUR + 2) * SECOND,
            lost=3,
        )
        self.warehouse.insert(
            "tariff", id=1, valid_from_at_ns=0, added_at_ns=0, currency="EUR", zone="UTC",
            decimals=2, process="0", cpu_hour="0.5", memory_gib_hour="0", read_gib="0",
            written_gib="0",
        )  # fmt: skip
        self.service("nginx", "nginx", 0.4)
        self.service("postgresql", "postgres", 1.1)
        for night in range(7):
            self.run("backup", night, 40 + night * 3, failed=night == 5)
        self.build()
        self.run(HOSTILE, 4, 20, kind="manual", command="<b>x</b>")

    def job(self, name: str, kind: str, start: float, end: float | None, uid: int = 0) -> int:
        self.job_id += 1
        return self.warehouse.job(
            self.job_id,
            name,
            kind=kind,
            owner_uid=uid,
            created_at_ns=given.REAL + int(start * SECOND),
            closed_at_ns=None if end is None else given.REAL + int(end * SECOND),
            close_reason=None if end is None else "ended",
        )

    def process(
        self,
        job: int | None,
        command: str,
        start: float,
        seconds: float | None,
        cpu_s: float,
        *,
        uid: int = 0,
        how: int = 2,
        parent: int | None = None,
        status: int = 0,
    ) -> int:
        self.process_id += 1
        number = self.process_id
        more: dict[str, object] = {} if seconds is None else {"exit_status": status}
        self.warehouse.process(
            number, start=start, seconds=seconds, comm=command, uid=uid, parent_id=parent, **more
        )
        if seconds is not None:
            self.warehouse.usage(
                number,
                utime_us=int(cpu_s * 800_000),
                stime_us=int(cpu_s * 200_000),
                run_ns=int(cpu_s * SECOND),
                rss_kib=20_000 + 300 * number,
                read_bytes=number << 16,
                write_bytes=number << 15,
            )
            second = int(start + seconds)
            self.warehouse.acct(
                number,
                number,
                comm=command,
                uid=uid,
                exitcode=status,
                utime=int(cpu_s * 80),
                stime=int(cpu_s * 20),
                etime=seconds * 100,
                btime=given.REAL // SECOND + second - int(seconds),
            )
        if job is not None:
            self.warehouse.stay(job, number, how=how)
        return number

    def service(self, name: str, command: str, cpus: float) -> None:
        """A service that runs all day, and its workers, which do not."""
        job = self.job(name, "service", 60, None)
        master = self.process(job, command, 60, None, 0, how=3)
        for hour in range(1, 22):
            load = cpus * (1 + (hour % 7)) * 400
            self.process(job, command, hour * _HOUR + 10, 3000, load, uid=ANNA, parent=master)

    def run(
        self, name: str, turn: int, seconds: float, *, kind: str = "cron", failed: bool = False,
        command: str = "rsync",
    ) -> None:  # fmt: skip
        start = (2 * turn + 1) * _HOUR
        job = self.job(name, kind, start, start + seconds)
        shell = self.process(job, "sh", start, seconds, 0.1, how=3, status=256 if failed else 0)
        self.process(job, command, start + 1, seconds - 2, seconds * 0.6, parent=shell)

    def build(self) -> None:
        """A build by hand of bob, with many compilers."""
        start = 9 * _HOUR
        job = self.job("build", "manual", start, start + 620, BOB)
        self.warehouse.insert("job_tag", job_id=job, key="project", value="web<1>")
        make = self.process(job, "make", start, 620, 3, how=3, uid=BOB)
        for number in range(60):
            self.process(
                job,
                "cc1",
                start + 10 * number,
                12,
                11.5,
                parent=make,
                uid=BOB,
                status=9 if number == 7 else 0,
            )
