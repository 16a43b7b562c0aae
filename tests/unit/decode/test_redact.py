"""Secrets are found wherever in a command line they stand, and what is none stays."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elsa.config import Config
from elsa.decode.redact import HIDDEN, Redactor

REDACT = Redactor(Config().redact, Config().redact_options)
S = "Hunter2"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["sh", "-c", f"A_TOKEN={S} B_PASSWORD='{S} x' make -j8"],
            ["sh", "-c", "A_TOKEN=*** B_PASSWORD=*** make -j8"],
        ),
        (
            ["sh", "-c", f"tool --password {S} --user joe; ls"],
            ["sh", "-c", "tool --password *** --user joe; ls"],
        ),
        (
            ["bash", "-lc", f"curl -u joe:{S} https://a:{S}@host/x | cat"],
            ["bash", "-lc", "curl -u joe:*** https://***@host/x | cat"],
        ),
        (
            ["sh", "-c", f"curl -H 'Authorization: Bearer {S}' https://h"],
            ["sh", "-c", "curl -H 'Authorization: ***' https://h"],
        ),
        (["sh", "-c", f'sh -c "mysql -p{S} db"'], ["sh", "-c", "sh -c 'mysql -p*** db'"]),
        (["mysqldump", "-uroot", f"-p{S}", "db"], ["mysqldump", "-uroot", "-p***", "db"]),
        (["sudo", "/usr/bin/mysql", f"-p{S}"], ["sudo", "/usr/bin/mysql", "-p***"]),
        (["sshpass", "-p", S, "ssh", "host"], ["sshpass", "-p", "***", "ssh", "host"]),
        (["mkdir", "-px", "a"], ["mkdir", "-px", "a"]),
        (["curl", f"-ujoe:{S}"], ["curl", "-ujoe:***"]),
        (["curl", f"--user=joe:{S}"], ["curl", "--user=joe:***"]),
        (["wget", f"https://h/?token={S}&page=2"], ["wget", "https://h/?token=***&page=2"]),
        (
            ["docker", "run", "-e", f"DB_PASSWORD={S} {S}", "x"],
            ["docker", "run", "-e", "DB_PASSWORD=***", "x"],
        ),
        (["tool", f"--header=Authorization: Bearer {S}"], ["tool", "--header=Authorization: ***"]),
        (["tool", f"--build-arg=NPM_TOKEN={S} {S}"], ["tool", "--build-arg=NPM_TOKEN=***"]),
        (
            ["python", "-c", f"connect(password='{S}', port=1)"],
            ["python", "-c", "connect(password=*** port=1)"],
        ),
        (["tool", f'["--password", "{S}", "x"]'], ["tool", '["--password", "***", "x"]']),
        (["sh", "-c", f"read x\nTOKEN={S}\nmake all"], ["sh", "-c", "read x\nTOKEN=***\nmake all"]),
        (["tool", "password", "=", S], ["tool", "password", "=", "***"]),
        (["tool", f"password = {S}"], ["tool", "password = ***"]),
        (["python", "-c", f"password = '{S} x'; f()"], ["python", "-c", 'password = "***"; f()']),
        (
            ["psql", "-c", f"alter user a password '{S} x' valid"],
            ["psql", "-c", 'alter user a password "***" valid'],
        ),
        (["curl", "-sSu", f"joe:{S}"], ["curl", "-sSu", "joe:***"]),
        (["make", "-j8", "CC=gcc -O2", "all"], ["make", "-j8", "CC=gcc -O2", "all"]),
        (
            ["sh", "-c", "for i in 1 2; do echo \"$i\" 'a b'; done"],
            ["sh", "-c", "for i in 1 2; do echo \"$i\" 'a b'; done"],
        ),
    ],
)
def test_only_the_secret_is_hidden(arguments: list[str], expected: list[str]) -> None:
    assert REDACT(arguments) == expected


words = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
secrets = st.text(
    st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="-"),
    min_size=1,
    max_size=10,
).map(lambda text: f"Q{text}ZQ")
CARRIERS: list[Callable[[str], list[str]]] = [
    lambda secret: ["tool", f"--password={secret}"],
    lambda secret: ["tool", "--api-key", secret],
    lambda secret: ["env", f"FOO_TOKEN={secret}", "true"],
    lambda secret: ["curl", "-H", f"X-Auth: {secret}"],
    lambda secret: ["curl", "-u", f"joe:{secret}"],
    lambda secret: ["mysql", f"-p{secret}"],
    lambda secret: ["sshpass", "-p", secret],
]


@given(st.sampled_from(CARRIERS), secrets, st.lists(words, max_size=3), st.integers(0, 4))
def test_a_secret_is_nowhere_however_deep_the_scripts_are_nested(
    carrier: Callable[[str], list[str]], secret: str, more: list[str], depth: int
) -> None:
    arguments = [*carrier(secret), *(word for word in more if "ZQ" not in word)]
    for _ in range(depth):
        arguments = ["sh", "-c", shlex.join(arguments)]
    hidden = " ".join(REDACT(arguments))
    assert HIDDEN in hidden
    assert "ZQ" not in hidden


@given(st.lists(st.text(max_size=40), max_size=5))
def test_any_arguments_are_taken_and_as_many_come_back(arguments: list[str]) -> None:
    assert len(REDACT(arguments)) == len(arguments)


@given(st.lists(st.text("abc -'\"\\;=:/$", max_size=40), max_size=4))
def test_arguments_without_secrets_stay_as_they_are(arguments: list[str]) -> None:
    plain = [argument for argument in arguments if "-u" not in argument and "://" not in argument]
    assert Redactor("Hunter2", "")(plain) == plain


PIECES = [
    *(
        "-u",
        "-su",
        "-uroot:pw",
        "-u'root:pw'",
        '-u"a b:c"',
        "root:pw",
        "-",
        "u",
        ":",
        "'",
        '"',
        " ",
        "\\",
        "=",
        "--user",
        "-unwind",
        "x-u",
    ),
    *(
        "\n",
        ";",
        "''",
        "sh",
        "-c",
        "mysql",
        "-pX",
        "-p",
        "password",
        "TOKEN",
        "bearer",
        "http://",
        "x",
        "@",
    ),
]


@settings(max_examples=1000)
@given(st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join), max_size=4))
def test_the_fast_search_that_decides_most_lines_overlooks_no_secret(arguments: list[str]) -> None:
    quickly = REDACT(arguments)
    thoroughly = Redactor(Config().redact, Config().redact_options)
    thoroughly._hint = re.compile("")
    assert quickly == thoroughly(arguments)


@pytest.mark.parametrize(
    "piece",
    [
        "-u ",
        "-ux",
        " -ux",
        "pass ",
        "x_pass = ",
        "pass",
        "pass=",
        "'",
        '"',
        "\\",
        "('",
        '\'"pass":',
        "-p ",
        "a:",
        '"pass" : \'x',
        'pass"="',
    ],
)
def test_no_argument_makes_it_slow(piece: str) -> None:
    """A step per character, not per pair of them: else these would take minutes."""
    REDACT(["sh", "-c", piece * (16384 // len(piece))])


def test_both_empty_switches_it_off() -> None:
    arguments = ["mysql", f"--password={S}", f"-p{S}", f"https://joe:{S}@host"]
    assert Redactor("", "")(arguments) == arguments
    assert S in Redactor("", "mysql:p")(arguments)[1]


@pytest.mark.parametrize(
    ("names", "options"),
    [
        ("(", ""),
        ("x{99999999999}", ""),
        ("(" * 5000, ""),
        ("x", "mysql"),
        ("x", "mysql:-"),
        ("x", ":p"),
    ],
)
def test_what_makes_no_sense_is_refused(names: str, options: str) -> None:
    with pytest.raises(ValueError, match=r"is (no regular|not of the form)"):
        Redactor(names, options)


def test_a_pattern_that_another_python_may_read_differently_is_refused() -> None:
    with pytest.raises(ValueError, match="no regular expression: Possible set union"):
        Redactor("secre[t|token||x]", "")
