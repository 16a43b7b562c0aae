"""An expression that is taken is done soon with the worst names, whatever it is made of."""

from __future__ import annotations

import time

from hypothesis import assume, example, given
from hypothesis import strategies as st

from elsa.state.group_pattern import LONGEST_NAME, expression

atoms = st.sampled_from(("a", "b", "[ab]", "[^b]", ".", r"\w", "ab"))
repeats = st.sampled_from(
    ("*", "+", "?", "*?", "+?", "{1,5}", "{0,30}", "{3}", "*+", "++", "{2,9}+")
)
opened = st.sampled_from(("(?=", "(?!", "(?>", "("))
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("(?:{}){}".format, inner, repeats),
        st.builds("{}{})".format, opened, inner),
    ),
    max_leaves=8,
)
# Names that repeat what the expressions are made of, and fail at the end.
NAMES = tuple((unit * LONGEST_NAME)[: LONGEST_NAME - 1] + "!" for unit in ("a", "b", "ab", "aab"))
MOST_S = 0.2
"""Fifty times of what the worst of 80,000 such expressions took."""


@given(expressions)
@example("(?:a|b)*?a(?:a|b)*?")
@example(".+a.+b")
def test_no_name_keeps_an_expression_busy(text: str) -> None:
    try:
        pattern = expression(text)
    except ValueError as error:
        assert "could try for long" in str(error)
        assume(False)
    for name in NAMES:
        began = time.thread_time()
        pattern.fullmatch(name)
        assert time.thread_time() - began < MOST_S
