"""What the documents point to is there: files, headings, the decisions in their list, the words of
the codes, the licence.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from elsa import __version__
from elsa.state.codes import How, Join

ROOT = Path(__file__).parents[2]
# Folders of the repository: a path in backquotes or in a table that begins with one of them names a
# file.
FOLDERS = "elsa|sql|migrations|docs|tests|scripts|packaging|benchmarks"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = ROOT / "docs" / "decisions"
SECTIONS = ["Context", "Decision", "What was ...", "Consequences", "How it is tested"]


def text_of(document: Path) -> str:
    """A document without its examples, which may hold anything."""
    return re.sub(
        r"^```.*?^```|^    .*?$",
        "",
        document.read_text(encoding="utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )


def anchors(document: Path) -> set[str]:
    """The headings of a document as a link to them is written."""
    headings = re.findall(r"^#+ (.+)$", text_of(document), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT))
)
def test_every_link_leads_to_a_file_and_a_heading_that_is_there(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT))
)
def test_every_path_that_is_named_is_there(document: Path) -> None:
    for path in re.findall(rf"(?<![\w./-])((?:{FOLDERS})/[\w./*-]*\w)", text_of(document)):
        assert list(ROOT.glob(path)), path


def test_every_decision_is_in_the_list_under_its_title_and_number() -> None:
    listed = re.findall(
        r"^(\d+)\. \[(.+)\]\((.+)\)$",
        (DECISIONS / "README.md").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    pages = sorted(path.name for path in DECISIONS.glob("[0-9]*.md"))
    assert [name for _, _, name in listed] == pages
    for number, title, name in listed:
        assert name.startswith(f"{int(number):04}-")
        assert (DECISIONS / name).read_text(encoding="utf-8").startswith(f"# {number}. {title}\n")


@pytest.mark.parametrize("name", [path.name for path in sorted(DECISIONS.glob("[0-9]*.md"))])
def test_decision_has_every_section_and_stays_on_a_page(name: str) -> None:
    text = (DECISIONS / name).read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert [re.sub(r"^What was \w+$", "What was ...", heading) for heading in headings] == SECTIONS
    assert len(text.split()) <= 600


def test_glossary_explains_every_word_that_views_show_for_a_code() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    kinds = re.findall(
        r"when '(\w+)' then", (ROOT / "sql" / "audit" / "gaps.sql").read_text(encoding="utf-8")
    )
    assert len(kinds) > 5
    for word in [*kinds, *(code.name.lower() for code in (*How, *Join))]:
        assert f"**{word}**" in text, word


def test_the_licence_file_is_the_declared_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "GPL-2.0-or-later"
    (name,) = project["license-files"]
    assert "Version 2, June 1991" in (ROOT / name).read_text(encoding="utf-8")
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert "version 2 or (at your option) any later version" in readme


def test_changelog_has_the_version_that_the_package_states() -> None:
    sections = re.split(
        r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert sections[1].startswith("[Unreleased]\n")
    assert any(re.search(rf"(?<![\d.]){re.escape(__version__)}\b", part) for part in sections[1:])


def test_changelog_lists_days_from_the_newest_to_the_oldest() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    days = re.findall(r"^##.* (\d{4}-\d\d-\d\d)$", text, flags=re.MULTILINE)
    assert days
    assert days == sorted(days, reverse=True)
