"""Who may do what in the Webmin module, and as whom elsa runs."""

from __future__ import annotations

import gzip
import io
import os
import pwd
import subprocess
import tarfile
from pathlib import Path

import pytest

from elsa import __version__
from scripts import webmin
from tests.support.webmin import MODULE, STUB, Site, perl
from tests.unit.webmin.conftest import ME

OTHER = "nobody"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
WHO = 'echo "{\\"rows\\": [{\\"name\\": \\"$(id -u) $(id -g) $(id -G) $HOME $SECRET.\\"}]}"'


def who(site: Site, user: str) -> str:
    """As whom elsa runs for a Webmin user, or why it does not."""
    answer = site.get("index.cgi", user)
    return answer.problem or answer.cells()[0][1]


@needs_root
def test_elsa_runs_as_the_unix_user_of_that_name(site: Site) -> None:
    site.configure(report_program=site.program("who", WHO))
    other = pwd.getpwnam(OTHER)
    assert who(site, OTHER) == f"{other.pw_uid} {other.pw_gid} {other.pw_gid} {other.pw_dir} ."
    assert who(site, ME).startswith("0 0 ")


@needs_root
def test_elsa_runs_as_the_unix_user_that_was_chosen(site: Site) -> None:
    site.configure(report_program=site.program("who", WHO))
    site.allow("webadmin", user=OTHER)
    assert who(site, "webadmin").startswith(f"{pwd.getpwnam(OTHER).pw_uid} ")


@needs_root
def test_a_user_cannot_become_root_again(site: Site) -> None:
    code = "import os; os.setresuid(0, 0, 0)"
    site.configure(report_program=site.program("who", f"exec /usr/bin/env python3 -c '{code}'"))
    assert "PermissionError" in who(site, OTHER) or "Operation not permitted" in who(site, OTHER)


@needs_root
def test_a_plain_user_reads_nothing_that_his_unix_user_may_not(site: Site) -> None:
    secret = site.folder / "secret"
    secret.write_text('{"rows": [{"name": "read"}]}')
    secret.chmod(0o600)
    site.configure(report_program=site.program("reads", f"exec cat '{secret}'"))
    assert who(site, ME) == "read"
    assert "Permission denied" in who(site, OTHER)


def test_a_webmin_user_without_a_unix_user_gets_nothing(site: Site) -> None:
    site.configure(report_program=site.program("who", WHO))
    for user in ("no-such-user", ""):
        assert who(site, user).startswith(f"There is no Unix user {user}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can become any user")
def test_who_cannot_become_another_runs_nothing(site: Site) -> None:
    site.configure(report_program="/bin/true")  # root's own, so that root might run it
    site.allow(ME, user="root")
    assert who(site, ME).endswith("could not be run as root.")


def test_a_program_that_others_can_change_is_not_run(site: Site) -> None:
    program = site.program("who", WHO)
    site.configure(report_program=program)
    assert "is not run" not in who(site, ME)
    program.chmod(0o775)
    assert who(site, ME).startswith(f"{program} is not run")
    program.chmod(0o755)
    site.folder.chmod(0o777)
    assert who(site, ME).startswith(f"{program} is not run")


@needs_root
def test_a_program_of_another_user_is_not_run_as_root(site: Site) -> None:
    program = site.program("who", WHO)
    os.chown(program, pwd.getpwnam(OTHER).pw_uid, -1)
    site.configure(report_program=program)
    assert who(site, ME).startswith(f"{program} is not run")


def test_programs_get_the_warehouse_and_the_socket_of_the_configuration(site: Site) -> None:
    """A plain user's reports need both: what he may not read jobd sends him."""
    script = 'echo "{\\"rows\\": [{\\"name\\": \\"$ELSA_DB $ELSA_SOCKET\\"}]}"'
    site.configure(report_program=site.program("where", script), db="/a b", socket="/s")
    assert who(site, ME) == "/a b /s"
    site.configure(db="", socket="")
    assert who(site, ME) == " "


@pytest.mark.parametrize("path", ["", "/nowhere/elsa-report", "/etc"])
def test_a_missing_elsa_is_said_with_its_path(site: Site, path: str) -> None:
    site.configure(report_program=path)
    for page in ("index.cgi", "job.cgi", "bill.cgi"):
        assert (site.get(page, ME, job="1").problem or "").startswith(f"elsa is not at {path}. ")


