"""Text that people are shown: safe, whoever chose it."""

from __future__ import annotations

import shlex


def printable(value: object) -> str:
    """Text that cannot move the cursor, turn the line around or break it: what is not printable is
    spelled out.
    """
    text = str(value)
    return text if text.isprintable() else "".join(map(_spelled, text))


def _spelled(character: str) -> str:
    if character.isprintable():
        return character
    if (
        "\udc80" <= character <= "\udcff"
    ):  # a byte that is no part of UTF-8, as Python has it from the command line
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def cleaned(text: str) -> str:
    """A text without control characters, which a process name may have: they become question
    marks.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def counted(number: int, noun: str) -> str:
    """A number with its noun, in singular or plural."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def was(number: int) -> str:
    """The verb for a number of things in the past."""
    return "was" if number == 1 else "were"


def quoted(word: str) -> str:
    r"""A word of a command that people copy into a shell: what is not printable stands as \xNN in
    $'...', since a terminal would take it for keys that were pressed.
    """
    if word.isprintable():
        return shlex.quote(word)
    return f"$'{''.join(map(_in_quotes, word))}'"


def _in_quotes(character: str) -> str:
    if character.isprintable() and character not in "\\'":
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
