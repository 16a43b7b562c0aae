"""Every place that takes bytes from a stranger, one line of TARGETS each: what it may raise, and
what holds of its answer.
"""

from __future__ import annotations

import atexit
import bz2
import contextlib
import gzip
import importlib.util
import io
import json
import lzma
import math
import os
import re
import selectors
import socket
import sqlite3
import struct
import sys
import tempfile
from collections.abc import Hashable, Iterable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import click

from elsa import config
from elsa.cli import tariff as tariff_command
from elsa.cli.report import report
from elsa.config import Config
from elsa.control import operations, protocol
from elsa.control.client import Client
from elsa.control.server import ControlServer
from elsa.decode import (
    acct,
    acct_search,
    acct_times,
    cgroups,
    cmdline,
    comm,
    events,
    procfs,
    taskstats,
    tracepoint,
)
from elsa.decode.cgroup_events import Decoder
from elsa.decode.redact import Redactor
from elsa.errors import ConfigError, DataError, ElsaError, RetryError, UsageError
from elsa.gnu import dump_acct, lastcomm, layouts, sa
from elsa.ingest.ingester import Ingester
from elsa.ingest.record_reader import chunks
from elsa.jobd.redaction import configured
from elsa.kernel import unpack
from elsa.kernel.acct_file import MARK, AcctFile
from elsa.kernel.procfs import Procfs
from elsa.matching.usage_matcher import usage_row
from elsa.report.query import options, process_rows, times, warehouse
from elsa.report.render.columns import COLUMNS
from elsa.report.render.output import FORMATS, ColumnsHelp, Output
from elsa.state import tariff
from elsa.state.criteria import Criteria
from elsa.state.default_job_rules import rules
from elsa.state.job_names import MAX_NAME
from elsa.state.job_rules import Process
from elsa.state.process_sums import ProcessSums
from elsa.store import defined_jobs, retention, tariffs, upgrade
from tests.fuzz.engine import Target
from tests.support import perf_records

ROOT = Path(__file__).parents[2]
NOW = datetime.fromisoformat("2026-11-29T12:00:00+01:00")
# What a column of SQLite holds.
HELD = range(-(1 << 63), 1 << 63)


@cache
def folder() -> Path:
    """A folder for what must be files, gone at the end."""
    made = tempfile.TemporaryDirectory(prefix="elsa-fuzz-")
    atexit.register(made.cleanup)
    return Path(made.name)


def file_of(data: bytes, name: str) -> Path:
    path = folder() / name
    path.write_bytes(data)
    return path


def text_of(data: bytes) -> str:
    """As Python hands over an argument."""
    return data.decode("utf-8", "surrogateescape")


def given_text(data: bytes) -> str:
    """As a command hands over what it was given: what has a NUL or is not UTF-8 was refused before,
    as the target `report` shows.
    """
    return data.decode("utf-8", "replace").replace("\0", "")


def size(value: int) -> int:
    """About how large something is, so that answers are grouped by size."""
    return value.bit_length()


def length(lines: Iterable[bytes]) -> int:
    """About how long a text is."""
    return size(sum(len(line) for line in lines))


def assert_held(values: Iterable[Any]) -> None:
    """SQLite can hold what a decoder yields."""
    for value in values:
        if isinstance(value, int):
            assert value in HELD, value
        elif isinstance(value, float):
            assert abs(value) < 2**63, value
        elif isinstance(value, str):
            value.encode()


# --- accounting


@cache
def sample() -> bytes:
    return (ROOT / "tests/data/sample.pacct").read_bytes()


def extreme() -> list[bytes]:
    """Records in which everything but the name is as large as it can be, and those with a time that
    nothing can last.
    """
    largest = struct.pack(
        "<BBH6If8H16s",
        0x3F,
        3,
        0xFFFF,
        0xFFFF,
        *[2**32 - 1] * 2,
        *[2**22 - 1] * 2,
        2**32 - 1,
        2.0**32,
        *[0xFFFF] * 8,
        b"x",
    )
    return [
        largest,
        *(
            largest[:28] + struct.pack("<f", ticks) + largest[32:]
            for ticks in (1.8e12, 3e38, -1, math.inf, math.nan)
        ),
    ]


@cache
def records() -> tuple[bytes, ...]:
    """Recorded ones, in every version and byte order."""
    rows = list(acct.decode_rows(sample()))[::5]
    made = [
        one
        for version in (0, 2, 3)
        for swap in (False, True)
        for one in layouts.raw(rows, version, byteswap=swap)
    ]
    # Version 1 is as version 0 here; and some that nobody knows yet.
    return (
        *made,
        *extreme(),
        *(
            one[:1] + bytes([number]) + one[2:]
            for one in made[:3]
            for number in (1, 0x81, 4, 0x84, 0x7F)
        ),
    )


def files() -> tuple[bytes, ...]:
    all_records = records()
    mixed = b"".join(all_records[::3])
    return (
        sample()[:1920],
        b"".join(all_records[-20:]),
        *(sample()[:640] + one + sample()[640:960] for one in extreme()),
        mixed,
        mixed[:70] + mixed[100:],
        b"\0" * 4096,
        b"",
    )


