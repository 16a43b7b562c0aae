"""How fast accounting records come into a warehouse, against a C program that writes the same rows,
and against sa and dump-acct.

    benchmarks/ingest.py [--records N] [--json]

Two files of made-up records (300 commands, 200 users, 30 days; deterministic): one of a host where
no jobd ran, so that each record gets an incarnation of its own, and one of a host whose every
process jobd heard, so that each is joined to one. The reference is native/fill.c: it copies what
ELSA has written, with prepared statements of 20 rows, into a warehouse of the same schema and
indexes.

The last run, three rounds (without jobd two) on a busy machine (load 8); only read: an earlier one:

    2 cores, Linux 6.18.44, Python 3.11.7, 2026-11-30
    1,000,000 records, a host without jobd [CPU s]
                            median        min        max   ratio
      elsa ingest            12.15      11.98      12.32    1.39
      C, the same rows        8.72       8.71       8.73    1.00
    1,000,000 records, every record joined [CPU s]
                            median        min        max   ratio
      elsa ingest            11.90      11.53      11.93    2.28
      C, the same rows        5.21       5.13       5.27    1.00
    1,000,000 records, only read [wall s]
                     median        min        max   ratio
      sa              0.106      0.093      0.134    1.00
      dump-acct       2.745      2.712      2.824   25.91
    1,000,000 records, only read [peak MiB]
                     median        min        max   ratio
      sa              1.863      1.812      1.910    1.00
      dump-acct       1.988      1.984      2.102    1.07
"""

from __future__ import annotations

import argparse
import random
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure
from benchmarks.measure import Sample, Table
from elsa.store import database, schema
from elsa.store.upgrade import upgrade
from tests.support.peers import program

RECORDS = 1_000_000
HOST = "bench"
# What joining writes: the processes are there already.
WRITTEN = (
    "acct",
    "acct_file",
    *(name for name in schema.metadata.tables if name.startswith("rollup")),
)
BOOTED_S = 1_760_000_000
SPAN_S = 30 * 86400
SECOND_NS = 1_000_000_000
TICK_NS = 10_000_000
PIDS = 4_000_000
# struct acct_v3
_RECORD = struct.Struct("<2BH6If8H16s")
_NAMES = [b"command%d" % number for number in range(300)]


class Candidate(NamedTuple):
    """A process as both sources report it."""

    pid: int
    ppid: int
    start_ns: int
    elapsed_ns: int
    uid: int
    name: int

    def record(self, chance: random.Random) -> bytes:
        """Its accounting record."""
        ticks = self.elapsed_ns // TICK_NS
        btime = BOOTED_S + (self.start_ns + self.elapsed_ns) // SECOND_NS - ticks // 100
        comp = (
            chance.randrange(9),
            chance.randrange(5),
            chance.randrange(500, 8000),
            0,
            0,
            chance.randrange(50, 4000),
            0,
            0,
        )
        return _RECORD.pack(
            0, 3, 0, 0, self.uid, 100, self.pid, self.ppid, btime, ticks, *comp, _NAMES[self.name]
        )


def lives(count: int) -> Iterator[Candidate]:
    """A month of processes, in the order in which they ended; pids come again."""
    chance = random.Random(count)  # noqa: S311 - no secret
    step_ns = SPAN_S * SECOND_NS // count
    pid, end_ns = 300, SECOND_NS
    for _ in range(count):
        pid = pid + chance.randrange(1, 3) if pid < PIDS else 300
        end_ns += step_ns
        elapsed_ns = min(int(chance.expovariate(2) * SECOND_NS), end_ns)
        ppid = max(pid - chance.randrange(1, 50), 1)
        yield Candidate(
            pid,
            ppid,
            end_ns - elapsed_ns,
            elapsed_ns,
            1000 + chance.randrange(200),
            chance.randrange(300),
        )


def write_records(path: Path, count: int) -> None:
    """The accounting file of them."""
    chance = random.Random(-count)  # noqa: S311 - no secret
    with path.open("wb") as file:
        file.writelines(life.record(chance) for life in lives(count))


