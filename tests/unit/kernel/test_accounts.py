"""Users and groups: a name is a name first, and a number only where nobody has that name."""

from __future__ import annotations

import grp
import pwd
from types import SimpleNamespace

import pytest

from elsa.kernel import accounts


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host where login 104711 has uid 7, and group 20 has gid 8."""
    users = {"104711": 7, "anna": 1000}
    monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid=users[name]))
    groups = {"20": 8, "staff": 50}
    monkeypatch.setattr(grp, "getgrnam", lambda name: SimpleNamespace(gr_gid=groups[name]))


@pytest.mark.parametrize(
    ("text", "uid"),
    [
        ("104711", 7),
        ("uid:104711", 104711),
        ("anna", 1000),
        ("1000", 1000),
        ("uid:7", 7),
        ("4294967294", 2**32 - 2),
    ],
)
def test_a_user_is_a_name_first_and_a_number_where_it_is_none(text: str, uid: int) -> None:
    assert accounts.uid(text) == uid


@pytest.mark.parametrize(("text", "gid"), [("20", 8), ("gid:20", 20), ("staff", 50), ("21", 21)])
def test_a_group_likewise(text: str, gid: int) -> None:
    assert accounts.gid(text) == gid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nobody-here",
        "-1",
        "4294967295",
        "99999999999999999999",
        "uid:",
        "uid:anna",
        "\u0663",
        "1 ",
    ],
)
def test_anything_else_is_no_user(text: str) -> None:
    with pytest.raises(KeyError):
        accounts.uid(text)