def packed_files() -> tuple[bytes, ...]:
    data = sample()
    some = (
        gzip.compress(data),
        gzip.compress(data[:640]) + gzip.compress(data[640:1280]),
        gzip.compress(data, 0)[:3000],
    )
    return (
        *some,
        bz2.compress(data),
        lzma.compress(data),
        lzma.compress(data, lzma.FORMAT_ALONE),
        data[:640],
        unpack._zstd().compress(data),
    )


def acct_record(data: bytes) -> Hashable:
    record = acct.decode_record(data)
    assert_held(value for value in record if not isinstance(value, float))
    return (
        tuple(size(value) for value in record[10:13]),
        acct_search.plausible(data),
        acct.is_self_record(record),
    )


def acct_walk(data: bytes) -> Hashable:
    """Every byte is in one run, once."""
    found = []
    for more in (False, True):
        position = 0
        for run in acct_search.walk(data, more=more):
            assert run.start == position < run.end <= len(data)
            position = run.end
            found.append(run.records)
            if run.records:
                assert (
                    len(list(acct.decode_rows(data[run.start : run.end]))) * 64
                    == run.end - run.start
                )
        assert len(data) - position < (acct_search.LOOKAHEAD if more else acct.RECORD_SIZE)
    return tuple(found)


def acct_rows(data: bytes) -> Hashable:
    """Columns at a time gives what one record at a time gives."""
    whole = data[: len(data) // 64 * 64]
    rows = list(acct.decode_rows(whole))
    assert repr(rows) == repr(
        [tuple(acct.decode_record(whole, at)) for at in range(0, len(whole), 64)]
    )  # NaN is not itself
    return size(len(rows))


def acct_content(data: bytes) -> Hashable:
    return acct_search.content(
        lambda position, most: data[position : position + most], "pacct"
    ), acct_search.foreign_version(data)


def acct_file(data: bytes) -> Hashable:
    """Plain, compressed or damaged; what is taken for a record can be stored."""
    with AcctFile(file_of(data, "pacct")) as file:
        found = []
        for chunk in chunks(file, file.read(0, MARK), b"", 0, None):
            for _, row in chunk.rows:
                assert_held(row)
                assert acct_times.exit_second(row) * 1_000_000_000 in HELD
            found.append((size(len(chunk.rows)), size(len(chunk.skipped))))
        return file.compressed, tuple(found)


def acct_programs(data: bytes) -> Hashable:
    """sa, lastcomm and dump-acct over whatever was taken for records."""
    rows = [
        row
        for run in acct_search.walk(data, more=False)
        if run.records
        for row in acct.decode_rows(data[run.start : run.end])
    ]
    kinds = [
        length(made)
        for made in (dump_acct.lines(rows), lastcomm.lines(rows, lastcomm.Wanted()), sa.each(rows))
    ]
    for shape in (
        sa.Shape(),
        sa.Shape(sort="real", percentages=True, ratio=True, paging=True, all_names=True),
        sa.Shape(threshold=2),
    ):
        tallies = [sa.tally(sa.figures_of(rows, by), by.key) for by in (sa.COMMAND, sa.USER)]
        kinds.append(length(sa.by_command(tallies[0], shape, lambda _name: True)))
        kinds.append(length(sa.by_owner(tallies[1], shape)))
    raw = (layouts.raw(rows, version, byteswap=bool(version & 1), ahz=1024) for version in range(4))
    return tuple(kinds), *(length(made) for made in raw)


def acct_stored(data: bytes) -> Hashable:
    """A whole pass of the ingester: every byte is read or skipped, once; then the views can be
    read.
    """
    path = folder() / "stored.db"
    with (
        contextlib.closing(sqlite3.connect(path)) as target,
        contextlib.closing(sqlite3.connect(empty())) as source,
    ):
        source.backup(target)
    file = file_of(data, "pacct")
    ingester = Ingester(
        Config(db=path, acct_file=file, socket=folder() / "none"), Procfs(), "elsewhere"
    )
    first = ingester.run_once([file])
    again = ingester.run_once([file])
    assert again.records == 0
    assert again.skipped == []
    for trouble in (*first.troubles, *again.troubles):
        assert isinstance(trouble, DataError), trouble
    skipped = sum(part.last - part.first for _, part in first.skipped)
    if not first.troubles:
        with AcctFile(file) as opened:
            length = sum(len(piece) for _, piece in opened.chunks())
        assert 0 <= length - skipped - 64 * (first.records + sum(first.repeated.values())) < 64
    with warehouse.reading(path) as connection:
        (stored,) = connection.execute("select count(*) from acct").fetchone()
        assert stored == first.records
        for view in ("process_usage", "command_usage", "reconciliation"):
            connection.execute(f"select * from {view}").fetchall()
    return size(first.records), size(skipped), len(first.troubles)


# --- other decoders


def some_events() -> tuple[bytes, ...]:
    layout = struct.Struct("=16x4I2HIIQ6I")
    words = {
        events.FORK: (1, 1, 7, 7),
        events.EXEC: (7, 7),
        events.UID: (7, 7, 9, 9),
        events.COMM: (7, 7, 0x6162),
        events.EXIT: (7, 7, 256, 17, 1, 1),
    }
    return tuple(
        layout.pack(1, 1, seq, 0, 40, 0, what, 0, 10**12, *(*data, *[0] * 6)[:6])
        for seq, (what, data) in enumerate(words.items())
    )


def process_events(data: bytes) -> Hashable:
    """A datagram is an event or nothing, whatever is in it."""
    found = events.decode([data, data])
    assert len(found) == (2 if len(data) == events.SIZE else 0)
    for event in found:
        assert len(events.comm_of(event)) <= 16
    return len(found), *(event.what for event in found[:1])


def some_rings() -> tuple[bytes, ...]:
    """A record of each kind, alone and all together."""
    records = (
        perf_records.attach(1, 2, 3, b"/a"),
        perf_records.group("cgroup_mkdir", 2, 3, b"/a/b\xff"),
        perf_records.newtask(3, 4, 5),
        perf_records.execution(4, 5, 6, b"/bin/true"),
        perf_records.execution(4, 5, None, b""),
        perf_records.exit_group(5, 6, 7),
        perf_records.end(6, 7, 8),
        perf_records.lost(7, 8),
    )
    return *records, b"".join(records)


def perf_ring(data: bytes) -> Hashable:
    """Each record is decoded once, in order of time."""
    decoder = Decoder(perf_records.opened(), perf_records.NAMES)
    early, late = decoder.decode([data], 5), decoder.decode([], 1 << 64)
    times_ns = [record.time_ns for record in early + late]
    assert times_ns == sorted(times_ns)
    assert all(record.time_ns <= 5 for record in early)
    return tuple(type(record) for record in (early + late)[:3])


def tracepoint_format(data: bytes) -> Hashable:
    """Fields that are numbers can be read from a record that is long enough."""
    fields = tracepoint.parse_format(data)
    numbers = [name for name, field in fields.items() if field.size in (1, 2, 4, 8)]
    assert_held(value for field in fields.values() for value in field)
    values = tracepoint.reader(fields, numbers[:3])(bytes(1 << 16), 0)
    assert len(values) == len(numbers[:3])
    return len(fields), len(values)


def cgroup_files(data: bytes) -> Hashable:
    found: list[Hashable] = []
    for parse in (
        cgroups.parse_cpu_stat,
        cgroups.parse_io_stat,
        cgroups.parse_counter,
        lambda data: cgroups.path_of(data, 0),
    ):
        try:
            value: Any = parse(data)
        except DataError as error:
            found.append(str(error))
            continue
        assert_held(value if isinstance(value, tuple) else [value] * isinstance(value, int))
        found.append(type(value).__name__)
    return tuple(found)


def some_statistics() -> tuple[bytes, ...]:
    """A thread's message in every version, and that of the last thread of a process."""
    sizes = {8: 328, 9: 344, 10: 352, 11: 368, 12: 400, 13: 416, 14: 432, 15: 560, 16: 560}

    def attribute(kind: int, payload: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)

    def message(*attributes: bytes) -> bytes:
        body = struct.pack("=BBH", 2, 1, 0) + b"".join(attributes)
        return struct.pack("=IHHII", 16 + len(body), 31, 0, 7, 0) + body

    def part(kind: int, version: int) -> bytes:
        stats = bytearray(struct.pack("=H", version).ljust(sizes[version], b"\1"))
        stats[8] = taskstats.AGROUP
        return attribute(
            kind, attribute(kind - 3, struct.pack("=I", 77)) + attribute(3, bytes(stats))
        )

    return (
        *(message(part(4, version)) for version in sizes),
        *(message(part(4, version), part(5, version)) for version in (12, 16)),
    )


def statistics(data: bytes) -> Hashable:
    """What comes of a datagram can be stored, also where the numbers are nonsense."""
    messages = taskstats.decode(data)
    for stats in ProcessSums().feed(messages * 2):
        assert_held(usage_row(1, stats, delays=True))
    return tuple((message.thread is None, message.group is None) for message in messages)


def some_proc() -> tuple[bytes, ...]:
    own = Path("/proc/self")
    strange = b"7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 12345 " + b"0 " * 30
    return (
        *((own / name).read_bytes() for name in ("stat", "status", "io")),
        strange,
        b"Name:\tx\nUid:\t0\t0\t0\t0\nCapEff:\t1ff\nVmRSS:\t1 kB\nVmHWM:\t2 kB\n",
    )


def proc_files(data: bytes) -> Hashable:
    found: list[Hashable] = []
    for parse in (
        procfs.parse_stat,
        procfs.parse_io,
        procfs.parse_memory,
        procfs.parse_real_uid,
        procfs.parse_effective_capabilities,
    ):
        try:
            value: Any = parse(data)
        except DataError as error:
            assert str(error).isprintable(), error
            found.append(
                error.__traceback__.tb_next.tb_lineno
                if error.__traceback__ and error.__traceback__.tb_next
                else 0
            )
            continue
        assert_held(value if isinstance(value, tuple) else () if value is None else (value,))
        found.append(type(value).__name__)
    return tuple(found)


@cache
def redactor() -> Redactor:
    return configured(Config())


def command_lines() -> tuple[bytes, ...]:
    lines = [
        ["sh", "-c", "A_TOKEN=x B_PASSWORD='y z' make -j8"],
        ["bash", "-lc", "curl -u joe:x https://a:b@host/x?token=1 | cat"],
        [
            "tool",
            '["--password", "x y", \'z\']',
            "--header=Authorization: Bearer x",
            "password",
            "=",
            "x",
        ],
        ["psql", "-c", "alter user a identified by 'x y' valid"],
        ["sh", "-c", "sh -c 'sh -c \"mysql -pq db\"'"],
        ["mysqldump", "-uroot", "-px", "db"],
        ["redis-cli", "-a", "secret", "{'api_key': \"v\"}"],
    ]
    recorded = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (1, os.getpid())]
    return (
        *recorded,
        *("\0".join(line).encode() + b"\0" for line in lines),
        b"",
        b"\0",
        b"caf\xe9\0\xff",
    )


