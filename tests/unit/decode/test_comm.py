"""Command names as people write them, against names as the kernel keeps them."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.decode.comm import LONGEST, escape_comm, is_too_long, wanted


def _globs(name: str, pattern: str) -> bool:
    return bool(
        sqlite3.connect(":memory:").execute("select ? glob ?", (name, pattern)).fetchone()[0]
    )


@given(st.binary(min_size=1, max_size=40).filter(lambda raw: not set(raw) & set(b"\0*?[")))
def test_a_name_as_it_is_finds_what_the_kernel_kept_of_it(raw: bytes) -> None:
    kept = escape_comm(raw[:LONGEST])
    text = raw.decode("utf-8", "surrogateescape")
    if "\\" not in text:
        assert wanted(text) == kept
        assert is_too_long(text) == (len(raw) > LONGEST)
    assert wanted(escape_comm(raw)) == kept  # as a report shows it, too


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("compile-everything", "compile-everyth"),
        ("\u00e4" * 8, "\u00e4" * 7 + "\\xc3"),  # the kernel cuts a letter in two
        ("a\\b", "a\\\\b"),
        ("a\\\\b", "a\\\\b"),
        ("a\\xff", "a\\xff"),
        ("a\udcff", "a\\xff"),
        ("x\x1b", "x\\x1b"),
        ("gpj\u202eexe", "gpj\\xe2\\x80\\xaeexe"),
    ],
)
def test_what_is_written_is_looked_for_as_it_is_stored(text: str, stored: str) -> None:
    assert wanted(text) == stored


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        ("compile-everything*", ["compile-everyth"], ["compile-every", "xompile-everyth"]),
        ("compile-everyt?ing", ["compile-everyth"], ["compile-everyt"]),
        ("c*-everything-and-more", ["compile-everyth", "c-other-long-na"], ["xc"]),
        ("[cd]ompile-everything", ["compile-everyth", "dompile-everyth"], ["eompile-everyth"]),
        ("\u00e4*", ["\u00e4pfel"], ["apfel"]),
        ("*" + "\u00e4" * 8, ["abc"], []),
        ("cc*", ["cc1", "cc1plus"], ["gcc"]),
        ("very-long-name*x", ["very-long-namex"], ["very-long-namey"]),
    ],
)
def test_a_glob_that_is_too_long_is_cut_as_the_kernel_cuts(
    pattern: str, names: list[str], others: list[str]
) -> None:
    assert [name for name in names + others if _globs(name, wanted(pattern))] == names
