"""Arguments without their secrets: for what is stored or printed of command lines. Pure.

An argument may be a whole script (`sh -c '...'`), whose words may be quoted scripts in turn: so
there is one rule for a list of words, and every word that holds several is taken apart and given to
the same rule. What looks like a secret becomes `***`; in doubt more than it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from fnmatch import fnmatchcase

from elsa.decode.regex import compiled

HIDDEN = "***"
# Scripts within scripts; what lies deeper is hidden whole.
DEEPEST = 6
# user:password@ or token@ in a URL
_URL = re.compile(r"(?<=://)[^/@\s]{1,512}(?=@)")
_USER = re.compile(r"-[A-Za-z]{0,8}u|--user|--proxy-user")
_USER_JOINED = re.compile(r"(-u|--user=|--proxy-user=)([^:]+):.")
# A name, and what stands between it and its value; not the scheme of a URL
_NAMED = re.compile(r"([\w.-]{1,128})(?:=|:(?!//)\s{0,8})")
# What is left of a pair in quotes
_HIDDEN_ALREADY = re.compile(r"""["']?\*\*\*["']?[,;}\])]*""")
# What stands between Authorization: and the secret
_SCHEMES = ("bearer", "basic", "digest", "token", "negotiate")
# What ends a word of a shell, and a word: plain, escaped and quoted pieces. A quote that is never
# closed is an ordinary character.
_BETWEEN = r"\s;&|()<>"
_PIECE = rf"""\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^{_BETWEEN}\\'"]+|[\\'"]"""
_WORD = re.compile(rf"(?:{_PIECE})+", re.DOTALL)
_PIECES = re.compile(_PIECE, re.DOTALL)
_ESCAPED = re.compile(r'\\([$`"\\\n])')


class Redactor:
    """Knows what is secret by names (of options, variables and headers) and by options of programs
    that have no names for it.
    """

    def __init__(self, names: str, options: str) -> None:
        """`names` is a regular expression; `options` are words PROGRAM:LETTERS, where PROGRAM may
        have wildcards.

        Both empty: nothing is hidden, in any way. Raises ValueError for what is neither.
        """
        self._off = not names and not options
        self._options = [_option(word) for word in options.split()]
        names = names or "(?!)"
        self._names = compiled(names, re.IGNORECASE)
        # Most command lines have nothing of the kind, and are done with this.
        programs = "".join(
            "|" + re.escape(re.split(r"[*?[]", pattern)[0]) for pattern, _ in self._options
        )
        # A user's option is all of a word, or its value is joined to it: -unwind is none.
        user = r"(?<![\w-])-(?:[A-Za-z]{0,8}u(?![\w-])|u[^:]{1,512}:)"
        self._hint = re.compile(
            rf"(?i:{names}|bearer)|://[^/\s]*@|{user}|--(?:proxy-)?user{programs}"
        )
        value = r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
        # The lengths are there so that no argument can make this slow.
        key = rf"""["'][^"']{{0,64}}?(?:{names})[^"']{{0,64}}["']"""
        self._pair = re.compile(rf"({key}\s{{0,8}}(?:[:=,]|=>)\s{{0,8}}){value}", re.IGNORECASE)
        # `password = 'x'` of a language, `PASSWORD 'x'` of SQL
        name = rf"(?<![\w.-])\w{{0,64}}?(?:{names})\w{{0,64}}"
        self._literal = re.compile(
            rf"""({name}\s{{1,8}}(?:[:=]\s{{0,8}})?){value}(?!["'\w])""", re.IGNORECASE
        )
        self._inside = re.compile(
            rf"""((?:{names})[\w.-]{{0,64}}["'\]]{{0,4}}[:=]){value}?(?(2)|[^\s&]+)""",
            re.IGNORECASE,
        )

    def __call__(self, arguments: Sequence[str]) -> list[str]:
        """The same arguments without secrets."""
        if self._off or not self._hint.search("\n".join(arguments)):
            return list(arguments)
        return self._words(arguments, 0)

    def _words(self, words: Sequence[str], depth: int) -> list[str]:
        """One rule for the arguments of a process and for the words of a script: each word by what
        it is, and by the one before it.
        """
        result: list[str] = []
        letters = before = ""
        for word in words:
            letters = self._letters(word) or letters
            hidden = self._after(before, word, letters)
            if hidden is None:
                if len(word) > 2 and word[0] == "-" and word[1] in letters:
                    hidden = word[:2] + HIDDEN
                else:
                    hidden = self._word(word, depth, script=_runs_script(before))
            result.append(hidden)
            # `Authorization: Bearer x`, `password = x`: the value is still to come
            if word in ("=", ":"):
                before += word
            elif word.lower() not in _SCHEMES:
                before = word
        return result

    def _after(self, before: str, word: str, letters: str) -> str | None:
        """What becomes of a word because of the one before it; None: nothing."""
        if (
            not before
            or _HIDDEN_ALREADY.fullmatch(word)
            or word.lower() in _SCHEMES
            or word in ("=", ":")
        ):
            return None
        option = before.startswith("-") and "=" not in before
        if _USER.fullmatch(before) and ":" in word:
            return f"{word.partition(':')[0]}:{HIDDEN}"
        if word.startswith("--"):
            return None
        if option and len(before) == 2 and before[1] in letters:
            return HIDDEN
        named = option or before.endswith((":", "=")) or before.lower() in _SCHEMES
        if not named or " " in before:
            return None
        return HIDDEN if before.lower() == "bearer" or self._names.search(before) else None

    def _word(self, word: str, depth: int, *, script: bool) -> str:
        """A word by itself. As an argument it may be long, quoted, or a script."""
        known = 0 if script else self._up_to_value(word)
        if known:
            return word[:known] + HIDDEN
        joined = _USER_JOINED.match(word)
        if joined:
            return f"{joined[1]}{joined[2]}:{HIDDEN}"
        word = _URL.sub(HIDDEN, word)
        word = self._literal.sub(rf'\1"{HIDDEN}"', self._pair.sub(rf'\1"{HIDDEN}"', word))
        found = _WORD.findall(word)
        if len(found) > 1 or (found and found[0] != word):
            return self._script(word, found, depth)
        return self._inside.sub(rf"\1{HIDDEN}", word)

    def _up_to_value(self, word: str) -> int:
        """Where the value begins in `--name=value`, `NAME=value`, `Name: value` and `--header=Name:
        value`; 0: it is none of these.
        """
        position = 0
        while (match := _NAMED.match(word, position)) and match.end() < len(word):
            position = match.end()
            if self._names.search(match[1]):
                return position
        return 0

    def _script(self, text: str, found: list[str], depth: int) -> str:
        """A text of several words, which may be quoted, with its words changed and all between them
        kept.
        """
        if depth >= DEEPEST:
            return HIDDEN
        plain = [_unquoted(word) for word in found]
        changed = iter(self._words(plain, depth + 1))
        before = iter(plain)

        def put(match: re.Match[str]) -> str:
            old, new = next(before), next(changed)
            if new == old:
                return match[0]
            return shlex.quote(new) if match[0] != old and " " in new else new

        return _WORD.sub(put, text)

    def _letters(self, word: str) -> str:
        program = word.rpartition("/")[2]
        return next(
            (letters for pattern, letters in self._options if fnmatchcase(program, pattern)), ""
        )


def _option(word: str) -> tuple[str, str]:
    program, colon, letters = word.partition(":")
    if not (program and colon and letters.isalnum()):
        raise ValueError(f"{word!r} is not of the form PROGRAM:LETTERS")
    return program, letters


def _runs_script(before: str) -> bool:
    """Whether the next argument is a script, as after `sh -c`."""
    return before.startswith("-") and not before.startswith("--") and before.endswith("c")


def _unquoted(word: str) -> str:
    """A word as the shell would hand it over."""
    return _PIECES.sub(_piece, word) if "'" in word or '"' in word or "\\" in word else word


def _piece(match: re.Match[str]) -> str:
    piece = match[0]
    if len(piece) > 1 and piece[0] == "'":
        return piece[1:-1]
    if len(piece) > 1 and piece[0] == '"':
        return _ESCAPED.sub(r"\1", piece[1:-1])
    return piece[1:] if len(piece) > 1 and piece[0] == "\\" else piece
