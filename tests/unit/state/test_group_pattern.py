"""Patterns of group paths: what they match, and which are refused for what they could cost."""

from __future__ import annotations

import pytest

from elsa.state.group_pattern import DEEPEST, GroupPattern, expression


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        (r"/a/b", "/a/b", (2, {})),
        (r"/a/b", "/a/b/c", (2, {})),
        (r"/a/b", "/a", None),
        (r"/a/b", "/x/a/b", None),
        (r"/**/b", "/b/b", (1, {})),
        (r"/**/b", "/x/y/b/b", (3, {})),
        (
            r"/.+\.slice**/(?P<u>.+)\.service",
            "/a.slice/b.slice/c.service/d.service",
            (3, {"u": "c"}),
        ),
        (r"/.+\.slice**/(?P<u>.+)\.service", "/a.slice/x/c.service", None),
        (r"/(?P<a>x)|(?P<b>y)", "/y", (1, {"b": "y"})),
        (r"/[^/]+/(?P<n>[0-9]+)", "/a/7", (2, {"n": "7"})),
        (r"/[]/]b", "/]b", (1, {})),
        (r"/a\/b", "/a/b", None),
        (r"/a\**", "/a***", (1, {})),
        (r"/", "/", (0, {})),
        (r"/", "/a", None),
        (r"/**", "/", (0, {})),
        (r"/**", "/a/b", (1, {})),
    ],
)
def test_the_shortest_beginning_of_a_path_that_matches_is_the_group(
    pattern: str, path: str, found: tuple[int, dict[str, str]] | None
) -> None:
    names = tuple(name for name in path.split("/") if name)
    assert GroupPattern(pattern).outermost(names) == found


def test_groups_deeper_than_the_limit_are_not_looked_at() -> None:
    pattern = GroupPattern("/a**/b")
    assert pattern.outermost(("a",) * (DEEPEST - 1) + ("b",)) == (DEEPEST, {})
    assert pattern.outermost(("a",) * DEEPEST + ("b",)) is None


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+",
        "(a|a)*b",
        "(?:ab|cd)*",
        ".*.*.*",
        ".+a.+b.+c",
        "(x{0,30}){0,30}",
        "(?=(a+)+b).*",
        "((a{1,9}){1,9}){1,9}",
        "(?:(?:.+,)+)x",
        "(a)?(?(1)(b+)+|c)",
        "(?>(a+)+b)",
        "(?:(a+)+b)++",
    ],
)
def test_an_expression_that_could_try_for_long_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="could try for long"):
        expression(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("(?P<a>[^-]+)-(?P<b>[^.]+)\\.service", "acme-web.service"),
        ("[^-]++-[^-]++-.+", "a-b-c"),
        ("\\w{1,30}-\\w{1,30}-\\w{1,30}", "a-b-c"),
        ("(?:ab|cd)*+", "abcdab"),
        ("(docker|libpod)-[0-9a-f]{64}\\.scope", "docker-" + "0" * 64 + ".scope"),
        ("(?P<q>['\"]).*(?P=q)", "'x'"),
        ("(?i)backup.*", "BackUp1"),
    ],
)
def test_an_expression_with_bounded_cost_is_taken(text: str, name: str) -> None:
    assert expression(text).fullmatch(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/b", "does not begin with a slash"),
        ("/a//b", "part without text"),
        ("/a/", "part without text"),
        ("/(a", "no regular expression"),
        ("/[a||b]", "no regular expression"),
        ("/(a/b)", "no regular expression"),
        ("/(?P<x>a)/(?P<x>b)", "'x' is used twice"),
        ("/(?P<x>a)**/b", "no named group"),
        ("/" + "(?:" * 330 + "a" + ")+" * 330, "nested too deeply"),
        ("/a" * 33, "more than 32 parts"),
    ],
)
def test_a_pattern_that_is_none_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GroupPattern(text)
