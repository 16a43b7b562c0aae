"""What people call a command line: the program or script that it is about, without the shells and
helpers around it. Pure.

`/bin/sh -c 'cd /srv && nice -n 19 ./backup.sh --full'` is `backup.sh`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

SHELLS = frozenset(("sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "fish", "busybox"))
# Programs that start another: their options that take a value, and how many words stand before the
# other's name.
LAUNCHERS = {
    "chronic": ("", 0),
    "chrt": ("TPD", 1),
    "env": ("uCS", 0),
    "exec": ("a", 0),
    "flock": ("wE", 1),
    "ionice": ("cn", 0),
    "nice": ("n", 0),
    "nohup": ("", 0),
    "setsid": ("", 0),
    "stdbuf": ("ioe", 0),
    "sudo": ("ugCDhpRT", 0),
    "systemd-cat": ("tpl", 0),
    "taskset": ("", 1),
    "time": ("fo", 0),
    "timeout": ("ks", 1),
}
# What a script does before or around what it is about.
_PREPARATION = frozenset(
    (
        *("[", "[[", "test", "cd", ":", ".", "source", "export", "set", "unset", "umask"),
        *("ulimit", "command", "type", "which", "sleep", "echo", "printf", "true", "trap", "wait"),
    )
)
_RESERVED = frozenset(
    ("if", "then", "else", "elif", "fi", "while", "until", "do", "done", "!", "{")
)
_INTERPRETER = re.compile(r"(?:python|perl|ruby|node|nodejs|php|Rscript|lua)[0-9.]*")
_ASSIGNMENT = re.compile(r"\w+=.*", re.DOTALL)
# Enough of a script to see what it is about.
_MOST_CHARACTERS = 1000
_DEEPEST = 4


def command_name(arguments: Sequence[str], depth: int = 0) -> str | None:
    """The name, or None where the arguments are a shell's that says nothing of what it will run."""
    words = list(arguments)
    while words and _ASSIGNMENT.fullmatch(words[0]):
        del words[0]
    if not words:
        return None
    program = _base(words[0].removeprefix("-"))
    if depth < _DEEPEST:
        if program in SHELLS:
            return _of_shell(words[1:], depth)
        if program in LAUNCHERS:
            return command_name(_launched(program, words[1:]), depth + 1) or program
    if program == "run-parts" and len(words) > 1:
        return _base(words[-1]) or program  # cron.daily says more
    if _INTERPRETER.fullmatch(program) and len(words) > 1 and not words[1].startswith("-"):
        return _base(words[1]) or program
    return program or None


def _base(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _of_shell(words: Sequence[str], depth: int) -> str | None:
    for place, word in enumerate(words):
        if word.startswith("-") and not word.startswith("--") and "c" in word:
            script = next(iter(words[place + 1 :]), "")
            names = list(_simple_commands(script, depth))
            real = [name for name in names if name not in _PREPARATION]
            return next(iter(real or names[-1:]), None)
        if not word.startswith(("-", "+")):
            return _base(word) or None
    return None


def _launched(program: str, words: Sequence[str]) -> list[str]:
    """The words that a launcher executes."""
    with_value, before = LAUNCHERS[program]
    place = 0
    while place < len(words) and words[place].startswith("-"):
        option = words[place]
        place += 2 if len(option) == 2 and option[1] in with_value else 1
        if option == "--":
            break
    rest = list(words[place:])
    while program in ("env", "sudo") and rest and _ASSIGNMENT.fullmatch(rest[0]):
        del rest[0]
    return rest[before:]


def _simple_commands(script: str, depth: int) -> Iterator[str]:
    """The names of the commands of a script, in their order."""
    words: list[str] = []
    for word in [*_words(script[:_MOST_CHARACTERS]), ";"]:
        if word and set(word) <= set(";&|()"):
            name = command_name(words, depth + 1)
            if name is not None:
                yield name
            words = []
        elif words or word not in _RESERVED:
            words.append(word)


def _words(script: str) -> list[str]:
    lines = [line for line in script.split("\n") if not line.lstrip().startswith("#")]
    lexer = shlex.shlex(" ; ".join(lines), posix=True, punctuation_chars=";&|()")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:  # a quote that is never closed
        return script.split()
