"""The incarnations to which records may belong, as the warehouse has them."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

from elsa.matching.gaps import Gaps
from elsa.matching.host_boots import MARGIN_NS, Boot
from elsa.matching.pairing import SLACK_NS, Candidate, CandidateRow, RecordColumns
from elsa.matching.parentage import EXIT_LAG_NS
from elsa.matching.records import repeated
from elsa.state.codes import End, Origin
from elsa.store import process_lookup
from elsa.store.process_lookup import SLOT_S
from elsa.units import SECOND_NS

# The fields of a Candidate, except the offsets, and the clock where a boot has one clock only. An
# end counts if it was received; a parent, if it certainly outlived its child.
_CANDIDATES = f"""
    select process.pid, process.id, process.start_ns,
           iif(process.end_source = {End.EXIT:d}, process.start_ns + process.elapsed_ns, null),
           iif(process.end_source is null, :alive_ns, null),
           process.origin = {Origin.FORK:d},
           iif(process.end_source = {End.EXIT:d},
               coalesce(process.leader_status, process.exit_status), null),
           iif(process.end_source = {End.EXIT:d}
                   and iif(parent.elapsed_ns is null, :heard_ns,
                           parent.start_ns + parent.elapsed_ns)
                       >= process.start_ns + process.elapsed_ns + {EXIT_LAG_NS}, parent.pid, null)
           {{clock}}
    from {process_lookup.WANTED_STARTED}
    left join acct on acct.process_id = process.id
    left join process as parent
        on parent.id = process.parent_id and process.parent_inferred is null
            and coalesce(parent.end_source, {End.EXIT:d}) = {End.EXIT:d}
    where process.origin <> {Origin.ACCT:d} and acct.id is null and process.start_ns <= :read_ns"""

_END_CLOCK = ", coalesce(process.end_clock_id, process.clock_id)"


def load(
    connection: sqlite3.Connection,
    boot: Boot,
    pids: Sequence[int],
    begins: Sequence[int],
    columns: RecordColumns,
) -> list[CandidateRow]:
    """The incarnations to which records of these pids may belong, if they have no record yet."""
    offsets = boot.offsets()
    # In which seconds of monotonic time a process started, by the second in its record.
    margin_ns = SECOND_NS + MARGIN_NS + max(columns.slack_ns)
    earlier_s = -(-(offsets[-1] + margin_ns) // SECOND_NS)
    later_s = -((offsets[0] - margin_ns - SLACK_NS) // SECOND_NS)
    # the slots from that of the first of these seconds to that of the last
    more = (earlier_s + later_s) // SLOT_S
    slots = {(begin - earlier_s) // SLOT_S for begin in begins}
    slots |= {(begin + later_s) // SLOT_S - more for begin in begins}
    heard_ns = boot.heard_ns or 0
    values = {
        **{"boot_id": boot.id, "heard_ns": heard_ns, "alive_ns": heard_ns - EXIT_LAG_NS},
        "read_ns": boot.read_ns,
        **process_lookup.wanted(pids, slots, more),
    }
    clock, rest = _END_CLOCK, cast("tuple[Any, ...]", (offsets,))
    if len(offsets) == 1:
        clock, rest = "", (boot.clocks.current.id, offsets)
    rows = connection.execute(_CANDIDATES.format(clock=clock), values)
    return _near([row + rest for row in rows], pids, columns)


def _near(
    lives: list[CandidateRow], pids: Sequence[int], columns: RecordColumns
) -> list[CandidateRow]:
    """The incarnations without those that started far from every record of their pid. Where a pid
    has only one incarnation, comparing tells.
    """
    several = repeated([life[0] for life in lives])
    if not several:
        return lives
    windows = defaultdict(list)
    for pid, row in zip(pids, columns.rows(), strict=True):
        if pid in several:
            windows[pid].append((row[4], row[5], row[6]))

    def is_near(life: CandidateRow) -> bool:
        pid, _, start_ns, *_, offsets = life
        return any(
            first_ns - slack_ns - MARGIN_NS - offsets[-1]
            <= start_ns
            <= last_ns + slack_ns + MARGIN_NS - offsets[0]
            for slack_ns, first_ns, last_ns in windows[pid]
        )

    return [life for life in lives if life[0] not in several or is_near(life)]


def earliest_start_ns(boot: Boot, columns: RecordColumns) -> int:
    """No process of these records started before this (monotonic)."""
    return min(columns.first_ns) - max(columns.slack_ns) - MARGIN_NS - boot.offsets()[-1]


def gaps_near(boot: Boot, lives: Sequence[CandidateRow], columns: RecordColumns) -> Gaps:
    """The gaps of the boot; none if all of them are before or after these incarnations and
    records.
    """
    if not boot.gaps:
        return boot.gaps
    offsets = boot.offsets()
    first_ns = earliest_start_ns(boot, columns)
    last_ns = max(columns.last_ns) + MARGIN_NS - offsets[0]
    ends = [life[3] for life in lives if life[3] is not None]
    return boot.gaps if boot.gaps.touch(first_ns, max([last_ns, *ends])) else Gaps()


def with_certain_end(boot: Boot, gaps: Gaps, life: CandidateRow) -> CandidateRow:
    """An incarnation with only what is certain of its end: if events were not received during its
    lifetime, forks and exits of its threads may be missing; near a change of the clock the end's
    real time is not certain.
    """
    _, _, start_ns, end_ns, *_, offsets = life
    if end_ns is None:
        return life
    if gaps.touch(start_ns, end_ns):
        return Candidate._make(life)._replace(end_ns=None, code=None, ppid=None)
    if len(offsets) > 1:
        near = (clock.offset_ns for clock in boot.clocks.around(end_ns, EXIT_LAG_NS))
        return Candidate._make(life)._replace(offsets=tuple(sorted(near)))
    return life
