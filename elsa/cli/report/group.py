"""The command that all reports are below, and what its help teaches."""

from __future__ import annotations

import contextlib
import signal

import click

from elsa.cli.main import CONTEXT, Group


@click.group(cls=Group, context_settings=CONTEXT)
def report() -> None:
    """What jobs, commands and users cost.

    Data goes to stdout; on stderr stands how complete it is, unless both witnesses, the kernel's events and its accounting records, saw
    every process. Tables show local times and "-" for what is unknown;
    the other formats carry UTC times, raw values and empty or null for what is unknown.

    \b
    Which processes: every report takes those of these that make sense for it; give one several times, or several values
    with commas, to mean any of them:
      --job 12  --job build  --job 'night*'   --user anna  --group 100   --command 'cc*'   --tty pts/3  --pid 4711
      --exit 0|3|nonzero|signal|SIGKILL|core  --state running|ended|completed|failed       --tag project=web
      --kind manual|automatic|service|session|cron|container|...
      --since TIME  --until TIME  --host web1, where the warehouse has several hosts
    A backslash before a comma makes it part of a value: --command 'a\\,b'. Names are stored with each byte that cannot be printed as
    \\xNN and a backslash doubled; write them so, or as they are. A command longer than the 15 bytes that the kernel keeps stands for
    whatever begins with these. A user or group is a name first, even one of digits; uid:4711 and gid:100 are always numbers.
    Names are this host's; of other hosts' users and groups there are the numbers.

    \b
    TIME is one of:
      2026-11-02   2026-11-02T09:30   2026-11-02T09:30+01:00   2026-11   1102   09:30   9:30pm
      today   yesterday   midnight   noon   now   now-2hours   now-30minutes   now-1day
    A process belongs to the window in which it ended, or was taken out of the job that is looked at: from --since on, before --until.
    So days add up to the month, exactly. With --clip it is spread over its life and cut to the window instead, which is an estimate.
    \b
    How it is written:
      --format table|csv|tsv|json|jsonl|parsable   parsable is that of sacct -P
      --columns name,cpu_s,tags%30   --columns +cmdline   --columns all   --columns help
      --sort -cpu_s,name   --limit 10   --units M   --no-header   --raw   --explain

    \b
    Examples:
      elsa report jobs                                    every job
      elsa report job build                               one job and its commands
      elsa report job build --since today                 what it cost today
      elsa report commands --since today                  what commands used today, the dearest first
      elsa report users --since yesterday --until today   what each user used yesterday
      elsa report runs --kind service                     the last run of each service, and how many runs there were
      elsa report kinds                                   services, sessions, cron jobs and the rest: all of the host
      elsa report compare nightly                         what the last run cost, against those before it
      elsa report tree build                              who started whom, and what each branch cost
      elsa report hours --since yesterday --plot          when the CPU was busy, as bars
      elsa report last --user anna --exit nonzero         what of anna's failed, the newest first
      elsa report processes --job build --format csv      a spreadsheet of every process of a job
      elsa report processes --limit 20                    the last 20 to end
      elsa report bill --month 2026-11                    what each user has to pay for it
      elsa report sa -m --since today                     as sa of GNU acct prints it; also lastcomm and dump-acct
      elsa report gaps                                    when something may have been missed
      elsa report audit --since yesterday                 who saw what: are the figures complete, and if not, why?
    """
    # A report changes nothing, and SQLite may work on one statement for long, or for ever: Ctrl-C
    # ends it at once.
    with contextlib.suppress(ValueError):  # not in the main thread, where there is no Ctrl-C
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