@pytest.fixture
def recorded(site: Site) -> Path:
    """The words with which elsa-job was started."""
    path = site.folder / "recorded"
    path.touch()
    script = f"""for word; do printf '%s\\n' "$word"; done >>'{path}'
        case $1 in create) echo 12;; *) echo "job 12 (<x>): done" >&2;; esac"""
    site.configure(job_program=site.program("job", script), socket="")
    return path


def test_a_manager_creates_and_changes_jobs(site: Site, recorded: Path) -> None:
    page = site.post("save_job.cgi", ME, action="create", name="--night", tags="a=b\r\n\r\nc=$(d)")
    assert "Job 12 was created" in page.html and "href='job.cgi?job=12'" in page.html
    page = site.post("save_job.cgi", ME, job="12", pids="41, 42", tree="1", add="Add processes")
    assert "job 12 (&lt;x&gt;): done" in page.html
    site.post("save_job.cgi", ME, job="12", pids="41", tree="1", remove="Remove processes")
    asked = site.post("save_job.cgi", ME, job="12", close="Close the job")
    assert "Close job 12?" in asked.html
    site.post("save_job.cgi", ME, job="12", close="1", confirm="Close the job")
    assert recorded.read_text().splitlines() == [
        *("create", "--tag=a=b", "--tag=c=$(d)", "--", "--night"),
        *("add", "--tree", "--", "12", "41", "42"),
        *("remove", "--", "12", "41"),
        *("close", "--", "12"),
    ]
    log = ["create job --night", "add job 12", "remove job 12", "close job 12"]
    assert (site.folder / "log").read_text().splitlines() == log


def one_job(site: Site, state: str = "open", kind: str = "manual") -> None:
    """Reports are of one job."""
    job = f'{{"job_id": 3, "name": "x", "state": "{state}", "kind": "{kind}"}}'
    said = f'{{"job": {job}, "rows": [{job}]}}'
    site.configure(report_program=site.program("one-job", f"echo '{said}'"))


def test_who_is_no_manager_changes_nothing(site: Site, recorded: Path) -> None:
    one_job(site)
    for acl in ({"manage": 0}, {"_safe": 1}):
        site.allow(ME, **acl)
        page = site.get("index.cgi", ME)
        assert page.cells() and "save_job.cgi" not in page.html
        page = site.get("job.cgi", ME, job="3")
        assert page.figures()["Name"] == "x" and "save_job.cgi" not in page.html
        page = site.post("save_job.cgi", ME, action="create", name="night")
        assert page.problem == "The job was not changed: you may not change jobs here"
    assert recorded.read_text() == ""


def test_only_forms_change_jobs(site: Site, recorded: Path) -> None:
    """A link cannot, whoever made it; Webmin itself refuses forms of other sites on this page."""
    for fields in ({"action": "create", "name": "x"}, {"job": "1", "close": "1", "confirm": "1"}):
        assert "forms of this module only" in (site.get("save_job.cgi", ME, **fields).problem or "")
    assert recorded.read_text() == ""


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "the form does not say what to do"),
        ({"action": "drop"}, "the form does not say what to do"),
        ({"action": "create", "name": " "}, "write a name for the job"),
        ({"add": "1", "pids": "1"}, "the form does not say which job"),
        ({"add": "1", "job": "--help", "pids": "1"}, "the form does not say which job"),
        ({"add": "1", "job": "1", "pids": ""}, "write the pids of processes, as numbers"),
        ({"add": "1", "job": "1", "pids": "1 -h"}, "write the pids of processes, as numbers"),
        (
            {"add": "1", "job": "1", "pids": "99999999999"},
            "write the pids of processes, as numbers",
        ),
    ],
)
def test_a_form_that_says_nothing_sensible_is_refused(
    site: Site, recorded: Path, fields: dict[str, str], problem: str
) -> None:
    answer = site.post("save_job.cgi", ME, **fields)
    assert answer.problem == f"The job was not changed: {problem}"
    assert recorded.read_text() == "" and answer.log == ""


