"""What is known of the accounting switch without throwing it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from elsa.errors import DataError, InputMissingError, PrivilegeError, UnavailableError
from elsa.kernel.accounting import Thresholds, _refusal, free_percent, thresholds


def test_the_thresholds_are_read_from_proc(tmp_path: Path) -> None:
    folder = tmp_path / "sys/kernel"
    folder.mkdir(parents=True)
    with pytest.raises(UnavailableError, match="CONFIG_BSD_PROCESS_ACCT"):
        thresholds(tmp_path)
    (folder / "acct").write_text("4\t2\t30\n")
    assert thresholds(tmp_path) == Thresholds(resume_percent=4, suspend_percent=2, check_seconds=30)
    for text in ("", "4 2\n", "a b c\n"):
        (folder / "acct").write_text(text)
        with pytest.raises(DataError, match="three numbers"):
            thresholds(tmp_path)


def test_free_space_is_a_percentage(tmp_path: Path) -> None:
    assert 0 <= free_percent(tmp_path) <= 100
    with pytest.raises(InputMissingError):
        free_percent(tmp_path / "none")


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EPERM, PrivilegeError),
        (errno.ENOSYS, UnavailableError),
        (errno.ENOENT, InputMissingError),
        (errno.EACCES, DataError),
        (errno.EROFS, DataError),
    ],
)
def test_every_refusal_of_the_kernel_has_an_error_of_ours(
    number: int, error: type[Exception]
) -> None:
    assert type(_refusal(number, Path("/x"))) is error
