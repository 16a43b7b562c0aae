"""The command group `elsa report`, whose help explains the options that all reports share."""

from __future__ import annotations

import contextlib
import importlib
import signal

import click

from elsa.cli.main import CONTEXT, Group

SHORT = """\
What jobs, commands and users cost. Questions, and reports that answer them:

  elsa report jobs --kind cron --since yesterday   how did the cron jobs go?
  elsa report job build                            what did this job cost?
  elsa report users --week last                    who used the CPU then?
  elsa report timeline                             when was the machine busy?
  elsa report at 03:12                             what made it slow then?
  elsa report last --user anna --since today       what did anna run?
  elsa report last --exit nonzero --since today    what failed?
  elsa report compare nightly                      did the last run get worse?
  elsa report runs --kind service --sort grown     which service grew in memory?
  elsa report kinds                                services, sessions, the rest
  elsa report tree build                           which process was it?
  elsa report bill --by group --month last         what has each group to pay?
  elsa report gaps                                 is anything missing?

More: {}.
elsa report --help explains times, selections and columns. Users who may not
read the warehouse get these reports of their own jobs and processes.
"""


# The reports of each file of elsa/cli/report/.
_FILES = {
    "bill": ("bill",),
    "gnu": ("classic", "dump-acct", "lastcomm", "sa"),
    "jobs": ("compare", "job", "jobs", "kinds", "runs"),
    "moment": ("at",),
    "processes": ("events", "last", "processes"),
    "sacct": ("sacct",),
    "sources": ("audit", "connect", "gaps"),
    "timeline": ("timeline",),
    "trees": ("flame", "tree"),
    "usage": ("commands", "days", "groups", "hours", "months", "users"),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}


class _Reports(Group):
    """The reports, with a hint where people expect one that has another name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, without importing anything."""
        return sorted(_FILE_OF)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the file of a report, which adds its reports to the group."""
        if cmd_name in _FILE_OF:
            importlib.import_module(f"elsa.cli.report.{_FILE_OF[cmd_name]}")
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does."""
        if args[:1] == ["services"]:
            raise click.UsageError(
                "No such command 'services'. Did you mean: elsa report runs --kind service (each"
                " service's last run), or: elsa report jobs --kind service",
                ctx,
            )
        return super().resolve_command(ctx, args)


@click.group(cls=_Reports, context_settings=CONTEXT, invoke_without_command=True)
@click.pass_context
def report(context: click.Context) -> None:
    """What jobs, commands and users cost.

    Data goes to stdout. Notes on stderr say how complete it is, unless both sources, the kernel's
    events and its accounting records, reported every process. Tables show local times, and "-" for
    unknown values; the other formats have UTC times, raw values, and empty or null for unknown
    values.

    \b
    Options that select processes; each report has those that make sense for it:
      --job 12  --job build  --job nightly#-2  --job 'night*'  --tag project=web
      --kind manual|automatic|service|session|cron|container|...
      --user anna  --group 100  --command 'cc*'  --tty pts/3  --pid 4711
      --exit 0|3|nonzero|signal|SIGKILL|core
      --state running|ended|completed|failed
      --exe /usr/bin/rsync  --cmdline 'backup*'  --cgroup nginx.service
      --since TIME  --until TIME  --day DAY  --week WEEK  --month MONTH
      --host web1, if the warehouse has several hosts

    A name means all jobs that have it, or the latest where one job is needed. nightly#-2 is the run
    before the last, nightly#1 the first. service:nginx is that of a kind, anna:nightly that of an
    owner, manual:anna:nightly of both.

    Repeat an option, or give several values with commas, to match any of them. A backslash before a
    comma makes it part of a value: --command 'a\\,b'. Names are stored with \\xNN for each byte
    that cannot be printed, and with doubled backslashes; write them so, or as they are. The kernel
    keeps 15 bytes of a command name; a longer name matches every command that begins with these. A
    user or group of digits is taken as a name first; uid:4711 and gid:100 are always numbers. Users
    and groups of other hosts have numbers, not names.

    \b
    TIME is one of:
      2026-11-02  2026-11-02T09:30  2026-11-02T09:30+01:00  1102  2026-11  2026
      09:30  09:30:28.5  09:30Z  9:30pm  noon  'yesterday 18:00'  'monday 9am'
      today  yesterday  @1796021488        since 1970, in seconds
      monday  'last monday'  november      the latest; weeks start on Monday
      'this week'  'last week'  'last month'  'last year'
      7d  -7d  '7 days ago'  'a week ago'  'last 7 days'  now-7d  1.5h  now
    A day, week, month or year stands for its start. A time of day is the latest
    such time; with --until, the first after --since. Ages are ms, s, m, h, d, w,
    month (30 days) and y (365 days), also in full, as everywhere in elsa.

    \b
    Instead of --since and --until:
      --day yesterday|monday|2026-11-02
      --week last|this|2026-W48
      --month last|this|november|2026-11

    A process belongs to the window in which it ended, or left the selected job: from --since on,
    before --until. So days add up exactly to the month. With --clip its usage is spread over its
    lifetime and cut to the window instead, which is an estimate. For processes and last, --alive
    takes those that lived in the window, and --at TIME those that lived at a moment.

    \b
    Options for the output:
      --format table|csv|tsv|json|jsonl|parsable     parsable is as in sacct -P
      --columns name,cpu_s,tags%30  --columns +cmdline  --columns all
      --columns help  --sort cpu,name  --limit 10  --all  --units M
      --no-header  --raw  --explain

    Columns have the names of the machine formats; the headings of tables will do. Figures are
    sorted largest first, other columns in their order. Tables have 100 rows unless --limit or
    --all says otherwise, and the other formats all rows. On a terminal the least important columns
    are left out, and named, until the rest fits.

    \b
    Examples:
      elsa report jobs                                every job
      elsa report job build                           a job and its commands
      elsa report job build --since today             what it cost today
      elsa report commands --since today              what commands used today
      elsa report users --week last                   what each user used
      elsa report runs --kind service                 each service's last run
      elsa report kinds                               services, sessions, the rest
      elsa report compare nightly                     the last and earlier runs
      elsa report tree build                          the process tree and costs
      elsa report timeline --by job                   CPU, memory, I/O over time
      elsa report hours --since yesterday --plot      when the CPU was busy
      elsa report at yesterday 03:12                  what ran then, how fast
      elsa report last --user anna --exit nonzero     what failed, newest first
      elsa report processes --job build --format csv  every process of a job
      elsa report processes --limit 20                the last 20 to end
      elsa report bill --month 2026-11                what each user has to pay
      elsa report sa -m --since today                 as sa of GNU acct prints it
      elsa report gaps                                when data may be missing
      elsa report audit --since yesterday             do both sources agree?
    """
    if context.invoked_subcommand is None:
        import textwrap

        others = (name for name in report.list_commands(context) if f"report {name} " not in SHORT)
        more = textwrap.fill(", ".join(others), 70, subsequent_indent=" " * 6)
        click.echo(SHORT.format(more), nl=False)
        return
    # A report changes nothing, and SQLite may work on one statement for a long time: Ctrl-C ends
    # the program at once.
    with contextlib.suppress(ValueError):  # only the main thread may set handlers
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