def test_forms_are_for_open_manual_jobs(site: Site) -> None:
    for state, kind, forms in (("open", "manual", 2), ("closed", "manual", 0), ("open", "cron", 0)):
        one_job(site, state, kind)
        page = site.get("job.cgi", ME, job="3")
        assert page.html.count("action='save_job.cgi' method='post'") == forms, (state, kind)


def test_words_of_elsa_job_that_fails_are_shown(site: Site) -> None:
    problem = site.post("save_job.cgi", ME, action="create", name="night").problem or ""
    assert problem.startswith("The job was not changed: ") and "no.sock" in problem


def acl(code: str) -> str:
    """What a piece of Perl prints that uses acl_security.pl, as Webmin Users does."""
    done = subprocess.run(
        [perl(), "-we", f"our %in; require './acl_security.pl'; {code}"],
        cwd=MODULE,
        env={"PERL5LIB": str(STUB), "WEBMIN_CONFIG": "/nonexistent", "REMOTE_USER": ME},
        capture_output=True,
        text=True,
    )
    assert done.stderr == "", done.stderr
    return done.stdout


def test_the_acl_of_a_user_can_be_changed() -> None:
    save = "acl_security_save(\\my %a); print join(';', map { \"$_=$a{$_}\" } sort(keys(%a)));"
    assert acl(f"%in = (user_same => 1, user => 'x', manage => 0); {save}") == "manage=0;user="
    assert acl(f"%in = (user_same => 0, user => '{ME}', manage => 1); {save}") == (
        f"manage=1;user={ME}"
    )
    assert "There is no Unix user &lt;x&gt; on" in acl(
        f"%in = (user_same => 0, user => '<x>'); {save}"
    )
    form = acl("acl_security_form({ user => '\"<x>', manage => 1 });")
    assert 'value="&quot;&lt;x&gt;"' in form and "name='manage' value='1' checked" in form


def test_the_package_is_complete_and_the_same_each_time(tmp_path: Path) -> None:
    packed = webmin.packed()
    assert packed == webmin.packed()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as archive:
        entries = {entry.name: entry for entry in archive}
        files = {f"elsa/{path.relative_to(MODULE)}" for path in MODULE.rglob("*") if path.is_file()}
        assert set(entries) == files
        assert {name for name, entry in entries.items() if entry.mode == 0o755} == {
            name for name in files if name.endswith(".cgi")
        }
        info = archive.extractfile("elsa/module.info")
        assert info is not None
        settings = dict(line.split("=", 1) for line in info.read().decode().splitlines())
    assert settings["version"] == __version__
    assert settings.keys() >= {"name", "desc", "category", "os_support", "depends"}


def test_every_setting_has_a_form_and_a_default() -> None:
    def names(file: str) -> set[str]:
        return {line.split("=")[0] for line in (MODULE / file).read_text().splitlines()}

    assert {name for name in names("config.info") if not name.startswith("line")} == names("config")
    assert names("safeacl") < names("defaultacl")


def test_pages_run_where_the_server_ties_its_handles(site: Site) -> None:
    """Webmin's server runs pages within itself, with STDIN and STDOUT tied to a connection."""
    site.configure(report_program=site.program("who", WHO))
    code = """
        package Tied; sub TIEHANDLE { bless({}) } sub READ { 0 } sub FILENO { undef }
        sub PRINT { shift; syswrite($main::to, join('', @_)) }
        package main; open(our $to, '>&', \\*STDOUT); tie(*STDOUT, 'Tied'); tie(*STDIN, 'Tied');
        $SIG{CHLD} = 'IGNORE'; $0 = 'index.cgi'; do './index.cgi'; die($@) if ($@);"""
    done = subprocess.run(
        [perl(), "-e", code],
        cwd=MODULE,
        env={
            "PATH": os.environ["PATH"],
            "PERL5LIB": str(STUB),
            "WEBMIN_CONFIG": str(site.folder),
            "REMOTE_USER": ME,
            "REQUEST_METHOD": "GET",
        },
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert f"<td>{os.getuid()} {os.getgid()} " in done.stdout.replace("<td>-</td>", "")
    assert done.stdout.endswith("</html>\n")
