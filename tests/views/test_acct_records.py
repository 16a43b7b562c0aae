"""acct_records: every accounting record, counted or not. gaps: every known loss."""

from __future__ import annotations

import pytest

from tests.support.given import Warehouse

REAL_S = 1_767_323_045  # real time of monotonic 0 (see given.py)


@pytest.mark.parametrize(
    ("join", "word", "counted"),
    [
        (0, "pending", 1),
        (1, "exact", 1),
        (2, "uncertain", 1),
        (3, "self", 0),
        (4, "own", 1),
        (5, "ambiguous", 1),
    ],
)
def test_every_record_is_shown_with_what_became_of_it(
    warehouse: Warehouse, join: int | None, word: str, counted: int
) -> None:
    process_id = warehouse.process(1) if join in {1, 2, 4} else None
    warehouse.acct(
        3,
        process_id,
        join=join,
        comm="cron",
        flag=0x1B,
        version=0x83,
        utime=9,
        etime=350.0,
        btime=REAL_S,
    )
    row = warehouse.row("select * from acct_records")
    assert (row["record"], row["counted"], row["command"], row["utime_ticks"]) == (
        word,
        counted,
        "cron",
        9,
    )
    assert (
        row["forked_only"],
        row["superuser"],
        row["dumped_core"],
        row["killed"],
        row["version"],
    ) == (1, 1, 1, 1, 3)
    assert (row["path"], row["position"], row["host"]) == ("/var/log/account/pacct", 192, "here")
    assert (row["started_at"], row["ended_at"]) == ("2026-01-02 03:04:05", "2026-01-02 03:04:08")


def test_gap_in_the_events_has_real_times_and_says_what_it_is(warehouse: Warehouse) -> None:
    warehouse.insert(
        "clock",
        id=2,
        boot_id=1,
        since_ns=50 * 10**9,
        offset_ns=(REAL_S + 3600) * 10**9,
        boottime_offset_ns=0,
    )
    warehouse.insert(
        "gap", id=1, boot_id=1, kind="overrun", from_ns=10 * 10**9, to_ns=12 * 10**9, lost=5
    )
    warehouse.insert("gap", id=2, boot_id=1, kind="down", from_ns=60 * 10**9)
    first, second = warehouse.rows("select * from gaps order by gap_id")
    assert (first["started_at"], first["ended_at"], first["duration_s"]) == (
        "2026-01-02 03:04:15",
        "2026-01-02 03:04:17",
        2.0,
    )
    assert (first["what"], first["lost"], first["host"]) == (
        "jobd was too slow and the kernel dropped events",
        5,
        "here",
    )
    assert (second["started_at"], second["ended_at"], second["duration_s"]) == (
        "2026-01-02 04:05:05",
        None,
        None,
    )


def test_gap_in_a_file_names_the_file_and_the_bytes(warehouse: Warehouse) -> None:
    warehouse.insert("gap", id=1, kind="file", acct_file_id=1, from_position=64, to_position=70)
    row = warehouse.row("select * from gaps")
    assert (row["path"], row["from_position"], row["to_position"], row["host"]) == (
        "/var/log/account/pacct",
        64,
        70,
        "here",
    )
    assert (row["started_at"], row["ended_at"]) == (None, None)