def write_lives(path: Path, count: int) -> None:
    """A warehouse in which jobd stored the start and end of each process."""
    with closing(database.open_for_writing(path)) as connection, database.transaction(connection):
        connection.execute("insert into host (id, name) values (1, ?)", (HOST,))
        connection.execute(
            "insert into boot (id, host_id, uuid, started_at_ns, tick_ns) values (1, 1, 'a boot',"
            " ?, 4000000)",
            (BOOTED_S * SECOND_NS,),
        )
        connection.execute("insert into clock values (1, 1, 0, ?, 0)", (BOOTED_S * SECOND_NS,))
        connection.execute(
            """insert into collector (id, boot_id, pid, version, since_ns, heard_ns, stopped_ns,
               events, lost, job_ids_until)
               values (1, 1, 1, '0', 0, ?1, ?1, 0, 0, 1)""",
            (2 * SPAN_S * SECOND_NS,),
        )
        connection.executemany(
            "insert into comm values (?, ?)",
            ((id_, name.decode()) for id_, name in enumerate(_NAMES, 1)),
        )
        connection.executemany(
            """insert into process
                   (id, boot_id, pid, origin, start_ns, clock_id, elapsed_ns, end_clock_id,
                   end_source, exit_status, uid, comm_id)
               values (?, 1, ?, 1, ?, 1, ?, 1, 1, 0, ?, ?)""",
            (
                (2 * id_, one.pid, one.start_ns, one.elapsed_ns, one.uid, one.name + 1)
                for id_, one in enumerate(lives(count), 1)
            ),
        )


class Place:
    """The files of one benchmark."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.pacct, self.db, self.done = folder / "pacct", folder / "elsa.db", folder / "done.db"
        self.empty, self.heard = folder / "empty.db", folder / "heard.db"
        self.fill = measure.compiled("fill", folder, "-lsqlite3")
        write_records(self.pacct, count)
        upgrade(self.empty)
        shutil.copy(self.empty, self.heard)
        write_lives(self.heard, count)

    def fresh(self, template: Path) -> None:
        """A copy of a template, nothing of the last run left."""
        for path in self.folder.glob("elsa.db*"):
            path.unlink()
        shutil.copy(template, self.db)

    def elsa(self, template: Path) -> Sample:
        """The ingester's run; what it made is kept for the reference."""
        self.fresh(template)
        sample = measure.run(
            measure.elsa("ingest", "--quiet", "--host", HOST, "--db", str(self.db), str(self.pacct))
        )
        with closing(database.open_for_writing(self.db)) as connection:
            connection.execute("pragma wal_checkpoint(truncate)")
        shutil.copy(self.db, self.done)
        return sample

    def copied(self, template: Path, *tables: str) -> Sample:
        """The reference: the rows that ELSA just wrote, written in C."""
        self.fresh(template)
        return measure.run([self.fill, self.done, self.db, *tables])

    def size_mib(self) -> float:
        """What the last run of ELSA left on disk."""
        return self.done.stat().st_size / 2**20


def bench(options: argparse.Namespace) -> list[Table]:
    """Both files, then the peers that only read."""
    count = options.records
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), count)
        made: list[Table] = []
        for what, template, rows in (
            ("a host without jobd", place.empty, ()),
            ("every record joined", place.heard, WRITTEN),
        ):
            samples = measure.in_turns(
                {
                    "elsa ingest": partial(place.elsa, template),
                    "C, the same rows": partial(place.copied, template, *rows),
                },
                options.rounds,
            )
            made += measure.tables(
                f"{count:,} records, {what}",
                "C, the same rows",
                samples,
                "wall_s",
                "cpu_s",
                "peak_mib",
            )
        sa, dump_acct = program("sa"), program("dump-acct")
        if sa is None or dump_acct is None:
            print(
                "GNU acct is not there (scripts/peers.sh fetches it), so nothing is compared"
                " with it",
                file=sys.stderr,
            )
            return made
        readers: dict[str, list[str | Path]] = {
            "sa": [sa, "-i", place.pacct],
            "dump-acct": [dump_acct, place.pacct],
        }
        samples = measure.in_turns(
            {name: partial(measure.run, words) for name, words in readers.items()},
            options.rounds,
        )
        return [
            *made,
            *measure.tables(f"{count:,} records, only read", "sa", samples, "wall_s", "peak_mib"),
        ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--records", type=int, default=RECORDS, metavar="N", help=f"how many records ({RECORDS:,})"
    )
    measure.main(bench, parser)
