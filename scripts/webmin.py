"""Pack the Webmin module: webmin/elsa/ as build/elsa.wbm.gz, the same bytes for the same files."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
from pathlib import Path

from elsa import __version__

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "webmin" / "elsa"
TARGET = ROOT / "build" / "elsa.wbm.gz"


def main() -> None:
    """Write the package and print its path."""
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(packed())
    sys.stdout.write(f"{TARGET.relative_to(ROOT)}\n")


def packed() -> bytes:
    """Return the package."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(MODULE.rglob("*")):
            if path.is_file():
                _add(archive, path)
    return gzip.compress(tar.getvalue(), compresslevel=9, mtime=0)


def _add(archive: tarfile.TarFile, path: Path) -> None:
    """Add a file: its owner, its time and the umask of this checkout do not matter."""
    content = path.read_bytes()
    if path.name == "module.info":
        content += f"version={__version__}\n".encode()
    entry = tarfile.TarInfo(str(Path("elsa") / path.relative_to(MODULE)))
    entry.size = len(content)
    entry.mode = 0o755 if path.suffix == ".cgi" else 0o644
    archive.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    main()