def command_line(data: bytes) -> Hashable:
    text = cmdline.decode_cmdline(data, redactor())
    if text is None:
        assert not data
        return None
    assert text.isprintable()
    text.encode()
    return size(len(text)), "***" in text


def redaction(data: bytes) -> Hashable:
    arguments = text_of(data).split("\0")
    hidden = redactor()(arguments)
    assert len(hidden) == len(arguments)
    return tuple("***" in one for one in hidden[:8]), hidden == arguments


def command_name(data: bytes) -> Hashable:
    text = comm.escape_comm(data)
    assert text.isprintable()
    assert comm.unescape_comm(text) == data.partition(b"\0")[0]
    return comm.unescape_comm(text_of(data)) == data


# --- the control socket


def requests() -> tuple[bytes, ...]:
    fields: dict[str, dict[str, object]] = {
        "create": {
            "name": "a",
            "tags": {"k": "v"},
            "pids": [1, 2],
            "launched": 1,
            "closes_itself": True,
        },
        "define": {
            "name": "a",
            "root": 7,
            "at_ns": 1,
            "commands": ["cc*"],
            "where": "uid = 0",
            "since_ns": 1,
            "until_ns": 2,
            "dry_run": True,
        },
        "reserve": {"name": "a", "owner_uid": 0},
        "add": {"job": "a", "pids": [1], "tree": True},
        "remove": {"job": 1, "pids": [1]},
        "show": {"job": 1, "limit": 5},
        "of": {"pid": 1},
        "list": {"all": True},
    }
    return tuple(
        protocol.encode_request(op, fields.get(op, {"job": 1} if op == "close" else {}))
        for op in operations.REQUESTS
    )


