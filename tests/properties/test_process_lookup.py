"""Processes found by pid and time through blocks of ids, against a look at every process, whatever
was written and in whatever order.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elsa.store import process_lookup
from elsa.store.process_lookup import BLOCK, LONG_LIVED_NS, SLOT_NS
from elsa.units import SECOND_NS

Span = tuple[int, int]
BOOTS = (1, 2)
MOST_NS = 60 * SECOND_NS

# On both sides of every edge that matters; starts may lie before the beginning of a boot, by a
# record's second.
edges = st.builds(
    lambda whole, off: whole * SLOT_NS + off,
    st.integers(-1, 5),
    st.sampled_from((-1, 0, 1, SECOND_NS)),
)
times = st.one_of(edges, st.integers(-SLOT_NS, MOST_NS))
lengths = st.one_of(
    st.none(),
    st.integers(0, MOST_NS),
    st.sampled_from((0, LONG_LIVED_NS - 1, LONG_LIVED_NS, LONG_LIVED_NS + 1)),
)
pids = st.integers(300, 303)
# Not in the order of time: as after a restart, or when a late record shows a missed process.
ids = st.one_of(
    st.integers(1, 40),
    st.integers(1, 6 * BLOCK),
    st.sampled_from((BLOCK - 1, BLOCK, 2 * BLOCK - 1, 2 * BLOCK)),
)
spans = st.dictionaries(
    pids,
    st.lists(
        st.tuples(times, st.integers(0, MOST_NS)).map(lambda two: (two[0], sum(two))),
        min_size=1,
        max_size=3,
    ),
)


class Candidate(NamedTuple):
    """What the search asks of a process, and how it came to be known and ended, which must not
    matter.
    """

    id: int
    boot_id: int
    pid: int
    start_ns: int
    elapsed_ns: int | None
    origin: int
    end_source: int | None
    clock_id: int


lives = st.builds(
    lambda id_, boot, pid, start, length, origin, how, late: Candidate(
        id_, boot, pid, start, length, origin, how if length is not None else None, 2 * boot + late
    ),
    ids,
    st.sampled_from(BOOTS),
    pids,
    times,
    lengths,
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(0, 1),
)
places = st.integers(0, 30)
moves = st.tuples(places, times, lengths)
instants = st.tuples(places, st.booleans(), st.sampled_from((-1, 0, 1)))


@pytest.fixture(scope="module")
def warehouse(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[sqlite3.Connection]:
    """A warehouse with two boots, in each of which the clock was set back by an hour."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("begun") / "elsa.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("insert into host values (1, 'm', 'here')")
        for boot in BOOTS:
            connection.execute(
                "insert into boot values (?, 1, ?, 0, null, 4000000)", (boot, f"boot {boot}")
            )
            for late in (0, 1):
                row = (
                    2 * boot + late,
                    boot,
                    late * MOST_NS // 2,
                    (boot * 24 - late) * 3600 * SECOND_NS,
                )
                connection.execute("insert into clock values (?, ?, ?, ?, 0)", row)
        yield connection


@contextmanager
def undone(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Nothing that is written stays."""
    connection.execute("begin")
    try:
        yield connection
    finally:
        connection.execute("rollback")


def written(
    connection: sqlite3.Connection,
    some: list[Candidate],
    moved: list[tuple[int, int, int | None]],
    gone: list[int],
) -> list[Candidate]:
    """Write these processes, date some of them again, and delete others; returns what is left."""
    left = {life.id: life for life in some}
    connection.executemany(
        """insert into process (id, boot_id, pid, start_ns, elapsed_ns, origin, end_source,
           clock_id, end_clock_id)
           values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, iif(?5 is null, null, ?8))""",
        left.values(),
    )
    for place, start_ns, elapsed_ns in moved:
        if place < len(some):
            life = left[some[place].id] = left[some[place].id]._replace(
                start_ns=start_ns, elapsed_ns=elapsed_ns
            )
            connection.execute(
                "update process set start_ns = ?, elapsed_ns = ? where id = ?",
                (start_ns, elapsed_ns, life.id),
            )
    for place in gone:
        if place < len(some) and some[place].id in left:
            del left[some[place].id]
            connection.execute("delete from process where id = ?", (some[place].id,))
    if gone:
        process_lookup.delete_empty_blocks(connection)
    return list(left.values())


def with_instants(
    asked: dict[int, list[Span]], left: list[Candidate], some: list[tuple[int, bool, int]]
) -> dict[int, list[Span]]:
    """What is asked, and the very moments, or those next to them, at which some of the lives began
    or ended.
    """
    every = {pid: [*spans_of] for pid, spans_of in asked.items()}
    for place, at_end, off in some:
        if place < len(left):
            life = left[place]
            moment_ns = life.start_ns + (life.elapsed_ns or 0) * at_end + off
            every.setdefault(life.pid, []).append((moment_ns, moment_ns))
    return every


def lived(life: Candidate, span: Span) -> bool:
    return life.start_ns <= span[1] and (
        life.elapsed_ns is None or life.start_ns + life.elapsed_ns >= span[0]
    )


@settings(max_examples=400)
@example(
    [Candidate(1, 1, 300, 0, LONG_LIVED_NS, 1, 1, 2)], [], [], {}, [(0, True, 0)], 0
)  # at its very end, just too short to be lasting
@given(
    st.lists(lives, max_size=30),
    st.lists(moves, max_size=5),
    st.lists(places, max_size=8),
    spans,
    st.lists(instants, max_size=8),
    st.integers(0, 3),
)
def test_every_process_is_found_by_its_pid_and_when_it_began_or_lived(
    warehouse: sqlite3.Connection,
    some: list[Candidate],
    moved: list[tuple[int, int, int | None]],
    gone: list[int],
    stated: dict[int, list[Span]],
    exact: list[tuple[int, bool, int]],
    more: int,
) -> None:
    with undone(warehouse) as connection:
        left = written(connection, some, moved, gone)
        asked = with_instants(stated, left, exact)
        for boot in BOOTS:
            asked_spans = [(pid, *span) for pid, of_pid in asked.items() for span in of_pid]
            slots = {span[0] // SLOT_NS for of_pid in asked.values() for span in of_pid}
            rows = connection.execute(
                f"select process.id from {process_lookup.WANTED_STARTED}",
                {"boot_id": boot, **process_lookup.wanted(asked, slots, more)},
            )
            found = [id_ for (id_,) in rows]
            of_boot = [life for life in left if life.boot_id == boot]
            of_pids = {life.id for life in of_boot if life.pid in asked}
            beginning = {
                life.id
                for life in of_boot
                if life.pid in asked
                and any(slot <= life.start_ns // SLOT_NS <= slot + more for slot in slots)
            }
            assert len(found) == len(set(found))
            assert beginning <= set(found) <= of_pids

            process_lookup.find_candidates(connection, boot, asked_spans)
            candidates = defaultdict(set)
            for pid, id_ in connection.execute("select pid, id from temp.candidate"):
                candidates[pid].add(id_)
            for pid, times_of in asked.items():
                living = {
                    life.id
                    for life in of_boot
                    if life.pid == pid and any(lived(life, span) for span in times_of)
                }
                assert living <= candidates[pid] <= {life.id for life in of_boot if life.pid == pid}
