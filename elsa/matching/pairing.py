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
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import NamedTuple, TypeAlias

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

    pid: int
    id: int
    start_ns: int
    end_ns: int | None
    """None while it runs or if its end is not known exactly."""
    alive_ns: int | None
    """Its exit has not been received so far, and it was certainly alive at this time; None: it has
    ended.
    """
    exact_start: int
    """1: the fork was received; 0: the start was cut to a tick."""
    code: int | None
    """Wait status of the group's leader, None if not known."""
    ppid: int | None
    """Pid of its parent, None if that is not known or may have ended first."""
    clock_id: int
    """The clock at its end."""
    offsets: tuple[int, ...]
    """Real minus monotonic time at its end, ascending: several if the clock was set at about that
    time.
    """


class Record(NamedTuple):
    """An accounting record that is to be joined; times are real nanoseconds."""

    id: int
    """Which of the caller's records it is."""
    exitcode: int
    ppid: int | None
    elapsed_ns: int
    slack_ns: int
    """The rounding of elapsed_ns, beyond that to ticks."""
    first_ns: int
    """The start window, from here to last_ns: when its process may have started. btime is (second
    of the exit) - (whole seconds of elapsed time).
    """
    last_ns: int
    end_second_ns: int
    """The beginning of the second in which it ended."""
    unseen: bool = False
    """Its process may have gone unnoticed: a loss of events overlaps its time."""
    early: bool = False
    """Its process may have gone unnoticed because it ended before jobd first ran."""
    after_ns: int | None = None
    by_ns: int | None = None
    """Monotonic times between which it was written, as far as known from adjacent records."""

    @property
    def end_by_ns(self) -> int:
        """When it had certainly ended."""
        return self.end_second_ns + SECOND_NS + self.slack_ns


class RecordColumns(NamedTuple):
    """The fields of many records."""

    ids: Sequence[int]
    exitcodes: Sequence[int]
    ppids: Sequence[int | None]
    elapsed_ns: Sequence[int]
    slack_ns: Sequence[int]
    first_ns: Sequence[int]
    last_ns: Sequence[int]
    end_second_ns: Sequence[int]
    unseen: Sequence[bool]
    early: Sequence[bool]
    after_ns: Sequence[int | None]
    by_ns: Sequence[int | None]

    def chosen(self, places: Sequence[int]) -> RecordColumns:
        """Some of the records, by their places, which ascend."""
        if len(places) == len(self.ids):
            return self
        return RecordColumns._make([column[place] for place in places] for column in self)

    def rows(self) -> Iterator[RecordRow]:
        """The records."""
        return zip(*self, strict=True)


CandidateRow: TypeAlias = tuple[
    int, int, int, int | None, int | None, int, int | None, int | None, int, tuple[int, ...]
]
RecordRow: TypeAlias = tuple[
    int, int, int | None, int, int, int, int, int, bool, bool, int | None, int | None
]
"""The fields of a Candidate and of a Record as plain tuples, which are made faster; the two are
such tuples too.
"""


def end_by_ns(second: int, ticks: int) -> int:
    """When a process had certainly ended, by the second of its end."""
    return (second + 1) * SECOND_NS + float_slack_ns(ticks)


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


def columns(
    ids: Sequence[int],
    exitcodes: Sequence[int],
    ppids: Sequence[int | None],
    begins: Sequence[int],
    ticks: Sequence[int],
    seconds: Sequence[int],
) -> RecordColumns:
    """Records from columns: among them those of acct.Times."""
    number = len(ids)
    return RecordColumns(
        ids,
        exitcodes,
        ppids,
        [tick * ACCT_TICK_NS for tick in ticks],
        list(map(float_slack_ns, ticks)) if max(ticks, default=0) > 2**24 else [0] * number,
        [
            begin * SECOND_NS - (tick % 100 + 1) * ACCT_TICK_NS
            for begin, tick in zip(begins, ticks, strict=True)
        ],
        [begin * SECOND_NS + SECOND_NS + 4_000_000 for begin in begins],
        [second * SECOND_NS for second in seconds],
        [False] * number,
        [False] * number,
        [None] * number,
        [None] * number,
    )


