"""Regular expressions that an administrator writes: compiled, or refused in one sentence. Pure."""

from __future__ import annotations

import re
import warnings


def compiled(text: str, flags: int = 0) -> re.Pattern[str]:
    """The compiled expression. Raises ValueError if the text is not a regular expression, or if
    another version of Python may read it differently.
    """
    try:
        with warnings.catch_warnings():
            # Such as [a||b], which another version of Python may read differently.
            warnings.simplefilter("error", FutureWarning)
            return re.compile(text, flags)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