def answers() -> tuple[bytes, ...]:
    kinds = protocol.ERROR_KINDS.values()
    errors = [protocol.encode_reply(kind("what\nwent wrong")) for kind in kinds]
    return (
        *errors,
        protocol.encode_reply({"job": {"id": 1, "tags": {"a": "b"}}, "living": 0, "members": []}),
        b'{"elsa":1,"ok":false,"error":3}\n',
    )


def request(data: bytes) -> Hashable:
    asked = operations.parse_request(data)
    op = next(op for op, kind in operations.REQUESTS.items() if kind is type(asked))
    assert operations.parse_request(protocol.encode_request(op, vars(asked)).rstrip(b"\n")) == asked
    return op, tuple(value is None for value in vars(asked).values())


def answer(data: bytes) -> Hashable:
    """No error that comes over the socket can move a terminal's cursor, whoever sent it."""
    try:
        return tuple(sorted(protocol.parse_reply(data)))[:4]
    except ElsaError as error:
        assert str(error).isprintable()
        raise


class Loop:
    """A server in a loop of its own, whose handler answers at once."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.path = folder() / "s"
        self.server = ControlServer(
            self.selector, self.path, "elsa", lambda _request, _peer, reply: reply({}), lambda: 0.0
        )
        atexit.register(self.server.close)

    def settle(self) -> None:
        """Turn until nothing is ready."""
        for _ in range(10_000):
            ready = self.selector.select(0)
            if not ready:
                return
            for key, mask in ready:
                key.data(mask)
        raise AssertionError("the server spins")


@cache
def loop() -> Loop:
    return Loop()


def framing(data: bytes) -> Hashable:
    """Every line gets one reply, in whatever pieces it comes."""
    chunk = 1 + 16 * (data[0] if data else 0)
    replies = bytearray()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(loop().path))
        client.setblocking(False)
        for begin in range(0, len(data), chunk):
            client.send(data[begin : begin + chunk])
            loop().settle()
        with contextlib.suppress(BlockingIOError):
            while piece := client.recv(1 << 16):  # the server waits while we do not read
                replies += piece
                loop().settle()
    loop().settle()
    lines = replies.splitlines()
    assert len(lines) == data.count(b"\n"), f"{len(lines)} replies"
    return tuple(json.loads(line)["ok"] for line in lines[:4]), size(len(lines))


def exchange(data: bytes) -> Hashable:
    """The client, of whatever answers."""
    path = folder() / "strange"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        # It reads after it was answered, so that one thread is enough: the connection waits in the
        # queue.
        listener.setblocking(False)
        client = Client(path, timeout_s=1.0)
        with _answering(listener, data):
            return tuple(client.request("status"))[:4]


@contextlib.contextmanager
def _answering(listener: socket.socket, data: bytes) -> Any:
    """Let the client's connect be followed at once by our answer."""
    original = Client._connect

    def connect(self: Client, connection: socket.socket) -> None:
        original(self, connection)
        served, _ = listener.accept()
        with served:
            served.sendall(data)
            served.shutdown(socket.SHUT_WR)
            taken.append(served.dup())

    taken: list[socket.socket] = []
    Client._connect = connect  # type: ignore[method-assign]
    try:
        yield
    finally:
        Client._connect = original  # type: ignore[method-assign]
        for one in taken:
            one.close()


