"""Which accounting record belongs to which incarnation, decided for each pid by itself. Pure.

Incarnations of one pid never overlap, so their order in the event queue is the order of their
records in the file. If nothing was lost, the k-th record belongs to the k-th incarnation; if
anything was lost, order alone would shift all later pairs. So a pair must also fit in time,
duration, parent and exit code, and it counts only if every best alignment (most pairs, none
crossing) contains it.

A pair is certain if it is in every alignment that pairs at least those records whose process was
not missed. The true alignment is one of these, however many other records are missing; so a certain
pair is right.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import NamedTuple

from elsa.units import SECOND_NS

ACCT_TICK_NS = 10_000_000
# How far the times of event and record may differ beyond their rounding: the kernel takes them at
# different points of fork and exit.
SLACK_NS = 12_000_000
DURATION_SLACK_NS = 1_000_000
# On a busy host the fork event may come this much later than the start in the record. That is
# accepted only if there are as many records as incarnations.
LATE_NS = 100_000_000
# A start from /proc is cut to a tick and converted between clocks.
SNAPSHOT_SLACK_NS = 2 * ACCT_TICK_NS
# A table of best alignments with more cells than this is not worth its time and memory: its records
# are called ambiguous.
MAX_CELLS = 1_000_000


class Candidate(NamedTuple):
    """An incarnation that a record may belong to; times are monotonic."""

    id: int
    start_ns: int
    end_ns: int | None
    """None while it runs or if its end is not known exactly."""
    alive_ns: int
    """It was certainly alive at this time."""
    exact_start: bool
    """The fork was received; else the start was cut to a tick."""
    code: int | None
    """Wait status of the group's leader, None if not known."""
    offsets: tuple[int, ...]
    """Real minus monotonic time at its end, ascending: several if the clock was set at about that
    time.
    """
    ppid: int | None = None
    """Pid of its parent, None if that is not known or may have ended first."""
    running: bool = False
    """Its exit has not been received so far."""
    ended_at_ns: int | None = None
    """Its end in real time, None if that is not known exactly."""


class Record(NamedTuple):
    """An accounting record that is to be joined; times are real nanoseconds."""

    id: int
    """Which of the caller's records it is."""
    exitcode: int
    ppid: int | None
    etime: float
    """1/100 s; a whole number."""
    slack_ns: int
    """The rounding of etime."""
    first_ns: int
    """The start window, from here to last_ns: when its process may have started. btime is (second
    of the exit) - (whole seconds of elapsed time).
    """
    last_ns: int
    end_second_ns: int
    """The beginning of the second in which it ended."""
    unseen: bool = False
    """Its process may have gone unnoticed: a loss of events overlaps its time."""
    after_ns: int | None = None
    by_ns: int | None = None
    """Monotonic times between which it was written, as far as known from adjacent records."""

    @property
    def end_by_ns(self) -> int:
        """When it had certainly ended."""
        return self.end_second_ns + SECOND_NS + self.slack_ns


def end_by_ns(second: int, etime: float) -> int:
    """When a process had certainly ended, by the second of its end."""
    return (second + 1) * SECOND_NS + float_slack_ns(etime)


class Pair(NamedTuple):
    """A record and its incarnation."""

    record_id: int
    process_id: int
    certain: bool = True


class Outcome(NamedTuple):
    """What became of the records of one pid."""

    pairs: list[Pair]
    ambiguous: list[int]
    """Records that fit several incarnations equally well."""
    unpaired: list[int]
    """Records that fit no incarnation, or for which none is left."""


def records(
    ids: Iterable[int],
    exitcodes: Iterable[int],
    ppids: Iterable[int | None],
    begins: Sequence[int],
    etimes: Sequence[float],
    seconds: Iterable[int],
) -> list[Record]:
    """Records from columns: among them btime with its sign, and the second of the end."""
    ticks = list(map(int, etimes))
    new = partial(tuple.__new__, Record)
    rows = zip(
        ids,
        exitcodes,
        ppids,
        etimes,
        map(float_slack_ns, etimes) if max(ticks, default=0) > 2**24 else repeat(0),
        [
            begin * SECOND_NS - (tick % 100 + 1) * ACCT_TICK_NS
            for begin, tick in zip(begins, ticks, strict=True)
        ],
        [begin * SECOND_NS + SECOND_NS + 4_000_000 for begin in begins],
        [second * SECOND_NS for second in seconds],
        repeat(False),
        repeat(None),
        repeat(None),
        strict=False,
    )
    return list(map(new, rows))


