"""What commands, users and groups used, on the whole host or in jobs, and in a window."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from elsa.report import completeness, measures, rolled
from elsa.report.output import Output
from elsa.report.query import Query, rows, select
from elsa.report.render import Report
from elsa.report.selection import Selection

SHOWN = ("processes", "records", "elapsed_s", "user_s", "system_s", "cpu_s", "rss_kib", "read_bytes", "write_bytes")
# Asked for whatever is shown: for what is left out, and for the words beside it.
_ALWAYS = ("processes", "running", "records", "with_usage", "with_ticks", "usage_partial", "cpu_s", "run_ns")


class By(NamedTuple):
    """What is summed by."""

    noun: str
    keys: dict[str, str]
    """The key columns and their expressions."""
    shown: tuple[str, ...]
    rollup: str
    """Which has the sums of long windows."""


COMMANDS = By("command", {"command": "u.command", "forked_only": "u.forked_only"}, ("command", "forked_only"), "rollup_command")
"""By command and whether it ever called exec, which is GNU sa's key."""
USERS = By("user", {"user": "user_name(u.uid)", "uid": "u.uid"}, ("user",), "rollup_user")
"""By real uid."""
GROUPS = By("group", {"group": "group_name(u.gid)", "gid": "u.gid"}, ("group",), "rollup_user")
"""By real gid, which only accounting records tell."""


def columns(by: By, selection: Selection) -> dict[str, str]:
    """Every column that there is, with its expression."""
    if rolled.suits(by.rollup, selection):
        sums = rolled.sums(by.rollup)
        return by.keys | {key: sums[key] for key in measures.sums()}
    part = measures.share(selection.window) if selection.clip else None
    marked = {"estimate": "1"} if selection.clip else {}
    return by.keys | measures.sums(part) | marked


def query(by: By, selection: Selection, output: Output) -> tuple[Query, tuple[str, ...]]:
    """The sums by key, the dearest first; and the columns to write."""
    known = columns(by, selection)
    shown = output.choose(known, [*by.shown, *SHOWN, *(["estimate"] if selection.clip else [])])
    chosen = {key: known[key] for key in dict.fromkeys((*shown, *_ALWAYS))}
    order = output.order(known, f"{known['cpu_s']} desc nulls last, processes desc, {', '.join(by.keys.values())}")
    if rolled.suits(by.rollup, selection):
        source = rolled.source(by.rollup, selection.window, *selection.choices)
    else:
        source = rows(selection, [*chosen.values(), order])
    text = f"{select(chosen)}\n{source.sql}\ngroup by {', '.join(by.keys.values())}\n{order}"
    return Query(text, source.values), shown


def usage(connection: sqlite3.Connection, by: By, selection: Selection, output: Output, *, everything: bool = False) -> Report:
    """Sums by key, the dearest first. Unless `everything`, those are left out of which nothing is known yet, since all still run."""
    asked, shown = query(by, selection, output)
    found = asked.run(connection)
    names = tuple(column[0] for column in found.description)
    groups = found.fetchall()  # the groups are few
    processes, running, records = (names.index(key) for key in ("processes", "running", "records"))
    kept = [row for row in groups if everything or row[records] or row[processes] > row[running]]
    words = completeness.words(connection, selection) + completeness.measured(names, groups) + completeness.estimate(selection)
    words += completeness.left_out(len(groups) - len(kept), by.noun) + completeness.cut(len(kept), output.limit)
    return Report(names, shown, kept[: output.limit], words, nothing=completeness.nothing(connection, selection))