# --- what people write


@cache
def empty() -> Path:
    path = folder() / "empty.db"
    upgrade.upgrade(path)
    return path


@cache
def small() -> Path:
    """A warehouse with a few jobs and processes."""
    path = folder() / "small.db"
    spec = importlib.util.spec_from_file_location("given", ROOT / "tests/support/given.py")
    assert spec is not None
    assert spec.loader is not None
    given = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(given)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with contextlib.closing(sqlite3.connect(empty())) as source:
            source.backup(connection)
        made = given.Warehouse(connection)
        for number, name in ((1, "make"), (2, "cc1"), (3, "sh")):
            made.process(number, start=10 * number, seconds=5, comm=name)
            made.acct(number, number, comm=name, utime=number)
        made.process(4, start=20, seconds=None, comm="sleep")
        made.job(1, "build", members=(1, 2))
        made.job(
            2,
            "night",
            members=(2, 3),
            closed_at_ns=given.REAL + 40 * given.SECOND,
            close_reason="ended",
        )
        made.insert("job_tag", job_id=1, key="project", value="x")
    return path


@cache
def reader() -> sqlite3.Connection:
    context = warehouse.reading(small())
    connection = context.__enter__()
    atexit.register(context.__exit__, None, None, None)
    return connection


_TIMES = (
    *(
        "2026-11-02",
        "2026-11-02T09:30",
        "2026-11-02T09:30+01:00",
        "2026-11",
        "1102",
        "110226",
        "11/02/26-09:30",
        "09:30",
        "9:30pm",
        "noon",
    ),
    *(
        "today",
        "yesterday",
        "midnight",
        "tomorrow",
        "now",
        "now-2hours",
        "now-1day",
        "now+3w",
        "2026-W45-1",
        "20261102T093000Z",
    ),
)
_CHOSEN = {
    "user": ("root", "0", "1000", "nobody"),
    "group": ("root", "0", "adm"),
    "command": ("make", "cc*", "[a-c]?", "sh"),
    "tty": ("pts/3", "tty1", "ttyS0", "136:3", "none", "console"),
    "pid": ("1", "4711"),
    "exit": (
        "0",
        "3",
        "code 3",
        "nonzero",
        "signal",
        "core",
        "SIGKILL",
        "kill",
        "signal 9",
        "0:9",
        "1:0",
    ),
    "state": ("running", "ended", "CD", "f", "open"),
    "job": ("1", "build", "n*", "2"),
    "tag": ("project", "project=x", "project=*"),
    "since": _TIMES[:6],
    "until": _TIMES[10:13],
}


def written_times() -> tuple[bytes, ...]:
    return tuple(text.encode() for text in _TIMES)


def written_time(data: bytes) -> Hashable:
    found = times.moment(text_of(data), NOW, "--since")
    return size(abs(found)), found % 1_000_000_000 == 0


def written_choices() -> tuple[bytes, ...]:
    singles = [f"{kind}={text}" for kind, texts in _CHOSEN.items() for text in texts]
    return tuple(
        line.encode()
        for line in (
            *singles,
            "job=build\nexit=nonzero\nuser=0",
            "since=2026-01\nuntil=now\ncommand=*",
        )
    )


def choice(data: bytes) -> Hashable:
    """What is understood can be asked of the warehouse, for processes, for the processes of jobs
    and for the jobs themselves.
    """
    asked: dict[str, tuple[str, ...]] = {}
    for line in given_text(data).split("\n"):
        kind, _, text = line.partition("=")
        if kind in _CHOSEN:
            asked[kind] = (*asked.get(kind, ()), text)
    for one in ("since", "until"):
        asked[one] = asked.get(one, ())[:1]
    chosen = options.resolve(reader(), asked, NOW)
    part = process_rows.rows(chosen, ["u.process_id"])
    found = reader().execute(f"select count(*) {part.sql}", part.values).fetchone()[0]
    of_jobs = {kind: texts for kind, texts in asked.items() if kind != "state"}
    for condition in options.resolve_jobs(reader(), of_jobs, NOW).job_conditions:
        reader().execute(
            f"select count(*) from job_usage as u where {condition.sql}", condition.values
        )
    return found, tuple(sorted(kind for kind in asked if asked[kind]))


