"""`make vm-test`: a whole life of the Debian package on a real machine with systemd: a fresh
Debian in qemu, from the installation to the purge. Each step is asserted, and prints one line.

RELEASE is bookworm or trixie. VM_SH names the script that builds and boots the machine (vm.sh);
VM the folder of its image, which is made if it is not there. PACKAGES are installed too: with
PACKAGES=podman, a container is a step. STEPS=load,reboot takes these steps alone, on the
machine as it is, and lets it run on. Emulation is slow: on two busy cores, each step takes one to
six minutes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("RELEASE", "bookworm")
VM_SH = Path(os.environ.get("VM_SH") or ROOT.parent / "shared/vm/vm.sh")
VM = Path(os.environ.get("VM") or ROOT / f"build/vm-{RELEASE}").absolute()
PACKAGES = os.environ.get("PACKAGES", "")
# The package before the upgrade and after it: the same programs.
OLD, NEW = "0.0.1", "0.0.2"
TIMERS = ("elsa-ingest.timer", "elsa-prune.timer", "elsa-alert.timer")
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends"
# Exit codes of apt-get when it refuses, and of jobd when the warehouse is of another version.
APT_REFUSES, EXIT_CONFIG = 100, 78
EXIT_USER, EXIT_STATE_DIRECTORY = 217, 238  # systemd.exec(5)
# How long the machine is suspended, and how long a process runs besides that time.
SUSPENDED_S, AWAKE_S = 40, 60
# Processes that fork without end and memory that is not there, on every CPU, for so many seconds.
LOAD_S = 60

# What `systemd-analyze security` may find at most.
MOST_EXPOSED = 1.5

# The users of the machine.
ANNA, BEN = 1000, 1001

# What the proxy of the pages does, in the machine.
PROXY = """\
import http.client, socket, sys
path, user = sys.argv[1:]
connection = http.client.HTTPConnection("elsa.example.org")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect("/run/elsa-web/web.sock")
connection.request("GET", path, headers={"X-Remote-User": user})
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


class Job(NamedTuple):
    """A job, as the warehouse has it."""

    id: int
    name: str
    owner_uid: int
    state: str
    complete: int


# --- the machine


