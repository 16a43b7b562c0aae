"""What `elsa alert` has reported already, in a file of its own: so each thing is reported once, and
again only if the command that it was handed to failed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from elsa.errors import ConfigError, PrivilegeError, RetryError
from elsa.kernel import safe_paths


class Reported(NamedTuple):
    """Up to where a warehouse was looked at."""

    until_ns: int
    """Real time of the last look."""
    last_job: int
    """Jobs up to this id were looked at, except `open_jobs`."""
    last_job_created_at_ns: int
    open_jobs: tuple[int, ...]
    last_gap: int
    silent_since: str | None
    """The silence of jobd that was reported, if it lasts."""


def path_for(db: Path) -> Path:
    """The file of this user: beside the warehouse where he may write, or else at home."""
    folder = Path(os.path.realpath(db)).parent
    if os.access(folder, os.W_OK):
        return Path(f"{os.path.realpath(db)}-alerts.json")
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    return home / "elsa/alerts.json"


@contextmanager
def only(path: Path) -> Iterator[None]:
    """Hold the lock of a file of reported things. Raises RetryError if another process has it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        safe_paths.check(path)
        if safe_paths.others_write(path.parent):
            raise PrivilegeError(
                f"{path.parent}: others can write this folder; name a file in a"
                " folder of your own with --state"
            )
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(f"{path}.lock", flags, 0o600)
    except OSError as error:
        raise safe_paths.translated(error, path, "name another file with --state") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RetryError(f"{path}: another elsa alert is at work; try again") from None
        yield
    finally:
        os.close(lock)


def read(path: Path) -> Reported | None:
    """What was reported; None if nothing was. Raises ConfigError if the file is damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        reported = Reported(**values | {"open_jobs": tuple(map(int, values["open_jobs"]))})
        sum((*reported[:3], *reported.open_jobs, reported.last_gap))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise safe_paths.translated(error, path, "name another file with --state") from None
    except (ValueError, TypeError, KeyError):
        raise ConfigError(
            f"{path}: does not say what was reported already; remove it, and give --since once to"
            " report what happened meanwhile"
        ) from None
    return reported


@contextmanager
def replacing(path: Path, reported: Reported) -> Iterator[None]:
    """Write what will have been reported, and put it in place if the body succeeds: a full disk is
    noticed before anything is reported.
    """
    new = Path(f"{path}.new")
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(reported._asdict(), file)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise safe_paths.translated(error, path, "name another file with --state") from None
    try:
        yield
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    new.replace(path)