def fits(life: CandidateRow, record: RecordRow, late_ns: int = 0) -> bool:
    """Whether the record may belong to this incarnation; `late_ns` is how much later than usual its
    fork event may have come.
    """
    _, _, start_ns, end_ns, alive_ns, exact_start, code, ppid, _, offsets = life
    _, exitcode, its_ppid, elapsed_ns, slack_ns, first_ns, last_ns, second, *_, after, by = record
    if code is not None and code != exitcode:
        return False
    if ppid is not None and ppid != its_ppid and its_ppid is not None:
        return False
    # Small numbers are added first: to add to a time takes several times as long.
    after_ns = SLACK_NS + slack_ns
    before_ns = after_ns if exact_start else after_ns + SNAPSHOT_SLACK_NS
    started_ns = start_ns + offsets[0]
    alive_at_ns = started_ns if alive_ns is None else alive_ns + offsets[0]
    if alive_at_ns > second + (SECOND_NS + after_ns):
        return False
    if end_ns is not None and end_ns - start_ns < elapsed_ns - (
        DURATION_SLACK_NS + before_ns - SLACK_NS + late_ns
    ):
        return False
    if (after is not None or by is not None) and not _fits_place(life, record, before_ns):
        return False
    first_ns -= before_ns
    last_ns += after_ns + late_ns
    # any() takes longer than all else here, and nearly always there is one offset
    return first_ns < started_ns <= last_ns or any(
        first_ns < start_ns + offset <= last_ns for offset in offsets[1:]
    )


def _fits_place(life: CandidateRow, record: RecordRow, slack_ns: int) -> bool:
    """Whether the incarnation can have ended when the record was written, by the record's place in
    the file, and have started as long before as the record says.
    """
    _, _, start_ns, end_ns, alive_ns, *_ = life
    _, _, _, elapsed_ns, *_, after_ns, by_ns = record
    if by_ns is not None and max(start_ns, alive_ns or start_ns) > by_ns:
        return False
    if after_ns is None:
        return True
    earliest_ns = after_ns - elapsed_ns - ACCT_TICK_NS - slack_ns
    return start_ns >= earliest_ns and (end_ns is None or end_ns >= after_ns)


def float_slack_ns(ticks: int) -> int:
    """The rounding of elapsed time in its 24-bit mantissa, in nanoseconds: 0 below 46 hours."""
    return ticks * ACCT_TICK_NS >> 23 if ticks > 2**24 else 0


def pair(
    lives: Sequence[Candidate], records: Sequence[Record], max_cells: int = MAX_CELLS
) -> Outcome:
    """Pair the records of one pid (in file order) with its incarnations (in queue order).

    Records that would need a table of more than `max_cells` are called ambiguous.
    """
    if lives and lives[-1].end_ns is None and not in_order(lives, records):
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
    if len(lives) != len(records) or any(record.unseen for record in records):
        return False
    # As many records as incarnations say something only if the records of all are due.
    if any(record.early for record in records) and any(life.end_ns is None for life in lives):
        return False
    return all(map(fits, lives, records, repeat(LATE_NS)))


def fit_alone(lives: Iterable[CandidateRow], records: RecordColumns) -> list[bool]:
    """The same for records of different pids, each of which has one incarnation."""
    lives = list(lives)
    fit = map(fits, lives, records.rows(), repeat(LATE_NS))
    marks = zip(lives, fit, records.unseen, records.early, strict=True)
    return [
        it_fits and not (unseen or (early and life[3] is None))
        for life, it_fits, unseen, early in marks
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
    seen = [not (records[record].unseen or records[record].early) for record in part]
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
