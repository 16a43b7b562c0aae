"""The pages of the Webmin module show what the reports say, and harm nobody by showing it."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from elsa.cli.report import report
from elsa.text import printable
from tests.support.pages import HOSTILE
from tests.support.webmin import MODULE, STUB, Site, perl
from tests.unit.webmin.conftest import ME

PAGES = sorted(path.name for path in MODULE.iterdir() if path.suffix in (".cgi", ".pl"))


def table(db: Path, *arguments: str) -> list[list[str]]:
    """The rows of a table that elsa prints."""
    environ = {"TZ": "UTC", "ELSA_DB": str(db), "COLUMNS": "500"}
    done = CliRunner().invoke(report, [*arguments, "--format", "table"], env=environ)
    assert done.exit_code == 0, done.output
    time.tzset()
    return [re.split(r"  +", line.strip()) for line in done.stdout.splitlines()[2:]]


def rows(db: Path, *arguments: str) -> dict[str, object]:
    """The same as JSON."""
    done = CliRunner().invoke(report, [*arguments, "--format=json"], env={"ELSA_DB": str(db)})
    assert done.exit_code == 0, done.output
    parsed: dict[str, object] = json.loads(done.stdout)
    return parsed


@pytest.mark.parametrize("page", PAGES)
def test_each_page_compiles_without_a_warning(page: str) -> None:
    done = subprocess.run(
        [perl(), "-wc", page],
        cwd=MODULE,
        env={"PATH": os.environ["PATH"], "PERL5LIB": str(STUB)},
        capture_output=True,
        text=True,
    )
    assert done.stderr == f"{page} syntax OK\n"


def test_the_list_has_the_figures_of_the_report(site: Site, busy: Path) -> None:
    site.configure(db=busy, rows=25)
    columns = (
        "job_id,name,kind,owner,state,started_at,processes,running,wall_s,cpu_s,job_peak_kib,"
        "read_bytes,write_bytes,exit_status,complete"
    )
    shown = site.get("index.cgi", ME).cells()
    expected = table(busy, "jobs", "--limit=25", f"--columns={columns}")
    assert len(expected) == 25
    assert [[cell.lower() for cell in row] for row in shown] == [
        [cell.lower() for cell in row] for row in expected
    ]


def test_the_list_says_what_it_is_about(site: Site, busy: Path) -> None:
    site.configure(db=busy)
    page = site.get("index.cgi", ME, since="2026-10-02", until="2026-10-31", kind="manual").html
    said = rows(
        busy, "jobs", "--since=2026-10-02", "--until=2026-10-31", "--kind=manual", "--limit=200"
    )
    assert "from 2026-10-02 00:00:00 to 2026-10-31 00:00:00</li>" in page
    assert said["complete"] is False and "<li>Not complete, or not certain;" in page
    notes = said["notes"]
    assert isinstance(notes, list) and notes
    for note in notes:
        assert f"<li>{note.replace(chr(39), '&#39;')}</li>" in page
    assert "--since&#61;2026-10-02 --until&#61;2026-10-31 --limit&#61;200</tt>" in page


def test_filters_choose_jobs(site: Site, filled: Path) -> None:
    site.configure(db=filled)
    names = [row[1] for row in site.get("index.cgi", ME, kind="cron", state="failed").cells()]
    assert names == ["backup"]
    assert site.get("index.cgi", ME, tag="project").cells()[0][1] == "build"
    assert "There is nothing to show." in site.get("index.cgi", ME, user="uid:77").html


def test_a_job_has_its_figures_and_its_commands(site: Site, filled: Path) -> None:
    site.configure(db=filled)
    build = next(row for row in site.get("index.cgi", ME).cells() if row[1] == "build")
    page = site.get("job.cgi", ME, job=build[0])
    figures = page.figures()
    assert figures["Processes"] == "61" and figures["Exit"] == "0"
    assert figures["Tags"] == "project=web<1>"
    assert figures["CPU"] == build[9] == "11m33s"
    commands = {row[0]: row for row in page.cells()}
    assert set(commands) == {"make", "cc1"} and commands["cc1"][1] == "60"
    # A window cuts both.
    assert site.get("job.cgi", ME, job=build[0], until="2026-01-02T04:00Z").figures()["CPU"] == "-"


def test_a_bill_has_the_charges_of_the_report(site: Site, filled: Path) -> None:
    site.configure(db=filled)
    for by in ("user", "group", "job", "tag"):
        page = site.get("bill.cgi", ME, by=by, month="2026-01")
        said = rows(filled, "bill", "--month=2026-01", f"--by={by}")
        lines = said["rows"]
        assert isinstance(lines, list) and lines
        at = 2 if by == "job" else 1
        assert [row[at] for row in page.cells()] == [line["charge"] for line in lines], by
        assert "<li>total: " in page.html
    keyed = site.get("bill.cgi", ME, by="tag", key="project", month="2026-01")
    assert keyed.cells()[-1][0] == "web<1>" or keyed.cells()[0][0] == "web<1>"


def test_hostile_names_stay_text(site: Site, filled: Path) -> None:
    site.configure(db=filled)
    listed = site.get("index.cgi", ME, job=HOSTILE, tag=HOSTILE, since="").html
    everything = site.get("index.cgi", ME)
    hostile = next(row for row in everything.cells() if row[1].startswith("<img"))
    one = site.get("job.cgi", ME, job=hostile[0])
    assert [row[0] for row in one.cells()].count("<b>x</b>") == 1
    unknown = site.get("job.cgi", ME, job=HOSTILE).html
    for page in (listed, everything.html, one.html, unknown):
        for harmful in ("<img", "<svg", "</script", "<b>x", "\x1b", "<1>"):
            assert harmful not in page, harmful


def test_what_would_turn_text_around_is_spelled_out(site: Site) -> None:
    name = "a\u202eb\u0007c\u00e9\u061cd\u00ade\U000e0041 \U0001f600"
    row = {"job_id": 1, "name": name}
    said = json.dumps({"report": "jobs", "window": {}, "rows": [row], "units": {}})
    (site.folder / "said").write_text(said)
    site.configure(report_program=site.program("fake", f"cat '{site.folder}/said'"))
    assert site.get("index.cgi", ME).cells()[0][1] == printable(name)


def test_the_command_of_a_page_is_one_line_that_a_shell_reads_as_it_was_meant(site: Site) -> None:
    said = site.folder / "said"
    said.write_text(json.dumps({"report": "jobs", "window": {}, "rows": [], "units": {}}))
    fake = site.program("fake", f"cat '{said}'")
    site.configure(report_program=fake, db=site.folder / "a b.db")
    shown = re.findall(
        "<tt>(.*?)</tt>", site.get("index.cgi", ME, job="a\nid\u202e'\\é").html, re.S
    )
    command = html.unescape(shown[-1])
    assert command.isprintable()
    script = command.replace("elsa-report", "printf '%s\\0'", 1)
    words = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    assert words.decode().split("\0")[:3] == [
        *("jobs", f"--db={site.folder}/a b.db", "--job=a\nid\u202e'\\é"),
    ]


def test_what_is_not_known_is_not_zero(site: Site) -> None:
    row = {"job_id": 1, "name": "x", "cpu_s": None, "read_bytes": 0, "exit_status": None}
    units = {"cpu_s": "s", "read_bytes": "bytes"}
    said = json.dumps({"report": "jobs", "window": {}, "rows": [row], "units": units})
    (site.folder / "said").write_text(said)
    site.configure(report_program=site.program("fake", f"cat '{site.folder}/said'"))
    cells = site.get("index.cgi", ME).cells()[0]
    assert (cells[9], cells[11], cells[12], cells[13]) == ("-", "0 B", "-", "-")


@pytest.mark.parametrize(
    "printed",
    ["", "no json", '{"rows": [', "[1, 2]", '"text"', "null"],
    ids=["nothing", "text", "cut", "list", "string", "null"],
)
@pytest.mark.parametrize("page", ["index.cgi", "job.cgi", "bill.cgi"])
def test_output_that_is_no_report_is_said_to_be_none(site: Site, page: str, printed: str) -> None:
    site.configure(report_program=site.program("fake", f"printf '%s' '{printed}'"))
    assert (site.get(page, ME, job="1").problem or "").startswith(
        "elsa printed something that is no"
    )


def test_a_report_without_its_parts_is_an_empty_one(site: Site) -> None:
    site.configure(report_program=site.program("fake", "echo '{}'"))
    assert "There is nothing to show." in site.get("index.cgi", ME).html
    assert "There is nothing to show." in site.get("bill.cgi", ME).html
    assert "no JSON report" in (site.get("job.cgi", ME, job="1").problem or "")


def test_errors_of_elsa_are_shown_as_its_line(site: Site, filled: Path) -> None:
    site.configure(db=filled)
    page = site.get("index.cgi", ME, since="<soon>")
    assert page.problem and page.problem.startswith("--since: cannot read the time '<soon>'")
    assert "Usage" not in page.html and 'name="since"' in page.html
    assert site.get("job.cgi", ME, job="nosuch").problem == (
        "no job has the id or name nosuch; see them with: elsa report jobs"
    )
    assert (site.get("job.cgi", ME).problem or "").startswith("No job was named")


def test_a_missing_warehouse_is_said(site: Site) -> None:
    site.configure(db=site.folder / "none.db")
    assert "none.db" in (site.get("index.cgi", ME).problem or "")


def test_no_value_becomes_an_option_or_a_word_of_a_shell(site: Site) -> None:
    recorded = site.folder / "recorded"
    script = f"for word; do printf '%s\\n' \"$word\"; done >>'{recorded}'; echo '{{}}'"
    site.configure(report_program=site.program("fake", script))
    site.get("index.cgi", ME, job="--help", user="a;touch /tmp/x", since="$(id)", until="\0--db")
    site.get("job.cgi", ME, job="--db=/etc/passwd", since="`id`")
    site.get("bill.cgi", ME, month="-h", by="user;id", key="k")
    words = recorded.read_text().splitlines()
    for word in ("--job=--help", "--user=a;touch /tmp/x", "--since=$(id)", "--since=`id`"):
        assert word in words
    assert words[words.index("--") + 1] == "--db=/etc/passwd"
    assert "--month=-h" in words and "--by=user" in words
    assert not any(word.startswith(("--until", "--db")) for word in words[: words.index("--")])


def test_a_program_that_takes_too_long_is_stopped(site: Site) -> None:
    stopped = site.folder / "stopped"
    script = f"trap 'touch {stopped}; exit 1' TERM; sleep 60 & wait"
    site.configure(report_program=site.program("fake", script), time_limit=1)
    begin = time.monotonic()
    problem = site.get("index.cgi", ME).problem or ""
    assert problem.startswith("elsa took longer than 1 seconds and was stopped")
    assert time.monotonic() - begin < 20
    assert stopped.exists()


def test_a_program_that_prints_without_end_is_stopped(site: Site) -> None:
    site.configure(report_program=site.program("fake", "exec yes"), time_limit=60)
    assert (site.get("index.cgi", ME).problem or "").startswith("elsa printed too much")


def test_a_program_that_fails_without_a_word_is_named(site: Site) -> None:
    fake = site.program("fake", "exit 3")
    site.configure(report_program=fake)
    assert site.get("index.cgi", ME).problem == f"{fake} failed without a word (status 3)."


def test_every_text_is_used_and_every_used_text_exists() -> None:
    texts = {
        line.split("=", 1)[0] for line in (MODULE / "lang/en").read_text().splitlines() if line
    }
    source = "".join((MODULE / page).read_text() for page in PAGES)
    used = set(re.findall(r"text\{'(\w+)'\}|text\('(\w+)'", source))
    named = {one or other for one, other in used}
    assert named - texts == {"yes", "no", "index"}
    made = re.compile(r"column_|bill_|log_|save_(create|add|remove|close)$|index_(job|user|tag)$")
    assert not {text for text in texts - named if not made.match(text)}
    assert '$text{"index_$name"}' in source and '$text{"save_$action"}' in source
