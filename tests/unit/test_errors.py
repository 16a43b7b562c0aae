"""An error message is one line that a terminal can show, whatever names it contains."""

from __future__ import annotations

import pytest

from elsa.errors import ElsaError, InputMissingError


@pytest.mark.parametrize("error", [ElsaError, InputMissingError])
def test_an_error_is_one_printable_line(error: type[ElsaError]) -> None:
    assert str(error("\udcff\n\x1b[2J\u202ea: no such file")) == (
        r"\xff \x1b[2J\u202ea: no such file"
    )
