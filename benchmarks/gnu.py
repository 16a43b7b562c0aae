"""How long `elsa report sa`, `lastcomm` and `dump-acct` take over an accounting file, against GNU
acct's own programs.

benchmarks/gnu.py [--records N] [--json]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measure
from benchmarks.ingest import RECORDS, write_records
from benchmarks.measure import Table
from tests.support.peers import program

WAYS = ("sa -i", "sa -i -m", "lastcomm -f", "dump-acct", "dump-acct -R")


def bench(options: argparse.Namespace) -> list[Table]:
    """A pair of tables per program: CPU time and memory."""
    made: list[Table] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pacct"
        write_records(path, options.records)
        for way in WAYS:
            name, *arguments = [*way.split(), str(path)]
            peer = program(name)
            if peer is None:
                print(
                    f"{name} of GNU acct is not there (scripts/peers.sh fetches it), so nothing is"
                    " compared with it",
                    file=sys.stderr,
                )
                continue
            commands = {"GNU": [peer, *arguments], "ELSA": measure.elsa("report", name, *arguments)}
            samples = measure.in_turns(
                {who: partial(measure.run, words) for who, words in commands.items()},
                options.rounds,
            )
            made += measure.tables(
                f"{way}, {options.records:,} records", "GNU", samples, "cpu_s", "peak_mib"
            )
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--records", type=int, default=RECORDS, metavar="N", help=f"how many records ({RECORDS:,})"
    )
    measure.main(bench, parser)