def fits(life: Candidate, record: Record, late_ns: int = 0) -> bool:
    """Whether the record may belong to this incarnation; `late_ns` is how much later than usual its
    fork event may have come.
    """
    _, start_ns, end_ns, alive_ns, exact_start, code, offsets, ppid, _, _ = life
    _, exitcode, its_ppid, etime, slack_ns, first_ns, last_ns, end_second_ns, _, after, by = record
    if code is not None and code != exitcode:
        return False
    if ppid is not None and ppid != its_ppid and its_ppid is not None:
        return False
    if alive_ns + offsets[0] > end_second_ns + SECOND_NS + slack_ns + SLACK_NS:
        return False
    before_ns = SLACK_NS + slack_ns
    after_ns = before_ns + late_ns
    if not exact_start:
        before_ns += SNAPSHOT_SLACK_NS
    least_ns = etime * ACCT_TICK_NS - DURATION_SLACK_NS - before_ns + SLACK_NS - late_ns
    if end_ns is not None and end_ns - start_ns < least_ns:
        return False
    if (after is not None or by is not None) and not _fits_place(life, record, before_ns):
        return False
    first_ns -= before_ns + start_ns
    last_ns += after_ns - start_ns
    # any() takes longer than all else here, and nearly always there is one offset
    return first_ns < offsets[0] <= last_ns or any(
        first_ns < offset <= last_ns for offset in offsets[1:]
    )


def _fits_place(life: Candidate, record: Record, slack_ns: int) -> bool:
    """Whether the incarnation can have ended when the record was written, by the record's place in
    the file, and have started as long before as the record says.
    """
    if record.by_ns is not None and max(life.start_ns, life.alive_ns) > record.by_ns:
        return False
    if record.after_ns is None:
        return True
    earliest_ns = record.after_ns - int(record.etime + 1) * ACCT_TICK_NS - slack_ns
    return life.start_ns >= earliest_ns and (life.end_ns is None or life.end_ns >= record.after_ns)


def float_slack_ns(etime: float) -> int:
    """The rounding of elapsed time in its 24-bit mantissa, in nanoseconds: 0 below 46 hours."""
    return int(etime * ACCT_TICK_NS / 2**23) if etime > 2**24 else 0


def pair(
    lives: Sequence[Candidate], records: Sequence[Record], max_cells: int = MAX_CELLS
) -> Outcome:
    """Pair the records of one pid (in file order) with its incarnations (in queue order).

    Records that would need a table of more than `max_cells` are called ambiguous.
    """
    if lives and lives[-1].end_ns is None:
        still_runs = not any(fits(lives[-1], record) for record in records)
        lives = lives[:-1] if still_runs else lives
    if in_order(lives, records):
        pairs = [Pair(record.id, life.id) for life, record in zip(lives, records, strict=True)]
        return Outcome(pairs, [], [])
    outcome = Outcome([], [], [])
    options = _options(lives, records)
    outcome.unpaired.extend(
        record.id for record, possible in zip(records, options, strict=True) if not possible
    )
    for part in _parts(options):
        _pair_part(lives, records, options, part, outcome, max_cells)
    return outcome


def in_order(lives: Sequence[Candidate], records: Sequence[Record]) -> bool:
    """Whether nothing seems to be lost and the k-th record fits the k-th incarnation, which is
    nearly always so.
    """
    return len(lives) == len(records) and not out_of_order(lives, records)


def out_of_order(lives: Iterable[Candidate], records: Sequence[Record]) -> list[int]:
    """The ids of the records that do not fit the incarnation at the same place, or whose process
    may have gone unnoticed.
    """
    fit = map(fits, lives, records, repeat(LATE_NS))
    return [
        record.id
        for record, it_fits in zip(records, fit, strict=True)
        if not it_fits or record.unseen
    ]


def _options(lives: Sequence[Candidate], records: Sequence[Record]) -> list[list[int]]:
    """The indices of the incarnations that each record fits. Only incarnations that started near
    the record's start window are tried.
    """
    starts = [life.start_ns for life in lives]
    if starts != sorted(starts):
        return [
            [index for index, life in enumerate(lives) if fits(life, record)] for record in records
        ]
    least = min((offset for life in lives for offset in life.offsets), default=0)
    most = max((offset for life in lives for offset in life.offsets), default=0)
    options = []
    for record in records:
        slack = SLACK_NS + SNAPSHOT_SLACK_NS + record.slack_ns
        near = range(
            bisect_left(starts, record.first_ns - most - slack),
            bisect_right(starts, record.last_ns - least + slack),
        )
        options.append([index for index in near if fits(lives[index], record)])
    return options