def written_columns() -> tuple[bytes, ...]:
    return (
        b"a|pid,comm|-cpu_s",
        b"table|command%20,cpu_s%-9|cpu_s,-pid",
        b"csv|+cmdline|+pid",
        b"json|help|",
        b"parsable|all|",
        b"table|HELP|pid",
    )


def columns(data: bytes) -> Hashable:
    """--format, --columns and --sort, with a bar in between."""
    form, chosen, order = (*text_of(data).split("|", 2), "", "")[:3]
    has = ("pid", "command", "cpu_s", "user", "tags", "cmdline")
    output = Output(form if form in FORMATS else "table", chosen or None, order or None)
    names = output.choose(has, has[:3])
    assert names
    assert set(names) <= set(has) <= COLUMNS.keys()
    output.widths(names)
    rows: list[tuple[Any, ...]] = [(1, "x", 0.5, None, "{}", "z"), (2, "a", None, "u", None, "y")]
    assert len(output.ordered(has, rows)) == len(rows)
    clause = output.order({name: name for name in has}, "pid")
    reader().execute(
        f"select * from (select {', '.join(f'1 as {name}' for name in has)}) {clause}"
    ).fetchall()
    return names, output.sort is None


def conditions() -> tuple[bytes, ...]:
    texts = (
        "uid = 1000",
        "cpu_s > 60 and uid >= 1000 -- all of it",
        "command glob 'c*' or pid in (select pid from process)",
        "exists (select 1 from job) and 'a' || command like '%x%'",
        "process_id in (values (1), (2)) and started_at > '2026-01-01'",
        "cast(json_extract('{\"a\":1}', '$.a') as integer) = 1",
        "case when uid is null then 0 else abs(uid) end",
    )
    return tuple(text.encode() for text in texts)


def condition(data: bytes) -> Hashable:
    """--where of a manager: whatever it is, it can but read."""
    text = text_of(data)
    operations.parse_request(protocol.encode_request("define", {"name": "a", "where": text}))
    with contextlib.closing(sqlite3.connect(small(), isolation_level=None)) as connection:
        before = connection.execute("pragma data_version").fetchone()
        found = defined_jobs.find(connection, small(), Criteria(where=text), None, limit_s=10)
        assert connection.execute("pragma data_version").fetchone() == before
    return found.processes, found.running


_PLAIN_TARIFF = """\
valid_from = 2026-11-01
currency = "EUR"
zone = "Europe/Berlin"
decimals = 3
note = "x"
factors = [
  { weekdays = "mon-fri,sun", hours = "8-18", factor = 1.5 },
  { weekdays = "sat", hours = "22-6", factor = 0.5 },
]
[rates]
cpu_hour = 0.04
memory_gib_hour = 0.005
read_gib = 0.001
written_gib = 0.002
process = 0
"""


def written_tariffs() -> tuple[bytes, ...]:
    other = 'valid_from = "2026-11-01T06:15:00Z"\ncurrency = "$"\n[rates]\ncpu_hour = "1"\n'
    other += '[[factors]]\nweekdays = "mon"\nhours = "0-24"\nfactor = 2\n'
    return (
        _PLAIN_TARIFF.encode(),
        other.encode(),
        _PLAIN_TARIFF.replace("2026-11-01", "2026-11-01T07:30:00+01:00").encode(),
        b"rates = " + b"[" * 3000,
    )


def tariff_file(data: bytes) -> Hashable:
    """What is understood prices, and comes back from the file that `elsa db tariff show` makes of
    it.
    """
    version = tariffs.draft(tariffs.read_file(file_of(data, "tariff.toml")))
    _assert_prices(version)
    again = tariffs.draft(
        tariffs.read_file(file_of(tariff_command._as_toml(version).encode(), "again.toml"))
    )
    assert again == version
    return len(version.factors), version.decimals, version.zone, version.note is None


def _assert_prices(version: tariff.Tariff) -> None:
    assert version.valid_from_at_ns in HELD
    units = tariff.Units(1, 10**18, 10**18, 10**15, 0)
    amounts = version.price(units, version.factor(version.valid_from_at_ns + 10**15))
    rounded = tariff.rounded(amounts, version.decimals)
    assert all(amount >= 0 for amount in rounded)


def tariff_options() -> tuple[bytes, ...]:
    return (
        b"2026-11-01|EUR|UTC|0.04|mon-fri 8-18 1.5",
        b"2026-11-01T06:00|EUR|Europe/Berlin|1|sat 22-6 0.5|sun 0-24 2",
    )


def tariff_given(data: bytes) -> Hashable:
    """The same from options."""
    start, currency, place, price, *factors = (*text_of(data).split("|"), "", "", "")
    given: dict[str, Any] = dict.fromkeys(tariff.RATES)
    given |= {
        "valid_from": start,
        "currency": currency,
        "zone": place,
        "cpu_hour": price,
        "decimals": None,
        "note": None,
    }
    version = tariffs.draft(tariff_command._fields([factor for factor in factors if factor], given))
    _assert_prices(version)
    return len(version.factors), version.zone


