"""Command lines as text: quoted so that they could be typed, and without secrets."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.config import Config
from elsa.decode.cmdline import CUT, MOST, decode_cmdline
from elsa.decode.redact import HIDDEN, Redactor

REDACT = Redactor(Config().redact, Config().redact_options)


def decoded(*arguments: str) -> str | None:
    return decode_cmdline(b"".join(argument.encode() + b"\0" for argument in arguments), REDACT)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("ls", "-l", "a b"), "ls -l 'a b'"),
        (("mysql", "--password=hunter2", "db"), "mysql '--password=***' db"),
        (("tool", "--api-key", "abc", "run"), "tool --api-key '***' run"),
        (("env", "MY_SECRET_TOKEN=abc", "true"), "env 'MY_SECRET_TOKEN=***' true"),
        (("curl", "https://joe:hunter2@host/x"), "curl 'https://***@host/x'"),
        (("git", "clone", "https://hunter2@host/x"), "git clone 'https://***@host/x'"),
        (("curl", "-H", "Authorization: Bearer hunter2"), "curl -H 'Authorization: ***'"),
        (("curl", "--header=X-Api-Token:hunter2"), "curl '--header=X-Api-Token:***'"),
        (
            ("curl", "-d", '{"password": "hunter2", "a": 1}'),
            """curl -d '{"password": "***", "a": 1}'""",
        ),
        (("curl", "-u", "joe:hunter2"), "curl -u 'joe:***'"),
        (
            ("tool", "--private-key=x", "--access_key", "y", "--pwd=z"),
            "tool '--private-key=***' --access_key '***' '--pwd=***'",
        ),
        (("passwd", "joe"), "passwd joe"),
        (("tool", "--token", "--verbose"), "tool --token --verbose"),
        (("printf", "a\nb"), "printf 'a\\x0ab'"),
    ],
)
def test_arguments_are_quoted_and_secrets_left_out(arguments: tuple[str, ...], text: str) -> None:
    assert decoded(*arguments) == text


def test_no_arguments_are_unknown_not_empty() -> None:
    assert decode_cmdline(b"", REDACT) is None


@pytest.mark.parametrize("length", [MOST + 1, 4 * MOST - 1, 4 * MOST, 10 * MOST])
def test_a_long_command_line_is_cut_and_says_so(length: int) -> None:
    assert decoded("x" * length) == "x" * (MOST - 1) + CUT


def test_a_command_line_is_marked_as_cut_if_the_rest_was_never_read() -> None:
    line = decoded("tool", "--password", "x" * 4 * MOST, "more")
    assert line == "tool --password '***'" + CUT


@pytest.mark.parametrize(
    "arguments", [("x" * MOST,), ("x" * (MOST - 2), CUT), ("tool", CUT), ("tool", "wait" + CUT)]
)
def test_a_whole_command_line_is_never_marked_as_cut(arguments: tuple[str, ...]) -> None:
    line = decoded(*arguments)
    assert line is not None
    assert line.endswith(CUT) == (len(shlex.join(arguments)) > MOST)


@given(st.binary(max_size=300))
def test_any_bytes_become_one_printable_line(data: bytes) -> None:
    text = decode_cmdline(data, REDACT)
    assert text is None or text.isprintable()


@given(
    st.lists(
        st.text(
            st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\=:"),
            min_size=1,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_no_secret_can_be_typed_again(arguments: list[str]) -> None:
    text = decode_cmdline(
        b"\0".join(argument.encode() for argument in arguments) + b"\0", Redactor("", "")
    )
    assert text is not None
    assert shlex.split(text) == arguments


@given(st.text("abcXYZ0189", min_size=6))
def test_value_of_a_secret_option_is_nowhere_in_the_text(value: str) -> None:
    for arguments in (
        ("t", f"--password={value}"),
        ("t", "--secret", value),
        ("t", f"TOKEN={value}"),
    ):
        text = decoded(*arguments)
        assert text is not None
        assert value not in text
        assert HIDDEN in text