def _parts(options: Sequence[Sequence[int]]) -> list[list[int]]:
    """Groups of records (by index) whose possible incarnations do not overlap those of other
    groups, so that each group can be paired by itself.

    Records without a possible incarnation are in no group.
    """
    parts: list[tuple[list[int], int, int]] = []  # with first and last incarnation, ascending
    for record, lives in enumerate(options):
        if not lives:
            continue
        part, first, last = [record], lives[0], lives[-1]
        while parts and first <= parts[-1][2]:
            earlier, earlier_first, earlier_last = parts.pop()
            earlier.extend(part)
            part, first, last = earlier, min(first, earlier_first), max(last, earlier_last)
        parts.append((part, first, last))
    return [part for part, _, _ in parts]


def _pair_part(
    lives: Sequence[Candidate],
    records: Sequence[Record],
    options: Sequence[Sequence[int]],
    part: Sequence[int],
    outcome: Outcome,
    max_cells: int,
) -> None:
    possible = sorted({life for record in part for life in options[record]})
    place = {life: column for column, life in enumerate(possible)}
    rows = [[place[life] for life in options[record]] for record in part]
    if (len(part) + 1) * (len(possible) + 1) > max_cells:
        outcome.ambiguous.extend(records[record].id for record in part)
        return
    best = alignments(rows, len(possible))
    seen = [not records[record].unseen for record in part]
    certain = _certain(rows, len(possible), seen, best)
    for row, (columns, skippable) in enumerate(best):
        record_id = records[part[row]].id
        if not columns:
            outcome.unpaired.append(record_id)
        elif len(columns) == 1 and not skippable:
            outcome.pairs.append(Pair(record_id, lives[possible[columns[0]]].id, row in certain))
        else:
            outcome.ambiguous.append(record_id)


Alignments = list[tuple[list[int], bool]]


def _certain(
    rows: Sequence[Sequence[int]], width: int, seen: Sequence[bool], best: Alignments
) -> set[int]:
    """The rows that have the same column in every alignment that takes at least all `seen` rows.

    No rows if no alignment takes all of these: then more was lost than is known. `best` are the
    alignments that take the most rows of all.
    """
    strict = best if all(seen) else alignments(rows, width, seen)
    if any(is_seen and skippable for (_, skippable), is_seen in zip(strict, seen, strict=True)):
        return set()
    return {
        row
        for row, (columns, skippable) in enumerate(strict)
        if len(columns) == 1 and not skippable
    }


def alignments(
    rows: Sequence[Sequence[int]], width: int, counts: Sequence[bool] | None = None
) -> Alignments:
    """For each row: the columns that it has in some best alignment, and whether some best alignment
    leaves it out.

    `rows` lists the columns (0 to width - 1, ascending) that each row may take. An alignment takes
    each column at most once and never crosses. The best alignments take the most rows, or the most
    of the rows that count.
    """
    height = len(rows)
    counts = counts if counts is not None else [True] * height
    before = _best(rows, width, counts)
    reverse = [[width - 1 - column for column in reversed(row)] for row in reversed(rows)]
    # after[height - r][width - c] is the best of rows r.. with columns c..
    after = _best(reverse, width, counts[::-1])
    best = before[height][width]
    answer = []
    for row, columns in enumerate(rows):
        rest, gain = after[height - row - 1], int(counts[row])
        taken = [
            column
            for column in columns
            if before[row][column] + gain + rest[width - column - 1] == best
        ]
        skippable = any(
            before[row][column] + rest[width - column] == best for column in range(width + 1)
        )
        answer.append((taken, skippable))
    return answer


def _best(rows: Sequence[Sequence[int]], width: int, counts: Sequence[bool]) -> list[list[int]]:
    """best[r][c]: how many of the first r rows, of those that count, can be aligned with the first
    c columns.
    """
    table = [[0] * (width + 1)]
    for row, gain in zip(rows, counts, strict=True):
        above = table[-1]
        cells = above[:]
        if gain:
            allowed = set(row)
            for column in range(width):
                take = above[column] + 1 if column in allowed else 0
                cells[column + 1] = max(cells[column], above[column + 1], take)
        table.append(cells)
    return table
