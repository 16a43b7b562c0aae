"""How many members of a job are missed, and who is wrongly put into it, when jobd is killed again
and again. Needs root.

Each process of the storm names itself and so its parent; what jobd and the ingester concluded is
compared with that. Every second round has so few pids that they come round many times a second:
then records fit several processes, and are said to.

Four rounds on 2 cores, Linux 6.18 (2026-11):

    ordinary pids: 13 deaths, 17600 processes, of 880 left to init 492 not in the job, of all others
    none; none wrongly in it
    1000 pids: 12 deaths, 17600 processes, of 880 left to init 224 not in the job, of the others
    169; none wrongly in it
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.soak import accounting_restored
from elsa.kernel import accounting
from tests.kernel.test_reuse import few_pids
from tests.support.elsa_host import Host, compiled, wait_until, workload
from tests.support.truth import OF_THE_STORM

CHILDREN, EVERY, PAUSE_US = 4000, 20, 400


def storm(folder: Path, chance: random.Random, *, few: bool) -> Counter[str]:
    """One storm in a job of its own while jobd dies every now and then; what became of its
    processes.
    """
    accounting.switch_on(folder / "pacct")
    host = Host(folder, folder / "pacct")
    with ExitStack() as stack:
        stack.callback(host.close)
        stack.callback(accounting.switch_off)
        host.start(commit_ms=20)
        run = stack.enter_context(workload(compiled("storm", folder), 2, CHILDREN, EVERY, PAUSE_US))
        job = host.create("storm", *run.line())
        with few_pids(1000) if few else nullcontext():
            run.go()
            deaths = 0
            while not run.has_printed():
                time.sleep(chance.uniform(0.01, 0.4))
                host.kill()
                host.start(commit_ms=20)
                deaths += 1
            started = run.line()[0]
            run.rest()
        wait_until("all are closed", lambda: host.request("show", job=job)["living"] == 0)
        host.ingest_all()
        return Counter(deaths=deaths, started=started) + compared(host, job)


def compared(host: Host, job: int) -> Counter[str]:
    """Members missed, by how much is known of them; others taken in; and parents that are wrong."""
    counts: Counter[str] = Counter()
    members = {
        process
        for (process,) in host.sql("select process_id from all_memberships where job_id = ?", job)
    }
    names = dict(
        host.sql("select p.id, n.name from process as p join comm as n on n.id = p.comm_id")
    )
    rows = host.sql(f"""select n.name, a.process_id, p.origin, p.parent_id, a.ppid
            from acct as a join comm as n on n.id = a.comm_id
            left join process as p on p.id = a.process_id
            where n.name {OF_THE_STORM}""")
    for name, process, origin, _, ppid in rows:
        names[process] = name
        if process is None:
            counts["fit several"] += 1
        elif process not in members:
            counts[
                f"missed, of init (origin {origin})" if ppid == 1 else f"missed (origin {origin})"
            ] += 1
    for name, process, origin, parent, _ in rows:
        own = "worker" if name[1] == "." else name.replace("+", ".").replace("-", ".")
        if (
            process is not None
            and parent is not None
            and names.get(parent) not in (own, "storm", None)
        ):
            counts[f"parent wrong (origin {origin})"] += 1
    inside = host.sql("select command, pid from job_process_usage where job_id = ?", job)
    counts["taken in wrongly"] = sum(
        not command[0].isdigit() and command not in ("storm", "worker")
        for command, _ in inside
        if command
    )
    younger = """select count(*) from process as c
        join process as p on p.id = c.parent_id where c.start_ns < p.start_ns"""
    counts["born before their parent"] = host.value(younger)
    complete = host.value("select complete from job_usage where job_id = ?", job)
    assert not complete, "a job with outages cannot be complete"
    return counts


def main() -> int:
    """Storms, one after the other."""
    if os.geteuid() != 0:
        print(
            "this needs root: it switches accounting and listens to process events", file=sys.stderr
        )
        return 77
    chance = random.Random(0)  # noqa: S311 - moments, not secrets
    total: Counter[str] = Counter()
    for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 2):
        with accounting_restored(), tempfile.TemporaryDirectory(prefix="elsa-outages-") as folder:
            counts = storm(Path(folder), chance, few=number % 2 == 1)
        print(dict(counts), flush=True)
        total += counts
    print("in all:", dict(total))
    return 0


if __name__ == "__main__":
    sys.exit(main())
