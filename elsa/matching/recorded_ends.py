"""Gives processes whose end was not received the end that is in their record."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from itertools import product

from elsa.matching.host_boots import Boot
from elsa.matching.pairing import ACCT_TICK_NS
from elsa.state.codes import End, Join
from elsa.units import SECOND_NS

# Processes whose end was not received but is in their record. SQLite is told the index: without it,
# it would read every process of the boot.
_ENDS_IN_RECORDS = """
    select process.id, start_ns, etime, exitcode, acct.ended_s, late_s,
           iif(end_source = {reused}, elapsed_ns, null)
    from process indexed by {index} join acct on acct.process_id = process.id
    where ({which}) and boot_id = ?"""
# The record has the status of the leader, which may not be that of a process with several threads.
_SET_END = """
    update process
    set elapsed_ns = ?, end_source = ?, end_clock_id = ?,
        exit_status = coalesce(exit_status,
            iif((select threads from usage where process_id = process.id) > 1, null, ?))
    where id = ?"""


def close_from_records(
    connection: sqlite3.Connection, boots: Iterable[Boot], *, collector_running: bool
) -> None:
    """Give incarnations of these boots whose exit was not received the end that is in their record.

    Processes that seem to run are left to the collector while it runs: it receives their end
    itself. While it does not, they end only by a record that is certainly theirs: the collector
    loads those that run when it starts, with their jobs.
    """
    inexact = {"process_inexact": "end_source = 2 or end_source >= 4"}
    if not collector_running:
        inexact["process_running"] = f"elapsed_ns is null and join_outcome = {Join.EXACT:d}"
    for boot, (index, which) in product(boots, inexact.items()):
        query = _ENDS_IN_RECORDS.format(index=index, which=which, reused=int(End.REUSED))
        rows = connection.execute(query, (boot.id,)).fetchall()
        for id_, start_ns, etime, exitcode, ended, late_s, most_ns in rows:
            elapsed_ns = int(etime) * ACCT_TICK_NS
            if late_s is not None:  # etime was cut, and the second of the end may say more
                end_ns = boot.clocks.monotonic_ns(ended * SECOND_NS)
                elapsed_ns = max(elapsed_ns, end_ns - start_ns)
            if most_ns is not None:  # another process had its pid then
                elapsed_ns = min(elapsed_ns, most_ns)
            end_clock = boot.clocks.at(start_ns + elapsed_ns)
            connection.execute(_SET_END, (elapsed_ns, End.ACCT, end_clock.id, exitcode, id_))
