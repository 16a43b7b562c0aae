"""The folder of a lake: on this host, or in an object store that pyarrow knows. A file appears
whole or not at all, and is left alone if it has the same rows already.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from elsa.errors import ElsaError, UnavailableError, UsageError

try:
    import pyarrow as pa
    import pyarrow.fs as pa_fs
    import pyarrow.parquet as pq
except ImportError:
    raise UsageError(
        "Parquet needs pyarrow; install it with: pip install 'elsa-accounting[parquet]'"
    ) from None

# An object appears when its upload is complete, and cannot be renamed cheaply.
_OBJECT_STORES = frozenset({"s3", "gcs", "abfs"})
_DIGEST = b"elsa.digest"
# What kind of error it is, without what it is about.
_AWS = re.compile(r"AWS Error \w+")
# Rows of a row group: of smaller ones Parquet compresses less.
_ROWS_OF_GROUP = 100_000
# Rows are in the order of ends and ids, so that the differences of these are small.
_DELTA = ("process_id", "acct_id", "pid", "start_ns", "end_ns", "started_ns", "ended_ns")
_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string()}


def shown(place: str) -> str:
    """A path or URI as messages have it: without a password or key, or options that may be one."""
    scheme, is_uri, rest = place.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}" if is_uri else place


class Target:
    """A folder of Parquet files, by a path or by a URI such as s3://bucket/folder."""

    def __init__(self, place: str) -> None:
        self._place = shown(place)
        if "://" in place:
            try:
                self._fs, self._root = pa_fs.FileSystem.from_uri(place)
            except OSError as error:
                why = _AWS.search(str(error))
                raise UnavailableError(
                    f"{self._place}: the store has no such bucket, or does not answer"
                    f"{f' ({why[0]})' if why else ''}; for S3 its region may be written,"
                    " ?region=eu-central-1, and for a store that is not Amazon's"
                    " &endpoint_override=HOST:PORT"
                ) from None
            except pa.ArrowException:
                # What pyarrow says has the whole URI, and so what is secret in it.
                raise UsageError(
                    f"{self._place}: pyarrow knows no such place, or not all of its options; write"
                    " a folder, s3://bucket/folder, gs://bucket/folder or file:///folder"
                ) from None
        else:
            self._fs, self._root = pa_fs.LocalFileSystem(), str(Path(place).resolve())
        self._is_store = self._fs.type_name in _OBJECT_STORES

    def metadata(self, path: str) -> Mapping[bytes, bytes] | None:
        """The metadata of a file; None if it is missing or damaged."""
        with self._translated(path):
            if self._fs.get_file_info(self._at(path)).type != pa_fs.FileType.File:
                return None
            with self._fs.open_input_file(self._at(path)) as file:
                try:
                    return pq.read_metadata(file).metadata or {}
                except pa.ArrowInvalid:
                    return None

    def delete(self, path: str) -> bool:
        """Delete a file; return whether it was there."""
        with self._translated(path):
            if self._fs.get_file_info(self._at(path)).type != pa_fs.FileType.File:
                return False
            self._fs.delete_file(self._at(path))
            return True

    def write(
        self,
        path: str,
        columns: Mapping[str, type],
        batches: Iterable[Sequence[Sequence[Any]]],
        about: Mapping[str, str],
    ) -> bool:
        """Write a file, if it does not have just these rows and metadata; return whether."""
        with tempfile.NamedTemporaryFile(prefix="elsa-export-") as temporary:
            digest = _write(temporary, columns, batches, about)
            if (self.metadata(path) or {}).get(_DIGEST) == digest:
                return False
            with self._translated(path):
                self._publish(temporary.name, path)
        return True

    def _publish(self, source: str, path: str) -> None:
        with pa.memory_map(source) as file:
            content = file.read_buffer()
        if self._is_store:
            # One call, so that no interruption publishes half a file.
            with self._fs.open_output_stream(self._at(path)) as out:
                out.write(content)
            return
        folder, name = self._at(path).rsplit("/", 1)
        new = f"{folder}/.{name}.{os.getpid()}"
        self._fs.create_dir(folder)
        try:
            with self._fs.open_output_stream(new) as out:
                out.write(content)
            self._fs.move(new, self._at(path))
        except BaseException:
            with suppress(OSError):
                self._fs.delete_file(new)
            raise

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """Errors of pyarrow and of the file system as errors of ours, in one line."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            known = error.strerror if isinstance(error, OSError) else None
            said = known or next(iter(str(error).splitlines()), type(error).__name__)
            raise ElsaError(f"{self._place}/{path}: {said}") from None


class _Hashing:
    """A file that is written, with the digest of what was."""

    def __init__(self, file: IO[bytes], start: bytes) -> None:
        self._file = file
        self.digest = hashlib.sha256(start)
        self.closed = False

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.flush()


def _write(
    file: IO[bytes],
    columns: Mapping[str, type],
    batches: Iterable[Sequence[Sequence[Any]]],
    about: Mapping[str, str],
) -> bytes:
    """Write a whole file; return the digest that is in its metadata."""
    schema = pa.schema([(name, _ARROW[kind]) for name, kind in columns.items()])
    out = _Hashing(file, f"{schema}{sorted(about.items())}".encode())
    delta = {name: "DELTA_BINARY_PACKED" for name in columns if name in _DELTA}
    with pq.ParquetWriter(
        out,
        schema,
        compression="zstd",
        use_dictionary=[name for name in columns if name not in delta],
        column_encoding=delta,
    ) as writer:
        for table in _groups(schema, batches):
            writer.write_table(table)
        digest = out.digest.hexdigest()
        writer.add_key_value_metadata({**about, _DIGEST.decode(): digest})
    file.flush()
    return digest.encode()


def _groups(schema: Any, batches: Iterable[Sequence[Sequence[Any]]]) -> Iterator[Any]:  # noqa: ANN401
    tables: list[Any] = []
    rows = 0
    for batch in batches:
        values = zip(zip(*batch, strict=True), schema.types, strict=True)
        tables.append(pa.table([pa.array(each, kind) for each, kind in values], schema))
        rows += len(batch)
        if rows >= _ROWS_OF_GROUP:
            yield pa.concat_tables(tables)
            tables, rows = [], 0
    if tables:
        yield pa.concat_tables(tables)