def configurations() -> tuple[bytes, ...]:
    fields = vars(Config())
    lines = []
    del fields["job_rule"]
    for key, value in fields.items():
        # TOML writes truth and numbers as JSON does.
        shown = json.dumps(value if isinstance(value, int) else str(value))
        lines.append(f"{key} = {shown}\n")
    return (
        "".join(lines).encode(),
        *(line.encode() for line in lines),
        b"# nothing\n",
        b'redact = ""\nredact_options = "a:b"\n',
        b"drain_ms = 1_000\n",
        b"drain_ms = " + b"[" * 3000,
        b"[[job_rule]]\ncgroup = '/a/(?P<x>.+)-[^b]{1,9}+/**'\nname = '{x}'\ntags = {t='{x}'}\n",
        b"[[job_rule]]\ncgroup = ['/', '/b.slice**/(?:c|d)*']\nskip = true\n",
        b"[[job_rule]]\nparent = 'cron'\ncommand = '(?i)x'\nuser = '.*'\nper = 'child'\n"
        b"name = 'n/{user}/{command}'\nkind = 'cron'\nowner = '0'\n",
    )


def configuration(data: bytes) -> Hashable:
    """A file; and what is used of it later: patterns of secrets, how long things are kept."""
    return _usable(config.load({}, {"ELSA_CONFIG": str(file_of(data, "elsa.toml"))}))


def environment(data: bytes) -> Hashable:
    """NAME=VALUE, as in the environment."""
    name, _, value = text_of(data).partition("=")
    return _usable(config.load({}, {"ELSA_CONFIG": os.devnull, name: value}))


def _usable(settings: Config) -> Hashable:
    # The expression is as long as an administrator makes it; what is refused must be refused here
    # and not when something is executed.
    configured(settings)(["tool", "--password=x", "a" * 50])
    for name in ("keep_events", "keep_intervals", "keep_processes", "keep_rollups"):
        age = getattr(settings, name)
        cutoff_ns = retention.cutoff(age, 10**18, name, may_be_0=name == "keep_events")
        assert (cutoff_ns or 0) in HELD
    job_rules = rules(settings.job_rule)
    for path in ("/", "/a/" + "b" * 250 + "-c/d", "/b.slice/" + "cd" * 120):
        decision = job_rules.decide(path)
        run = decision.run(Process("x", "cron", 0))
        for job in (decision.job, run):
            assert job is None or (job.name.isprintable() and 0 < len(job.name) <= MAX_NAME)
    for name in ("receive_buffer_mib", "drain_ms", "commit_ms", "backlog_events"):
        assert getattr(settings, name) > 0
    return tuple(key for key, value in vars(settings).items() if value != getattr(Config(), key))


def invocations() -> tuple[bytes, ...]:
    lines = (
        *(
            f"{kind} --{option} {text.replace(' ', '_')}"
            for kind in ("commands", "last")
            for option, texts in _CHOSEN.items()
            for text in texts[:2]
        ),
        *(
            f"{kind} --format {form}"
            for kind in ("jobs", "users", "processes", "gaps", "audit", "hours", "timeline", "tree")
            for form in ("json", "csv", "table")
        ),
        "processes --columns +cmdline%20 --sort -cpu_s --limit 3 --units K --no-header",
        "commands --explain --clip --since yesterday --job build,night",
        "job build",
        "compare night",
        "bill --month 2026-11 --by user",
        "lastcomm --since 09:30 --user root make",
        "sa -a -m --job build",
        "dump-acct --since 2026",
        "days --since 2026-01-01 --until 2026-01-03 --plot",
    )
    return tuple(line.replace(" ", "\0").encode() for line in lines)


def invocation(data: bytes) -> Hashable:
    """`elsa report ...` in this process: the whole way from arguments to what is printed."""
    arguments = [text_of(argument) for argument in data.split(b"\0")]
    if len(arguments) > 40 or any(word.startswith(("-o", "--o", "--db")) for word in arguments):
        return None  # what is written or opened elsewhere is no matter of this target
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in range(2)
    )  # as elsa.cli.main makes them
    stdin, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO())
    environ = {**os.environ, "ELSA_DB": str(small()), "ELSA_CONFIG": os.devnull}
    before = dict(os.environ)
    os.environ.update(environ)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            contextlib.chdir(folder()),
        ):
            report.main(arguments, prog_name="elsa-report", standalone_mode=False)
    except click.ClickException as error:
        return (
            type(error).__name__,
            re.sub(r"'[^']*'|\"[^\"]*\"|[-\d]+", "", error.format_message())[:60],
        )
    finally:
        sys.stdin = stdin
        os.environ.clear()
        os.environ.update(before)
    return arguments[0], size(out.tell()), size(err.tell())