def vm(*command: str, user: str = "root", check: bool = True) -> subprocess.CompletedProcess[str]:
    """A command of vm.sh."""
    environ = {**os.environ, "VM": str(VM), "VM_USER": user}
    done = subprocess.run(
        [str(VM_SH), *command],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if check:
        output = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
        assert done.returncode == 0, f"{command}: exit code {done.returncode}: {output}"
    return done


def run(command: str, user: str = "root") -> str:
    """What a command prints in the machine."""
    return vm("run", command, user=user).stdout.strip()


def start(command: str) -> None:
    """Start a command in the machine that outlives this call, and the login."""
    run(f"systemd-run --quiet --collect --unit started-{time.monotonic_ns()} {command}")


def rows(select: str) -> list[list[Any]]:
    """Rows of the warehouse."""
    text = run(f"sqlite3 -readonly -json /var/lib/elsa/elsa.db {shlex.quote(select)}")
    return [list(row.values()) for row in json.loads(text or "[]")]


def ingest() -> None:
    """Read the accounting file now, by the unit."""
    run("systemctl start elsa-ingest.service")


def unit(name: str, *properties: str) -> list[str]:
    """Properties of a unit."""
    shown = run(f"systemctl show -p {','.join(properties)} {name}").splitlines()
    values = dict(line.split("=", 1) for line in shown)
    return [values[each] for each in properties]


def wait_for(what: str, query: Callable[[], object], seconds: float = 600) -> None:
    """Wait until the query returns something; how long, is a matter of how busy the host is."""
    until = time.monotonic() + seconds
    while not query():
        assert time.monotonic() < until, f"{what}: not within {seconds:.0f} s"
        time.sleep(1)


def new_gaps(after: int) -> list[str]:
    """The kinds of gaps since this one, in order."""
    return [kind for (kind,) in rows(f"select kind from gap where id > {after} order by id")]


def last_gap() -> int:
    """The newest gap."""
    return int(rows("select coalesce(max(id), 0) from gap")[0][0])


def programs(job: int) -> dict[str, int]:
    """The processes of a job, by command."""
    select = (
        f"select command, sum(processes) from job_command_usage where job_id = {job} group by 1"
    )
    return dict(rows(select))


def job(condition: str) -> Job:
    """The newest job that fits a condition on the table."""
    found = rows(
        "select job_id, name, owner_uid, state, complete from job_usage"
        f" where job_id = (select max(id) from job where {condition})"
    )
    assert found, f"no job where {condition}"
    return Job(*found[0])


def all_is_well(since: str = "") -> None:
    """`elsa check` finds nothing, no unit failed, and nothing was forbidden to one."""
    failed = "systemctl list-units --failed --plain --no-legend"
    findings = json.loads(
        run(f"elsa check --format json {since}; {failed} >&2; ! {failed} | grep .")
    )
    bad = [finding for finding in findings["checks"] if finding["status"] != "ok"]
    assert not bad, bad
    complaints = run(
        "journalctl -b --no-pager -u 'elsa-*' -g 'not permitted|denied|Traceback' || :"
    )
    assert complaints in {"", "-- No entries --"}, complaints


def installed() -> str:
    """The version of the package."""
    return run("dpkg-query -W -f '${Version}' elsa")


def since_now() -> str:
    """The option that leaves out the gaps up to now."""
    now = run("date '+%F %T'")
    return f"--since '{now}'"


def keep_open(name: str) -> tuple[int, int]:
    """Start a job with one process that runs on; its id, and the newest gap."""
    start(f"elsa job run --name {name} -- sleep 3000")
    select = f"select id, (select coalesce(max(id), 0) from gap) from job where name = '{name}'"
    wait_for(name, lambda: rows(select))
    job_id, gap = rows(select)[0]
    return job_id, gap


# --- the steps


def boot() -> None:
    """A fresh machine boots."""
    packages = [build(version) for version in (OLD, NEW)]
    VM.mkdir(parents=True, exist_ok=True)
    if not (VM / "root.ext4").exists():
        vm("build", RELEASE, *PACKAGES.split())
    vm("reset")
    vm("boot")
    vm("put", *packages, "/root/")
    release = run("sed -n 's/^VERSION_CODENAME=//p' /etc/os-release")
    assert release == RELEASE, release


def install() -> None:
    """The package is installed, and everything runs."""
    run(f"apt-get update -qq && {INSTALL} /root/elsa_{OLD}_all.deb {PACKAGES}")
    assert installed() == OLD
    wait_for("jobd", lambda: unit("elsa-jobd", "ActiveState") == ["active"])
    for timer in TIMERS:
        assert unit(timer, "ActiveState", "UnitFileState") == ["active", "enabled"], timer
    assert run("stat -c '%U:%G %a' /var/lib/elsa /var/lib/elsa/elsa.db").splitlines() == [
        "elsa:elsa 750",
        "elsa:elsa 640",
    ]
    all_is_well()


def exposure() -> None:
    """The units have no fault that systemd can find, and can do little else than they should."""
    folder = "/usr/lib/systemd/system"
    assert run(f"systemd-analyze verify {folder}/elsa-*.service {folder}/elsa-*.timer 2>&1") == ""
    names = run(f"cd {folder} && ls elsa-*.service").replace("@.", "@elsa-jobd.").split()
    found = {}
    for name in names:
        text = run(f"systemd-analyze --no-pager security {name}")
        level = re.search(r"Overall exposure level for .*: ([0-9.]+)", text)
        assert level is not None, text
        found[name.removesuffix(".service")] = float(level[1])
    print("      exposure:", ", ".join(f"{name} {level}" for name, level in found.items()))
    assert max(found.values()) <= MOST_EXPOSED, found


def session() -> None:
    """A login by ssh is a job of its user, who sees his own jobs alone."""
    done = vm(
        "run",
        "elsa run --name hers -- sh -c '/bin/true; /bin/true; exit 3'",
        user="anna",
        check=False,
    )
    assert done.returncode == 3, done
    run("/bin/true; /bin/true; /bin/true", user="ben")
    wait_for("the end of the sessions", lambda: not rows("select 1 from job where kind = 'session'"
        " and owner_uid > 0 and closed_at_ns is null"))  # fmt: skip
    ingest()
    hers = job("name = 'hers'")
    assert hers[2:] == (ANNA, "closed", 1), hers
    assert programs(hers.id) == {"sh": 1, "true": 2}
    his = job(f"kind = 'session' and owner_uid = {BEN}")
    assert his[3:] == ("closed", 1), his
    assert programs(his.id)["true"] == 3
    seen = json.loads(run("elsa report jobs --format json", user="anna"))
    owners = {each["owner"] for each in seen["rows"]}
    assert owners == {"anna"}, owners


def service() -> None:
    """A service is a job of all its processes."""
    run("systemd-run --quiet --wait --unit probe sh -c '/bin/true; /bin/true; sleep 0.2; :'")
    ingest()
    probe = job("name = 'probe' and kind = 'service'")
    assert probe[2:] == (0, "closed", 1), probe
    assert programs(probe.id) == {"sh": 1, "true": 2, "sleep": 1}


def cron() -> None:
    """A line of a crontab is a job of its user."""
    run(
        "printf '#!/bin/sh\\n/bin/true\\n/bin/true\\n:\\n' >work.sh && chmod +x work.sh", user="ben"
    )
    run("echo '* * * * * $HOME/work.sh' | crontab -", user="ben")
    wait_for("cron", lambda: rows("select 1 from job where kind = 'cron'"
        " and name = 'cron/ben/work.sh' and closed_at_ns is not null"))  # fmt: skip
    run("crontab -r", user="ben")
    ingest()
    work = job("name = 'cron/ben/work.sh'")
    assert work[2:] == (BEN, "closed", 1), work
    ran = programs(work.id)
    assert {name: ran.get(name) for name in ("work.sh", "true")} == {"work.sh": 1, "true": 2}, ran


def container() -> None:
    """A container of podman is a job."""
    run("mkdir -p box/proc box/sys box/dev box/run box/etc box/tmp box/usr")
    run("ln -sf usr/bin usr/lib usr/lib64 box/")
    podman = "podman run --rm --network none -v /usr:/usr:ro --rootfs /root/box"
    run(f"{podman} sh -c '/bin/true; /bin/true; :'")
    ingest()
    pod = job("kind = 'container' and name like 'container/%'")
    assert pod[2:] == (0, "closed", 1), pod
    assert programs(pod.id)["true"] == 2


def web() -> None:
    """The pages are served to a proxy alone, each user's own to him, as docs/web.md has it."""
    pages = (ROOT / "docs/web.md").read_text()
    overrides = re.findall(r"^    \[Service\]\n(?:    .+\n)+", pages, re.MULTILINE)
    (override,) = (text for text in overrides if "--socket" in text)
    text = shlex.quote(textwrap.dedent(override))
    folder = "/etc/systemd/system/elsa-web.service.d"
    run(f"mkdir -p {folder} && printf %s {text} >{folder}/override.conf")
    run("systemctl daemon-reload && systemctl enable -q --now elsa-web")
    wait_for("elsa-web", lambda: run("find /run/elsa-web -name web.sock"))
    asked = f"python3 -c {shlex.quote(PROXY)} '/jobs?format=json'"
    refused = vm("run", f"{asked} anna", user="anna", check=False)
    assert "PermissionError" in refused.stderr, refused
    assert run(f"runuser -u www-data -- {asked} nobody-here").startswith("403 ")

    def owners(user: str) -> set[str]:
        """Whose jobs a user sees; nobody's if a busy machine did not make the page in time."""
        status, _, page = run(f"runuser -u www-data -- {asked} {user}").partition(" ")
        return {each["owner"] for each in json.loads(page)} if status == "200" else set()

    wait_for("the jobs of anna", lambda: owners("anna") == {"anna"})
    wait_for("the jobs of all", lambda: owners("root") >= {"anna", "ben", "root"})
    run(f"systemctl disable -q --now elsa-web && rm -r {folder} && systemctl daemon-reload")
    assert unit("elsa-web", "ActiveState", "Result") == ["inactive", "success"]


def load() -> None:
    """Under storms of forks and without memory, jobd runs on and answers."""
    before = unit("elsa-jobd", "MainPID", "NRestarts")
    gap = last_gap()
    forks = f"timeout {LOAD_S} sh -c 'while :; do /bin/true & /bin/true; done'"
    memory = (
        f"timeout {LOAD_S} python3 -c 'b = bytearray(10**9)\nwhile True: b[::4096] = b[::4096]'"
    )
    run(f"for n in 1 2 3 4; do {forks} & done; {memory} & {memory} & wait; true")
    assert unit("elsa-jobd", "MainPID", "NRestarts") == before
    wait_for("jobd", lambda: vm("run", "elsa job status", check=False).returncode == 0)
    print("      gaps:", new_gaps(gap) or "none")


def suspend() -> None:
    """Jobs go on through a suspend, whose time no process used."""
    open_job, gap = keep_open("over-suspend")
    asleep = "select boottime_offset_ns / 1e9 from clock order by id desc limit 1"
    [[before_s]] = rows(asleep)
    start(f"elsa job run --name slept -- sleep {AWAKE_S}")
    wait_for("slept", lambda: rows("select 1 from job where name = 'slept'"))
    start(f"rtcwake -m mem -s {SUSPENDED_S}")
    time.sleep(SUSPENDED_S + 30)
    wait_for("the machine", lambda: vm("run", "true", check=False).returncode == 0)
    wait_for("the suspend", lambda: rows(asleep)[0][0] > before_s + SUSPENDED_S / 2)
    # CPUs came online, so jobd is started again.
    wait_for("a new start", lambda: "down" in new_gaps(gap))
    assert sorted(set(new_gaps(gap))) == ["cgroup", "down"], new_gaps(gap)
    wait_for("the end of slept", lambda: job("name = 'slept'").state == "closed")
    ingest()
    (slept,) = rows(
        "select wall_s, (ended_ns - started_ns) / 1e9, cpu_s from job_usage where name = 'slept'"
    )
    wall_s, real_s, cpu_s = slept
    suspended_s = rows(asleep)[0][0] - before_s
    assert AWAKE_S <= wall_s < AWAKE_S + SUSPENDED_S / 2, slept
    assert abs(real_s - wall_s - suspended_s) < 1, (slept, suspended_s)
    assert 0 < cpu_s < AWAKE_S / 4, slept
    assert job("name = 'over-suspend'").state == "open"
    run(f"elsa job close {open_job}")
    all_is_well(since_now())


def reboot() -> None:
    """A reboot ends jobs, which are complete; the rest of it is a gap."""
    open_job, gap = keep_open("over-reboot")
    [[boots]] = rows("select count(*) from boot")
    vm("reboot")
    wait_for("jobd", lambda: new_gaps(gap))
    assert new_gaps(gap) == ["shutdown", "boot"], new_gaps(gap)
    # jobd outlives what the shutdown ends, and accounting too.
    assert job(f"id = {open_job}")[3:] == ("closed", 1)
    assert rows("select count(*) from boot") == [[boots + 1]]
    # jobd ended after everything that ends before the journal does.
    (stopped_at,) = rows(
        f"select started_ns / 1e9 from gaps where gap_id > {gap} and kind = 'shutdown'"
    )[0]
    target = run("journalctl -b -1 -o short-unix --no-pager _PID=1"
        " | grep -m 1 'Reached target.*[Ss]ystem Reboot' | cut -d' ' -f 1")  # fmt: skip
    assert stopped_at > float(target), (stopped_at, target)
    # Its unit started before the system was there, and after accounting.
    (jobd,) = unit("elsa-jobd", "InactiveExitTimestampMonotonic")
    (acct,) = unit("acct", "ActiveEnterTimestampMonotonic")
    (basic,) = unit("basic.target", "ActiveEnterTimestampMonotonic")
    assert int(acct) < int(jobd) < int(basic), (acct, jobd, basic)
    [[listens_s]] = rows(f"select duration_s from gaps where gap_id > {gap} and kind = 'boot'")
    print(
        f"      the unit started after {int(jobd) / 1e6:.0f} s, jobd heard after {listens_s:.0f} s"
    )
    all_is_well(since_now())


def power_cut() -> None:
    """A power cut leaves a sound warehouse; what is missing of it is within a gap."""
    open_job, gap = keep_open("over-cut")
    [[boots]] = rows("select count(*) from boot")
    run("sync")
    last_job, _ = keep_open("before-cut")
    [[created_at_ns]] = rows(f"select created_at_ns from job where id = {last_job}")
    time.sleep(10)
    vm("crash")
    vm("boot")
    wait_for("jobd", lambda: new_gaps(gap))
    # What accounting wrote last may have been in memory alone: then its file has a hole.
    kinds = [kind for kind in new_gaps(gap) if kind != "file"]
    assert kinds == ["crash", "boot"], kinds
    assert job(f"id = {open_job}")[3:] == ("closed", 0)
    # So may have been the last commits.
    [[lost_since_ns]] = rows(f"select started_ns from gaps where gap_id > {gap} and kind = 'crash'")
    if rows(f"select 1 from job where id = {last_job}"):
        assert job(f"id = {last_job}")[1:] == ("before-cut", 0, "closed", 0)
    else:
        assert created_at_ns >= lost_since_ns, (created_at_ns, lost_since_ns)
    assert rows("select count(*) from boot") == [[boots + 1]]
    run("elsa db check")
    all_is_well(since_now())


def missing_user() -> None:
    """Without its user or its folder, jobd fails once and says why."""
    stop_all()
    run("usermod -l other elsa")
    fails_once(EXIT_USER, "elsa-jobd.service: Failed to determine user credentials")
    run("usermod -l elsa other")
    run("mv /var/lib/elsa /var/lib/elsa.away && touch /var/lib/elsa")
    # It is reported, and again after an hour at the earliest.
    for _ in range(2):
        fails_once(
            EXIT_STATE_DIRECTORY, "elsa-jobd.service: Failed to set up special execution directory"
        )
        reports = run("journalctl -b --no-pager -o cat -u 'elsa-failed@*'")
        assert reports.count("unit elsa-jobd.service failed (exit-code, exited, 238)") == 1, reports
    run("rm /var/lib/elsa && mv /var/lib/elsa.away /var/lib/elsa")
    run(f"systemctl start elsa-jobd {' '.join(TIMERS)}")
    all_is_well(since_now())


def stop_all() -> None:
    """Stop everything that the package runs."""
    run(f"systemctl stop {' '.join(TIMERS)} 'elsa-*.service'")


def fails_once(code: int, message: str) -> None:
    """Jobd does not start, with this exit code and message, and is not started again."""
    since = run("date '+%F %T'")
    assert vm("run", "systemctl start elsa-jobd", check=False).returncode != 0
    time.sleep(3)
    report = "elsa-failed@elsa-jobd.service.service"
    wait_for(report, lambda: unit(report, "ActiveState") != ["activating"])
    state = unit("elsa-jobd", "ActiveState", "Result", "ExecMainStatus", "NRestarts")
    assert state == ["failed", "exit-code", str(code), "0"], state
    # A process that ends at once may do so before the journal knows whose it is: no -u.
    journal = run(f"journalctl -b --since '{since}' --no-pager -o cat")
    assert message in journal, journal
    run("systemctl stop 'elsa-failed@*' && systemctl reset-failed")


def upgrade() -> None:
    """An upgrade keeps jobs and memberships; the time without jobd is a gap."""
    open_job, gap = keep_open("over-upgrade")
    members = rows(f"select process_id, since_ns from job_membership where job_id = {open_job}")
    run(f"{INSTALL} /root/elsa_{NEW}_all.deb")
    assert installed() == NEW
    assert new_gaps(gap) == ["down"], new_gaps(gap)
    assert job(f"id = {open_job}").state == "open"
    after = f"select process_id, since_ns from job_membership where job_id = {open_job}"
    assert rows(after) == members
    run(f"elsa job close {open_job}")
    [[away_s]] = rows(f"select duration_s from gaps where gap_id > {gap}")
    print(f"      jobd was away for {away_s:.1f} s")
    all_is_well(since_now())


def downgrade() -> None:
    """A downgrade is refused, and older programs leave a newer warehouse alone."""
    refused = vm("run", f"{INSTALL} /root/elsa_{OLD}_all.deb", check=False)
    assert refused.returncode == APT_REFUSES, refused
    assert "--allow-downgrades" in refused.stdout + refused.stderr, refused
    [[revision]] = rows("select version_num from alembic_version")
    stop_all()
    set_revision("9999")
    fails_once(EXIT_CONFIG, "revision 9999")
    assert rows("select version_num from alembic_version") == [["9999"]]
    set_revision(revision)
    run(f"systemctl start elsa-jobd {' '.join(TIMERS)}")
    all_is_well(since_now())


def set_revision(revision: str) -> None:
    """Make the warehouse one of other programs."""
    sql = f"update alembic_version set version_num = '{revision}'"
    run(f"runuser -u elsa -- sqlite3 /var/lib/elsa/elsa.db {shlex.quote(sql)}")


def remove() -> None:
    """Without the package its data stays, and is used when it is installed again."""
    gap, [[jobs]] = last_gap(), rows("select count(*) from job")
    run("apt-get remove -y -qq elsa")
    assert vm("run", "pgrep -x elsa-jobd", check=False).stdout == ""
    assert run("ls /etc/elsa/elsa.toml /var/lib/elsa/elsa.db; id -nu elsa").splitlines() == [
        "/etc/elsa/elsa.toml",
        "/var/lib/elsa/elsa.db",
        "elsa",
    ]
    assert vm("run", "ls /usr/bin/elsa", check=False).returncode != 0
    run(f"{INSTALL} /root/elsa_{NEW}_all.deb")
    wait_for("jobd", lambda: "down" in new_gaps(gap))
    assert rows("select count(*) from job")[0][0] >= jobs
    all_is_well(since_now())


def purge() -> None:
    """Purged, it leaves nothing but accounting, which is not its own."""
    run("systemctl stop 'started-*'")  # the commands of jobs go on without the package
    run("apt-get purge -y -qq elsa")
    places = "/etc/elsa* /var/lib/elsa* /run/elsa* /usr/lib/elsa* /etc/systemd/system/*/elsa*"
    places += " /usr/lib/systemd/system/elsa* /usr/lib/systemd/system/acct.service.d"
    left = run(
        f"ls -d {places} 2>/dev/null; getent passwd elsa; getent group elsa; pgrep -a elsa; true"
    )
    assert left == "", left
    assert unit("acct", "ActiveState") == ["active"]
    assert run("systemctl list-units --failed --plain --no-legend") == ""


def power_off() -> None:
    """The machine shuts down."""
    vm("run", "systemctl poweroff", check=False)
    # vm.sh cuts the power after two minutes.
    wait_for("the end", lambda: vm("monitor", "info status", check=False).returncode != 0)
    vm("off")


STEPS = (
    boot,
    install,
    exposure,
    session,
    service,
    cron,
    container,
    web,
    load,
    suspend,
    reboot,
    power_cut,
    missing_user,
    upgrade,
    downgrade,
    remove,
    purge,
    power_off,
)
NAMES = [step.__name__ for step in STEPS]


def main() -> None:
    """Run the steps, and say how long each took."""
    if not os.access(VM_SH, os.X_OK):
        sys.exit(f"{VM_SH} is not there: set VM_SH to the script vm.sh that boots machines")
    chosen = os.environ.get("STEPS", "").replace(",", " ").split()
    if unknown := set(chosen) - set(NAMES):
        sys.exit(f"STEPS={' '.join(sorted(unknown))}: not among {', '.join(NAMES)}")
    began, well = time.monotonic(), True
    try:
        if chosen and "boot" not in chosen:
            vm("boot")  # which leaves one that runs alone
        for step in STEPS:
            if not chosen or step.__name__ in chosen:
                well = take(step) and well
                if not well and step in (boot, install):
                    break
    finally:
        if not chosen:
            vm("off", check=False)
    print(f"{RELEASE}: {'all well' if well else 'failed'} in {time.monotonic() - began:.0f} s")
    sys.exit(not well)


def take(step: Callable[[], None]) -> bool:
    """Take one step, and print a line; whether it went well. One that fails ends no other."""
    if step is container and "podman" not in PACKAGES.split():
        print("skip          A container: PACKAGES=podman is not set.")
        return True
    began, failure = time.monotonic(), ""
    try:
        step()
    except Exception as error:  # output that is not as expected is a failure too
        failure = f"\n      {step.__name__}: {error!r}"
    result = "FAIL" if failure else "ok  "
    print(f"{result} {time.monotonic() - began:6.1f} s {step.__doc__}{failure}", flush=True)
    return not failure


def build(version: str) -> str:
    """The package, as this version."""
    done = subprocess.run(
        [sys.executable, "scripts/deb.py", version, f"build/vm-packages/{version}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return str(ROOT / done.stdout.strip())


if __name__ == "__main__":
    main()
