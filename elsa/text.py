"""Text that people are shown: safe, whoever chose it."""

from __future__ import annotations


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
