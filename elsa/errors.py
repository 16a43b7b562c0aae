"""The one family of errors that a user may meet: a sentence that says what to do, and the exit code
that belongs to it.

Whatever else escapes is a bug. OSError and sqlite3.Error are translated once, where they occur.
"""

from __future__ import annotations

from elsa.text import printable

# Exit codes, after sysexits.h where it has one.
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_DATA = 65
EXIT_NO_INPUT = 66
EXIT_UNAVAILABLE = 69
EXIT_RETRY = 75
EXIT_PERMISSION = 77
EXIT_CONFIG = 78
# As timeout(1) has it: the command was killed since it exceeded its budget.
EXIT_KILLED = 124


class ElsaError(Exception):
    """An error that a message of one line explains; the command ends with `exit_code`."""

    exit_code = EXIT_FAILURE

    def __str__(self) -> str:
        """The sentence in one line, safe to show whoever chose the names in it."""
        return printable(super().__str__().replace("\n", " "))


class UsageError(ElsaError):
    """The request makes no sense as given (an unknown job, a pid that is not there)."""

    exit_code = EXIT_USAGE


class DataError(ElsaError):
    """A file or stream is not what it should be (not accounting, torn, an old version)."""

    exit_code = EXIT_DATA


class InputMissingError(ElsaError):
    """A file that was asked for is not there or cannot be read."""

    exit_code = EXIT_NO_INPUT


class UnavailableError(ElsaError):
    """A service that is needed does not answer (no jobd, no kernel support)."""

    exit_code = EXIT_UNAVAILABLE


class RetryError(ElsaError):
    """It may well work later (warehouse locked, disk full)."""

    exit_code = EXIT_RETRY


class PrivilegeError(ElsaError):
    """The caller lacks a privilege or may not touch what belongs to another."""

    exit_code = EXIT_PERMISSION


class ConfigError(ElsaError):
    """A setting, file or environment variable is wrong, or the warehouse needs an upgrade."""

    exit_code = EXIT_CONFIG
