"""Reports in the formats of other programs: sa, lastcomm and dump-acct of GNU acct, over the
warehouse or a file, and the original ELSA.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elsa import config
from elsa.cli import complete, options
from elsa.cli.main import Command
from elsa.cli.options import Function
from elsa.cli.report import request, shared_options
from elsa.cli.report.group import report
from elsa.errors import UsageError

if TYPE_CHECKING:
    from elsa.gnu.records import Records


# The sort order of each option of sa, by click's name of the option.
SORTS = {
    "sort_sys_user_div_calls": "cpu_per_call",
    "sort_avio": "avio",
    "sort_tio": "tio",
    "sort_cpu_avmem": "mem",
    "sort_ksec": "ksec",
    "sort_num_calls": "calls",
    "sort_real_time": "real",
}
MERGE = (
    "the warehouse keeps every record, so nothing is merged into summary files; leave this option"
    " out, and give --since and --until for a time"
)
# How many lines are written at once.
_LINES = 512
# The file is not tested before it is read.
_FILE = click.Path(readable=False, allow_dash=True)
# Not abbreviated, so that the abbreviations of the originals stay unambiguous.
_WHOLE_ONLY = ("--day", "--week", "--month")
_GIVEN = "elsa.cli.report.gnu.given"


class GnuCommand(Command):
    """A command that parses options like getopt_long: long options may be abbreviated, and the
    order of options is known.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Expand abbreviated options, and record which options were given, in order."""
        names = [
            name
            for parameter in self.get_params(ctx)
            for name in parameter.opts
            if name.startswith("--") and name not in _WHOLE_ONLY
        ]
        end = args.index("--") if "--" in args else len(args)
        args = [_expanded(arg, names) for arg in args[:end]] + args[end:]
        if not ctx.resilient_parsing:
            ctx.meta[_GIVEN] = [
                parameter.name for parameter in self.make_parser(ctx).parse_args(list(args))[2]
            ]
        return super().parse_args(ctx, args)


def _expanded(arg: str, names: list[str]) -> str:
    """The full name of an abbreviated option, if only one option has this prefix; else the argument
    unchanged.
    """
    name, equals, value = arg.partition("=")
    if not name.startswith("--") or name in names:
        return arg
    longer = [other for other in names if other.startswith(name)]
    return longer[0] + equals + value if len(longer) == 1 else arg


def picking(*kinds: str) -> Callable[[Function], Function]:
    """The options that the originals lack: the options of time, --db, and --job or --user, if named
    in `kinds`.
    """

    def decorate(function: Function) -> Function:
        for add in reversed([*shared_options.selecting(kinds), options.db]):
            function = add(function)
        return function

    return decorate


def ignored_options(function: Function) -> Function:
    """--ahz and --debug, which change nothing in the output."""
    function = click.option("--debug", is_flag=True, help="Accepted for scripts; has no effect.")(
        function
    )
    return click.option(
        "--ahz",
        type=click.IntRange(min=1),
        default=100,
        metavar="HZ",
        help="Accepted for scripts; records of version 3 always have 100.",
    )(function)


def flag(*names: str, says: str) -> Callable[[Function], Function]:
    """An option without a value."""
    return click.option(*names, is_flag=True, help=says)


@report.command(cls=GnuCommand)
@flag("-a", "--list-all-names", says="No ***other: also list what ran once or is unprintable.")
@flag("-b", "--sort-sys-user-div-calls", says="Sort by CPU time per call.")
@flag("-c", "--percentages", says="Add percentages of the total.")
@flag("-d", "--sort-avio", says="Sort by avio.")
@flag("-D", "--sort-tio", says="Print and sort by the sum of io instead of its mean.")
@flag("-f", "--not-interactive", says="With --threshold: answer every question with yes.")
@flag("-i", "--dont-read-summary-files", says="Always on: summary files are never read.")
@flag("-j", "--print-seconds", says="Seconds per call instead of minutes in all.")
@flag("-k", "--sort-cpu-avmem", says="Sort by mean memory.")
@flag("-K", "--sort-ksec", says="Print and sort by memory times CPU time.")
@flag("-l", "--separate-times", says="User and system time separately.")
@flag("-m", "--user-summary", says="By user instead of by command.")
@flag("--group-summary", says="By group.")
@flag("-n", "--sort-num-calls", says="Sort by the number of calls.")
@flag("-p", "--show-paging", says="Page faults instead of io and memory.")
@flag("-P", "--show-paging-avg", says="Page faults per call.")
@flag("-r", "--reverse-sort", says="Smallest first.")
@flag("-s", "--merge", says="Refused: no summary files are written.")
@flag("-t", "--print-ratio", says="Add elapsed time divided by CPU time.")
@flag("-u", "--print-users", says="One line per record: user, CPU time, memory, io, command.")
@click.option(
    "-v",
    "--threshold",
    type=click.IntRange(min=1),
    metavar="N",
    help="Ask whether commands called N times or less are **junk**.",
)
@flag("--separate-forks", says="Always on: a star marks commands that never called exec.")
@flag("--sort-real-time", says="Sort by elapsed time.")
@click.option("--other-acct-file", type=_FILE, metavar="FILE", help="The same as FILE.")
@click.option(
    "--other-savacct-file", metavar="FILE", help="Refused: no summary files are read or written."
)
@click.option("--other-usracct-file", metavar="FILE", help="Refused as well.")
@ignored_options
@picking("job", "user")
@click.argument("file", required=False, type=_FILE)
@click.pass_context
def sa(
    ctx: click.Context,
    /,
    *,
    file: str | None,
    other_acct_file: str | None,
    **given: Any,  # noqa: ANN401
) -> None:
    """What commands used, as GNU sa prints it: calls, minutes elapsed (re) and of CPU (cp), mean io
    (avio), mean memory (k).

    Reads the warehouse, or an accounting FILE (- is standard input) without the warehouse. Options
    and output are those of sa; docs/compat.md lists the few that differ. Commands that were called
    once are summed up as ***other, and a star marks what never called exec. Sorted by CPU time, or
    by the last sort option.

    \b
    Examples:
      elsa report sa --since today
      elsa report sa --job build -a
      elsa report sa -m --since yesterday --until today
      elsa report sa /var/log/account/pacct.1.gz
    """
    from elsa.gnu import sa as program

    for refused in ("merge", "other_savacct_file", "other_usracct_file"):
        if given[refused]:
            raise UsageError(f"--{refused.replace('_', '-')}: {MERGE}")
    if given["print_users"] and (given["user_summary"] or given["group_summary"]):
        raise UsageError(
            "--print-users lists every record; --user-summary and --group-summary sum them up: give"
            " one of them"
        )
    files = [name for name in (file or other_acct_file,) if name]
    records = _records(files, given)
    shape = program.Shape(
        sort=next((SORTS[name] for name in reversed(ctx.meta[_GIVEN]) if name in SORTS), "cpu"),
        reverse=given["reverse_sort"],
        all_names=given["list_all_names"],
        percentages=given["percentages"],
        seconds=given["print_seconds"],
        separate_times=given["separate_times"],
        ratio=given["print_ratio"],
        total_io=given["sort_tio"],
        ksec=given["sort_ksec"],
        paging=given["show_paging"] or given["show_paging_avg"],
        paging_mean=given["show_paging_avg"],
        threshold=given["threshold"] or 0,
    )
    if given["print_users"]:
        lines = program.each(records)
    elif given["user_summary"] or given["group_summary"]:
        by = program.GROUP if given["group_summary"] else program.USER
        lines = program.by_owner(records.tallied(by, paging=shape.paging), shape)
    else:
        is_junk = _yes if given["not_interactive"] else _ask
        tallied = records.tallied(program.COMMAND, paging=shape.paging)
        lines = program.by_command(tallied, shape, is_junk)
    _write(lines, records)


@report.command(cls=GnuCommand)
@flag("--strict-match", says="Only records that match everything given.")
@flag("--print-controls", says="Print unprintable bytes of names, not question marks.")
@click.option(
    "--user",
    "users",
    multiple=True,
    type=click.UNPROCESSED,
    metavar="NAME",
    help="Records of this user; may be repeated.",
)
@click.option(
    "--command",
    "commands",
    multiple=True,
    type=click.UNPROCESSED,
    metavar="NAME",
    help="Records of this command; may be repeated.",
)
@click.option(
    "--tty",
    "ttys",
    multiple=True,
    type=click.UNPROCESSED,
    metavar="NAME",
    help="Records of this terminal; may be repeated.",
)
@flag("--forwards", says="The oldest first.")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="Read this file (- is standard input); may be repeated.",
)
@flag("-p", "--show-paging", says="Page faults instead of user and terminal.")
@flag("--pid", says="Add the pid and the parent's pid.")
@ignored_options
@picking("job")
@click.argument("names", nargs=-1, type=click.UNPROCESSED)
def lastcomm(
    *,
    names: tuple[str, ...],
    files: tuple[str, ...],
    forwards: bool,
    print_controls: bool,
    **given: Any,  # noqa: ANN401
) -> None:
    """Which commands ended, the newest first, as GNU lastcomm prints them: name, flags, user,
    terminal, CPU time, start.

    NAMES are commands, users or terminals; a record is printed if it has any of them, or matches
    --user, --command or --tty. Flags: S superuser, F never called exec, D dumped core, X killed by
    a signal. Reads the warehouse, or a file without the warehouse.

    \b
    Examples:
      elsa report lastcomm --job build | head
      elsa report lastcomm --since 09:30 --user root
      elsa report lastcomm --strict-match --command make --user alice
      elsa report lastcomm -f /var/log/account/pacct --pid
    """
    from elsa.gnu import lastcomm as program

    matching = {key: tuple(map(os.fsencode, given[key])) for key in ("users", "commands", "ttys")}
    wanted = program.Wanted(
        tuple(map(os.fsencode, names)), **matching, strict=given["strict_match"]
    )
    wanted.check()
    records = _records(files, given, backwards=not forwards and "-" not in files)
    lines = program.lines(
        records, wanted, controls=print_controls, paging=given["show_paging"], pid=given["pid"]
    )
    _write(lines, records, raw=print_controls)


def _format(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> int:
    """0 to 3, also as v0 to v3."""
    number = (value or "3").removeprefix("v")
    if number not in {"0", "1", "2", "3"}:
        raise click.BadParameter("write 0, 1, 2 or 3")
    return int(number)


@report.command("dump-acct", cls=GnuCommand)
@flag("-r", "--reverse", says="The newest first.")
@click.option(
    "-n", "--num", type=click.IntRange(min=1), metavar="N", help="Print at most N records."
)
@flag("-R", "--raw", says="Write records as bytes, not as text.")
@click.option(
    "--format",
    "version",
    callback=_format,
    metavar="VERSION",
    help="With --raw: records of this version, 0 to 3.  [default: 3]",
)
@flag("--byteswap", says="With --raw: in the other byte order.")
@click.option(
    "--ahz",
    type=click.IntRange(min=1),
    default=100,
    metavar="HZ",
    help="With --raw --format 0 or 2: ticks per second of the records.",
)
@picking("job", "user")
@click.argument("files", nargs=-1, type=_FILE)
def dump_acct(
    *,
    files: tuple[str, ...],
    reverse: bool,
    num: int | None,
    raw: bool,
    version: int,
    byteswap: bool,
    ahz: int,
    **given: Any,  # noqa: ANN401
) -> None:
    """Every accounting record, as GNU dump-acct prints it.

    \b
    name|version|user ticks|system ticks|elapsed ticks|uid|gid|KiB|io|
    pid|parent|flags|exit code|terminal|start

    Reads the warehouse, or FILES without the warehouse. --raw writes an accounting file for other
    programs, for example all records of a job.

    \b
    Examples:
      elsa report dump-acct --job build
      elsa report dump-acct --raw --job build > build.pacct
      elsa report dump-acct -r -n 20 /var/log/account/pacct
    """
    from elsa.gnu import dump_acct as program
    from elsa.gnu import layouts

    records = _records(files, given, backwards=reverse)
    rows = islice(records, num)
    if raw:
        _write(layouts.raw(rows, version, byteswap=byteswap, ahz=ahz), records, raw=True)
    else:
        _write(program.lines(rows), records)


def _records(files: Sequence[str], given: dict[str, Any], *, backwards: bool = False) -> Records:
    """The records that these options select."""
    from datetime import datetime

    from elsa.gnu.records import Pick, Records
    from elsa.report.query.choices import uid_of
    from elsa.report.query.options import asked_window

    users = shared_options.values("user", given.get("user", ()))
    times = asked_window(shared_options.times(given), datetime.now().astimezone())
    pick = Pick(shared_options.values("job", given["job"]), tuple(map(uid_of, users)), times)
    return Records(files, Path() if files else config.load({"db": given["db"]}).db, pick, backwards)


def _write(lines: Iterable[bytes], records: Records, *, raw: bool = False) -> None:
    """Write lines to stdout as bytes. On a terminal unprintable characters become question marks,
    since names may have any bytes, unless `raw`.
    """
    out = sys.stdout.buffer
    masked = not raw and out.isatty()
    source = iter(lines)
    while chunk := b"".join(islice(source, _LINES)):
        out.write(_printable(chunk) if masked else chunk)
    out.flush()
    request.say(records.words)


def _printable(chunk: bytes) -> bytes:
    text = chunk.decode("utf-8", "surrogateescape")
    return "".join(
        character if character.isprintable() or character == "\n" else "?" for character in text
    ).encode()


def _yes(_name: bytes) -> bool:
    return True


def _ask(name: bytes) -> bool:
    """Ask on stdout, as the original does, whether a command is junk; no answer means no."""
    out = sys.stdout.buffer
    question = b"Junk `%16b'? " % name
    out.write(_printable(question) if out.isatty() else question)
    out.flush()
    return sys.stdin.buffer.readline().lstrip()[:1] in (b"y", b"Y")


@report.command()
@picking()
@click.argument("job", required=False, shell_complete=complete.jobs)
def classic(*, job: str | None, db: Path | None, **given: Any) -> None:  # noqa: ANN401
    """What the original ELSA printed for a JOB, or for every job; times are in seconds.

    All figures are from accounting records: number of processes, sum of their elapsed times, user
    and system time, page faults. With a window: of the processes that ended in it.

    \b
    Examples:
      elsa report classic build
      elsa report classic --day yesterday
    """
    from datetime import datetime

    from elsa.report import classic as made
    from elsa.report.query import job_lookup, warehouse
    from elsa.report.query.options import asked_window

    window = asked_window(shared_options.times(given), datetime.now().astimezone())
    words: list[str] = []
    with warehouse.reading_allowed(config.load({"db": db}).db, window.since) as connection:
        words += warehouse.notes(connection)
        number = None
        if job is not None:
            number, said = job_lookup.latest(connection, job)
            words += said
        count = 0
        for block in made.classic(connection, number, window, words):
            click.echo(block)
            count += 1
        if not count:
            words.append("no process of a job ended in that window" if window else "no job yet")
    request.say(words)