TARGETS = (
    Target("acct record", acct_record, (DataError,), records, (b"\3", b"\x83")),
    Target("acct walk", acct_walk, (), files, records()[-2:], 40),
    Target("acct rows", acct_rows, (DataError,), files, records()[-2:], 30),
    Target(
        "acct content",
        acct_content,
        (DataError,),
        lambda: (*files(), *records()),
        records()[:16:5],
        60,
    ),
    Target("acct file", acct_file, (DataError,), lambda: (*packed_files(), *files()), share=30),
    Target("acct programs", acct_programs, (), files, records()[-2:], 5),
    Target("acct stored", acct_stored, (), lambda: (*files(), *packed_files()), records()[-2:], 1),
    Target("events", process_events, (), some_events),
    Target("perf ring", perf_ring, (DataError,), some_rings, (b"\x09\0\0\0", b"\x02\0\0\0")),
    Target(
        "tracepoint format",
        tracepoint_format,
        (DataError,),
        lambda: tuple(perf_records.FORMATS.values()),
        (b"\tfield:", b"offset:", b"size:", b"signed:1;", b"__data_loc char[] ", b";\n"),
        20,
    ),
    Target(
        "cgroup files",
        cgroup_files,
        (),
        lambda: (
            b"0::/a (deleted)\n1:name=systemd:/\n",
            b"usage_usec 3\nuser_usec 1\nsystem_usec 2\n",
            b"8:0 rbytes=1 wbytes=2 rios=3 wios=4\n",
            b"4096\n",
        ),
        (b"0::/", b"usage_usec ", b"rbytes=", b"max"),
        30,
    ),
    Target("taskstats", statistics, (DataError,), some_statistics, share=60),
    Target(
        "procfs",
        proc_files,
        (),
        some_proc,
        (b"VmRSS:\t", b"Uid:\t", b") ", b" (", b": ", b"\n"),
        60,
    ),
    Target("cmdline", command_line, (), command_lines, (b"password=", b"-c\0", b"'", b" "), 20),
    Target(
        "redact",
        redaction,
        (),
        command_lines,
        (b"password", b"token=", b"Bearer ", b" -u a:b", b"://a:b@", b"\\'", b'"', b"=" * 30),
        30,
    ),
    Target(
        "comm",
        command_name,
        (DataError,),
        lambda: (b"sh", b"caf\xe9", b"a\\b\t", b"a\\\\b", b"\\x41", b"\xe2\x80\xae"),
        (b"\\x", b"\\"),
    ),
    Target(
        "request",
        request,
        (UsageError,),
        requests,
        (
            b'"',
            b"{",
            b"[",
            b",",
            b"\\ud800",
            b"null",
            b"NaN",
            *(b'"%b":' % name.encode() for name in operations.FIELDS),
        ),
    ),
    Target(
        "answer",
        answer,
        (ElsaError,),
        answers,
        (b'"', b"{", b'"ok":', b'"error":', b'"kind":"usage"', b"null"),
    ),
    Target(
        "server", framing, (), lambda: (*requests(), b"\n" * 9, b"".join(requests())), (b"\n",), 4
    ),
    Target("client", exchange, (ElsaError,), answers, (b"\n",), 20),
    Target(
        "times",
        written_time,
        (UsageError,),
        written_times,
        (b"now", b"-", b"+", b":", b"T", b"Z", b"hours", b"W", b"pm"),
    ),
    Target(
        "choices",
        choice,
        (UsageError,),
        written_choices,
        tuple(f"\n{kind}=".encode() for kind in _CHOSEN),
        10,
    ),
    Target(
        "columns",
        columns,
        (UsageError, ColumnsHelp),
        written_columns,
        (b"%", b"|", b",", b"+", b"-", b"pid", b"cpu_s"),
        60,
    ),
    Target(
        "where",
        condition,
        (UsageError, RetryError),
        conditions,
        (b"(", b")", b"'", b"select", b" from process ", b"\0", b";", b"pragma x", b"/*"),
        1,  # a process each
    ),
    Target(
        "tariff",
        tariff_file,
        (UsageError, ConfigError),
        written_tariffs,
        (b"[[factors]]\n", b" = ", b"1e9", b"inf", b"nan", b"mon-sun", b"0-24"),
        15,
    ),
    Target(
        "tariff options",
        tariff_given,
        (UsageError, ConfigError),
        tariff_options,
        (b"|", b"-", b",", b"mon", b"24", b"T"),
        40,
    ),
    Target(
        "config",
        configuration,
        (ConfigError,),
        configurations,
        (b" = ", b'"', b"'", b"[", b"forever", b"{9}", b"(?", b"\n"),
        15,
    ),
    Target(
        "environment",
        environment,
        (ConfigError,),
        lambda: tuple(
            f"ELSA_{key.upper()}={value}".encode() for key, value in vars(Config()).items()
        ),
        (b"ELSA_", b"=", b"(?P<a>", b"{99999999999}", b" days"),
        40,
    ),
    Target(
        "report",
        invocation,
        (ElsaError, click.exceptions.Exit),
        invocations,
        (b"\0--sort\0", b"\0--since\0", b"\0--job\0", b"\0--explain", b"%"),
        5,
    ),
)
