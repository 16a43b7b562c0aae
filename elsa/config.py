"""Settings: built-in defaults < /etc/elsa/elsa.toml < ELSA_* environment < command line flags. An
unknown key is an error.

docs/config.md describes every key; a test keeps the two in step.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from elsa import durations
from elsa.errors import ConfigError, UsageError
from elsa.fleet_url import FleetUrl, is_url, refused
from elsa.kernel.acct_paths import ACCT_FILES
from elsa.units import HOUR_NS, SECOND_NS

if TYPE_CHECKING:
    from elsa.state.job_rules import Rule

DEFAULT_FILE = Path("/etc/elsa/elsa.toml")
# Data about what has just ended may still arrive.
SHORTEST_KEPT_NS = 24 * HOUR_NS


@dataclass(frozen=True)
class Config:
    """Every setting of ELSA, with its default."""

    db: Path = Path("/var/lib/elsa/elsa.db")
    """The warehouse."""
    socket: Path = Path("/run/elsa/jobd.sock")
    """The control socket of jobd."""
    acct_file: Path = ACCT_FILES[0]
    """The accounting file that the ingester reads when none is named."""
    group: str = "elsa"
    """Members of this group manage every job, as root does."""
    receive_buffer_mib: int = 256
    """Receive buffer of the process events socket; the kernel takes 832 bytes of it per queued
    event, and only while one is queued.
    """
    drain_ms: int = 20
    """How long jobd lets events gather before it reads them: waking for each one would slow every
    fork of the host.
    """
    commit_ms: int = 1000
    """How often jobd commits to the warehouse."""
    taskstats: bool = True
    """Whether jobd hears taskstats too: exact CPU time, memory, I/O and delays of every process
    that ends.
    """
    cmdlines: bool = True
    """Whether jobd looks at the arguments, executable, directory, cgroup, login and session of what
    is executed.
    """
    redact: str = (
        r"pass|pwd|secret|token|credential|auth|cookie|identified by|(api|access|private)[-_]?key"
    )
    """Whose value is kept out of stored arguments: a regular expression for names of options and
    variables.
    """
    redact_options: str = (
        "mysql*:p mariadb*:p sshpass:p mongo*:p 7z*:p ldap*:w redis-cli:a zip:P unzip:P smbclient:U"
    )
    """Which programs are given secrets with options of one letter, PROGRAM:LETTERS; this and
    `redact` empty: nothing is kept out.
    """
    jobs_per_process: int = 16
    """How many open jobs of one owner a process may be in: each of its children is in all of them.
    """
    jobs_per_user: int = 1000
    """How many open jobs a user may have who is neither root nor in `group`."""
    auto_jobs: bool = True
    """Whether jobd makes a job of each service, session, container and so on, without being asked.
    """
    job_rule_defaults: bool = True
    """Whether the built-in rules for automatic jobs come after those in `job_rule`."""
    job_rule: tuple[Rule, ...] = ()
    """Rules for automatic jobs, tables of the file alone; the first that matches decides."""
    define_s: int = 300
    """How many seconds it may take to find what a job after the fact is made of."""
    interval_s: int = 60
    """How often jobd reads what living processes have used, in seconds that divide an hour."""
    backlog_events: int = 250_000
    """How many events may wait in memory for a warehouse that cannot be written; what comes on top
    is dropped and becomes a gap.
    """
    keep_events: str = "90 days"
    """How long `elsa db prune` keeps fork, exec and exit events: so many hours, days, weeks or
    years, or `forever`; 0: jobd does not store them.
    """
    keep_intervals: str = "7 days"
    """How long it keeps what living processes used in each interval; then in each hour."""
    keep_processes: str = "forever"
    """How long it keeps processes with their records and statistics; hourly sums of them stay."""
    keep_rollups: str = "forever"
    """How long it keeps the hourly sums of processes that were pruned."""

    alert_command: tuple[str, ...] = ()
    """What `elsa alert` runs when something went wrong, in words, without a shell; none: it prints
    the alerts.
    """
    alert_kinds: str = "manual,cron,service,slurm,ci"
    """Of which kinds of jobs `elsa alert` judges failures and usage."""
    alert_growth: str = "cpu:+50%,peak:+50%"
    """By how much a job may exceed the median of its earlier runs, as with `elsa report compare
    --fail-on`; or `never`.
    """
    alert_budget: tuple[tuple[str, str], ...] = ()
    """What jobs may cost: a table of the file alone, from a name or glob to a budget."""

    push_to: str = "none"
    """The fleet database to which `elsa push` sends the sums of this host: postgresql://...; or
    `none`.
    """


class Setting(NamedTuple):
    """A setting as it is in force."""

    value: Any
    source: str
    """`default`, the file, the environment variable or the flag that it comes from."""


def load(
    overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    """Settle every setting.

    `overrides` are the command line's flags; None values in it mean "not given".
    Raises ConfigError for an unknown key, a value of the wrong type or an unreadable file, and
    UsageError if the warehouse is a fleet database.
    """
    settings = settle(overrides, environ)
    db = settings["db"]
    if isinstance(db.value, FleetUrl):
        raise UsageError(
            f"{db.source}: {db.value} is a fleet database; this command works on the warehouse of a"
            " host, so name its file with --db"
        )
    return Config(**{name: setting.value for name, setting in settings.items()})


def fleet(
    overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> FleetUrl | None:
    """The URL of the fleet database, if the setting `db` is one and not a warehouse."""
    value = settle(overrides, environ)["db"].value
    return value if isinstance(value, FleetUrl) else None


def settle(
    overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> dict[str, Setting]:
    """Every setting, and where it comes from. Raises ConfigError as `load`."""
    environ = os.environ if environ is None else environ
    fields = {field.name: field for field in dataclasses.fields(Config)}
    settings = {name: Setting(field.default, "default") for name, field in fields.items()}
    path, values = _from_file(environ.get("ELSA_CONFIG"), fields)
    settings |= {name: Setting(value, str(path)) for name, value in values.items()}
    for name, field in fields.items():
        variable = f"ELSA_{name.upper()}"
        if variable in environ:
            settings[name] = Setting(_convert(field, environ[variable], variable), variable)
    for name, value in (overrides or {}).items():
        if value is not None:
            flag = f"--{name.replace('_', '-')}"
            settings[name] = Setting(_convert(fields[name], value, flag), flag)
    interval_s = settings["interval_s"].value
    if 3600 % interval_s:
        raise ConfigError(
            f"interval_s: {interval_s} seconds do not divide an hour; take for example 30,"
            " 60 or 300"
        )
    return settings


def kept_ns(age: object, where: str, *, may_be_0: bool = False) -> int | None:
    """For how long something is kept, None if forever; 0 only where it `may_be_0`. Raises
    ConfigError.
    """
    text = age.strip().lower() if isinstance(age, str) else ""
    if text == "forever":
        return None
    if may_be_0 and (text == "0" or (type(age) is int and age == 0)):
        return 0
    # With a minus sign it is mistyped: to delete more than was meant cannot be undone.
    length_s = None if text.startswith("-") else durations.age(text)
    length_ns = round((length_s or 0) * SECOND_NS)
    if length_ns < SHORTEST_KEPT_NS:
        or_0 = ", or 0: no events are stored" if may_be_0 else ""
        raise ConfigError(
            f"{where}: cannot keep for {age!r}; write for example 36 hours, 30 days, 8 weeks, 2y"
            f" (a day at least) or forever{or_0}"
        )
    return length_ns


def _from_file(
    named: str | None, fields: Mapping[str, dataclasses.Field[Any]]
) -> tuple[Path, dict[str, Any]]:
    """The file, and the values that it has."""
    path = Path(named) if named else DEFAULT_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if named:
            raise ConfigError(f"{path}: no such file (named by ELSA_CONFIG)") from None
        return path, {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    import tomllib  # only here, as most hosts have no settings of their own

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    for key in table:
        if key not in fields:
            raise ConfigError(f"{path}: unknown key {key!r}; the keys are: {', '.join(fields)}")
    return path, {
        key: _of_file(fields[key], value, f"{path}: {key}") for key, value in table.items()
    }


def _of_file(field: dataclasses.Field[Any], value: object, where: str) -> object:
    """A value of the file, where only texts have quotes."""
    kind = type(field.default)
    if kind in (bool, int) and type(value) is not kind:
        needed = "true or false" if kind is bool else "a whole number above 0"
        quotes = " without quotes" if isinstance(value, str) else ""
        raise ConfigError(f"{where}: {needed}{quotes} is needed, not {value!r}")
    return _convert(field, value, where)


def _convert(field: dataclasses.Field[Any], value: object, where: str) -> object:
    """One value in the type of its field; the type is read off the default."""
    kind = type(field.default)
    if kind is tuple:
        return _OF_TABLES[field.name](value, where)
    if issubclass(kind, Path):
        return _place(field, value, where)
    if isinstance(field.default, bool):
        word = str(value).lower()
        if word in ("true", "1", "yes", "on", "false", "0", "no", "off"):
            return word in ("true", "1", "yes", "on")
        raise ConfigError(f"{where}: true or false is needed, not {value!r}")
    if kind is int:
        try:
            number = (
                int(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
            )
        except ValueError:
            number = None
        if number is None or number <= 0:
            raise ConfigError(f"{where}: a whole number above 0 is needed, not {value!r}")
        return number
    return _text(field, value, where)


def _place(field: dataclasses.Field[Any], value: object, where: str) -> Path | FleetUrl:
    """A path; the warehouse may also be the URL of a fleet database."""
    if field.name == "db" and isinstance(value, FleetUrl):
        return value
    why = refused(value)
    if why is not None:
        raise ConfigError(f"{where}: {why}")
    if isinstance(value, str | Path) and str(value) and "\0" not in str(value):
        return FleetUrl(str(value)) if field.name == "db" and is_url(value) else Path(value)
    raise ConfigError(f"{where}: a path is needed, not {value!r}")


def _text(field: dataclasses.Field[Any], value: object, where: str) -> str:
    if field.name.startswith("keep_"):
        kept = kept_ns(value, where, may_be_0=field.name == "keep_events")
        return "0" if kept == 0 else str(value)
    if (
        field.name == "alert_kinds"
        and isinstance(value, list)
        and all(isinstance(word, str) for word in value)
    ):
        value = ",".join(value)
    if field.name == "push_to" and not (value == "none" or is_url(value)):
        # Not shown: it may have a password in it.
        raise ConfigError(f"{where}: a URL that begins with postgresql:// is needed, or none")
    if isinstance(value, str) and (value or field.name.startswith("redact")):
        return value
    raise ConfigError(f"{where}: a text is needed, not {value!r}")


def _words(value: object, where: str) -> tuple[str, ...]:
    """The words of a command; a text is one word."""
    words = [value] if isinstance(value, str) else value
    if (
        not isinstance(words, list)
        or not all(isinstance(word, str) and "\0" not in word for word in words)
        or (words and not words[0])
    ):
        raise ConfigError(
            f'{where}: a list of words is needed, such as ["mail", "root"], not {value!r}'
        )
    return tuple(words)


def _budgets(table: object, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(table, dict) or not all(isinstance(text, str) for text in table.values()):
        raise ConfigError(
            f"{where}: a table [alert_budget] of the configuration file is needed, such as nightly"
            ' = "cpu=1h,wall=30m"'
        )
    return tuple(table.items())


def _job_rules(tables: object, where: str) -> tuple[Rule, ...]:
    """The rules of automatic jobs; an error names the rule by its number, from 1."""
    from elsa.state.job_rules import MOST_RULES, rule_of  # few files have any

    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{where}: rules are tables [[job_rule]] of the configuration file")
    if len(tables) > MOST_RULES:
        raise ConfigError(f"{where}: at most {MOST_RULES} rules are possible, not {len(tables)}")
    rules = []
    for number, table in enumerate(tables, start=1):
        try:
            rules.append(rule_of(table))
        except ValueError as error:
            raise ConfigError(f"{where} {number}: {error}") from None
    return tuple(rules)


_OF_TABLES: dict[str, Callable[[object, str], tuple[Any, ...]]] = {
    "job_rule": _job_rules,
    "alert_command": _words,
    "alert_budget": _budgets,
}
