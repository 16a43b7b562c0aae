"""Find sql/ and migrations/: inside the installed package, or at the top of the repository in a
checkout.
"""

from __future__ import annotations

import re
from pathlib import Path

import elsa

_OF_WAREHOUSE = ("process", "job", "sum", "audit", "doc")


def folder(name: str) -> Path:
    """Path of the folder `sql` or `migrations`."""
    package = Path(elsa.__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


def views(*folders: str) -> list[Path]:
    """The view files of the warehouse, or of other folders, in the order in which to create them:
    each view after the views that it reads.
    """
    files = {
        path.stem: path
        for name in folders or _OF_WAREHOUSE
        for path in sorted((folder("sql") / name).glob("*.sql"))
    }
    ordered: dict[str, Path] = {}

    def place(name: str) -> None:
        if name in ordered:
            return
        words = set(
            re.findall(r"\w+", re.sub(r"--.*", "", files[name].read_text(encoding="utf-8")))
        )
        for other in sorted(words & files.keys() - {name}):
            place(other)
        ordered[name] = files[name]

    for name in files:
        place(name)
    return list(ordered.values())


def over(view: str, **rows: str) -> str:
    """A view over some rows only, for a from clause: each select of `rows` hides the view or table
    of its name, which the view reads.
    """
    files = (folder("sql") / name / f"{view}.sql" for name in _OF_WAREHOUSE)
    (path,) = filter(Path.is_file, files)
    hidden = ",\n".join(f"{name} as ({select})" for name, select in rows.items())
    return f"(with {hidden} select * from (\n{path.read_text(encoding='utf-8')}))"


# Read at import: a daemon keeps its version even if its package is upgraded or removed.
_HEAD = max(
    path.name for path in (folder("migrations") / "versions").glob("[0-9][0-9][0-9][0-9]_*.py")
)[:4]


def head() -> str:
    """The newest revision that this version of ELSA knows: migrations/versions/NNNN_*.py."""
    return _HEAD
