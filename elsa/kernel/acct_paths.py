"""Where distributions keep the accounting file: Debian, then Red Hat and its derivatives."""

from __future__ import annotations

from pathlib import Path

ACCT_FILES = (Path("/var/log/account/pacct"), Path("/var/account/pacct"))
