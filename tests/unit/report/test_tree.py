"""`elsa report tree` and `flame`: totals, folding, folded stacks and the picture, of any tree,
however deep or wide.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.errors import RetryError, UsageError
from elsa.report import folded, tree
from elsa.report.query.selection import Selection
from elsa.report.render import flame
from elsa.report.tree import TOP, Branches, Processes
from tests.support.reports import Reports

SECOND = 10**9


@pytest.fixture
def build(reports: Reports) -> Reports:
    """Make with three sh, of which two run cc and one cc and ld, and a daemon whose parent is not
    in the job.
    """
    warehouse = reports.warehouse
    parents = {
        1: (None, "make"),
        2: (1, "sh"),
        3: (1, "sh"),
        4: (1, "sh"),
        5: (2, "cc"),
        6: (3, "cc"),
        7: (4, "cc"),
        8: (4, "ld"),
    }
    for number, (parent, comm) in parents.items():
        warehouse.process(number, start=number, seconds=10, parent_id=parent, comm=comm)
        warehouse.usage(
            number,
            run_ns=number * SECOND,
            utime_us=number * 10**6,
            stime_us=0,
            read_bytes=1024,
            write_bytes=number,
        )
    warehouse.process(9, start=5, seconds=None, parent_id=77, comm="a;b")
    warehouse.job(1, members=tuple(range(1, 10)))
    return reports


def test_tree_shows_own_and_branch_cost_by_cost_and_folds_equal_children(
    build: Reports,
) -> None:
    lines = [
        line.split()[:5]
        for line in (
            build.run("tree", "build")
            .stdout.replace("─ ", "─")
            .replace("│", " ")
            .replace(" s ", "s ")
            .splitlines()[2:]
        )
    ]
    assert [" ".join(line) for line in lines] == [
        "make 1001 8 1.00s 36.00s",
        "├─sh 1004 3 4.00s 19.00s",
        "├─ld 1008 1 8.00s 8.00s",
        "└─cc 1007 1 7.00s 7.00s",
        "└─sh x 2 - 4",
        "└─cc x 2 - 2",
        "a;b 1009 1 - -",
    ]
    rows = build.json("tree", "1")
    assert [(row["depth"], row["command"], row["times"], row["total_io_bytes"]) for row in rows][
        3:5
    ] == [
        (2, "cc", 1, 1031),
        (1, "sh", 2, 4112),
    ]
    assert sum(row["cpu_s"] or 0 for row in rows) == rows[0]["total_cpu_s"] == 36.0


def test_every_process_has_a_line_when_nothing_is_folded_and_ascii_draws_it_too(
    build: Reports,
) -> None:
    assert len(build.json("tree", "build", "--no-fold")) == 9
    processes, _ = tree.load(
        build.warehouse.connection,
        tree.chosen(build.warehouse.connection, "build", Selection())[0],
    )
    drawn = [row[0] for row in tree.lines(Branches(processes, folding=False), blocks=False)]
    assert drawn[:4] == ["make", "|- sh", "|  |- ld", "|  `- cc"]
    assert drawn[-3:] == ["`- sh", "   `- cc", "a;b"]


def test_tree_of_a_pid_is_the_newest_process_that_had_it_with_all_it_started(
    build: Reports,
) -> None:
    assert [row["command"] for row in build.json("tree", "pid:1004")] == ["sh", "ld", "cc"]
    assert build.json("tree", "1004") == build.json("tree", "pid:1004")
    build.warehouse.process(50, start=900, pid=1004, comm="new")
    assert [row["command"] for row in build.json("tree", "1004")] == ["new"]
    assert "2 processes had pid 1004; this is the newest" in build.run("tree", "1004").stderr
    for wrong in ("nope", "999999", "pid:x", "pid:12345"):
        with pytest.raises(UsageError):
            build.run("tree", wrong)


def test_folded_stacks_have_paths_and_whole_weights(build: Reports) -> None:
    assert build.run("tree", "build", "--collapsed").stdout.splitlines() == [
        "make 1000000",
        "make;sh 9000000",
        "make;sh;cc 18000000",
        "make;sh;ld 8000000",
    ]
    assert "make;sh;ld 1032" in build.run("tree", "build", "--collapsed", "io").stdout
    # make is alone for a second until its first child begins, each sh for three.
    wall = dict(
        line.rsplit(" ", 1)
        for line in build.run("tree", "build", "--collapsed", "wall").stdout.splitlines()
    )
    assert wall == {
        "make": "1000000",
        "make;sh": "9000000",
        "make;sh;cc": "30000000",
        "make;sh;ld": "10000000",
    }


def test_flame_graph_is_a_sound_picture_in_which_every_frame_has_its_weight(
    build: Reports, tmp_path: Path
) -> None:
    build.warehouse.usage(9, run_ns=SECOND, utime_us=10**6, stime_us=0)
    path = tmp_path / "job.svg"
    assert build.run("flame", "build", "-o", str(path), "--title", "<b>").exit_code == 0
    root = ET.fromstring(path.read_text(encoding="utf-8"))
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == [
        "a:b: 1.00 s CPU, 2.7%",
        "make: 36.00 s CPU, 97.3%",
        "sh: 35.00 s CPU, 94.6%",
        "cc: 18.00 s CPU, 48.6%",
        "ld: 8.00 s CPU, 21.6%",
    ]
    with pytest.raises(RetryError, match="cannot be written"):
        build.run("flame", "build", "-o", str(tmp_path / "no" / "job.svg"))


NODE = shutil.which("node")
# As much of a browser as the script of the picture asks for.
_BROWSER = """
(() => {
const svg = JSON.parse(process.argv[1]), listeners = {};
const classes = () => { const on = new Set(); return {
  toggle: (name, is) => is ? on.add(name) : on.delete(name), contains: name => on.has(name)}; };
const node = id => ({id, style: {}, textContent: "",
  addEventListener: (kind, call) => { listeners[id + kind] = call; }});
const named = Object.fromEntries(["share", "search", "reset", "bar"].map(id => [id, node(id)]));
const bars = svg.bars.map(data => ({...node(data.n), dataset: data, classList: classes(), parts: {},
  querySelector(part) { return this.parts[part] = this.parts[part] || {at: {}, textContent: "",
    setAttribute(name, value) { this.at[name] = value; }}; }}));
globalThis.document = {documentElement: {dataset: {sizes: svg.sizes}}, addEventListener() {},
  querySelectorAll: () => bars, getElementById: id => named[id]};
globalThis.prompt = () => svg.pattern;
require("vm").runInThisContext(require("fs").readFileSync(process.argv[2], "utf8"));
listeners.searchclick();
const found = bars.filter(b => b.classList.contains("m")).map(b => b.id);
const share = named.share.textContent;
const shown = () => bars.filter(b => b.style.display === "").map(b =>
  [b.id, Math.round(b.parts.rect.at.x), Math.round(b.parts.rect.at.width)]);
listeners[svg.click + "click"]();
const zoomed = shown();
listeners.resetclick();
console.log(JSON.stringify({found, share, zoomed, whole: shown(), after: named.share.textContent}));
})();
"""


@pytest.mark.skipif(NODE is None, reason="node is not installed, so the script cannot be run")
def test_flame_graph_zooms_searches_and_resets(build: Reports, tmp_path: Path) -> None:
    path = tmp_path / "job.svg"
    build.run("flame", "build", "-o", str(path))
    root = ET.fromstring(path.read_text(encoding="utf-8"))
    bars = [
        {key.removeprefix("data-"): value for key, value in group.items()}
        for group in root.iter("{http://www.w3.org/2000/svg}g")
        if group.get("class") == "f"
    ]
    (script,) = (each.text for each in root.iter("{http://www.w3.org/2000/svg}script"))
    (tmp_path / "flame.js").write_text(script or "")
    page = {"bars": bars, "sizes": root.get("data-sizes"), "pattern": "^(ld|cc)$", "click": "cc"}
    assert NODE is not None
    done = subprocess.run(
        [NODE, "-e", _BROWSER, json.dumps(page), str(tmp_path / "flame.js")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    seen = json.loads(done.stdout)
    # make used 36 s, sh 35 s of them, cc 18 s and ld 8 s.
    assert sorted(seen["found"]) == ["cc", "ld"]
    assert seen["share"] == f"{(18 + 8) / 36:.1%} match"
    assert seen["zoomed"] == [["make", 10, 1180], ["sh", 10, 1180], ["cc", 10, 1180]]
    assert [name for name, *_ in seen["whole"]] == ["make", "sh", "cc", "ld"]
    assert {name: width for name, _, width in seen["whole"]}["cc"] == round(1180 * 18 / 36)
    assert seen["after"] == ""


def test_tree_and_flame_graph_of_a_window_have_what_ended_in_it(build: Reports) -> None:
    window = ("--since", "2026-01-02T03:04:18Z", "--until", "2026-01-02T03:04:21Z")
    ended = build.json("processes", *window)
    assert 0 < len(ended) < 8
    for target in (("build",), ()):
        rows = build.json("tree", *target, *window, "--no-fold")
        assert sorted(row["pid"] for row in rows) == sorted(row["pid"] for row in ended)
    (of_command,) = {row["command"] for row in build.json("tree", "build", "--command", "cc")}
    assert of_command == "cc"
    heading = build.run("flame", *window, "-o", "-").stdout
    assert "chosen processes: " in heading
    for kind in (("tree",), ("flame", "-o", "-")):
        with pytest.raises(UsageError, match="name a job or a pid, or choose processes"):
            build.run(*kind)


def test_flame_graph_goes_to_stdout_and_bears_the_job_s_name(
    build: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build.warehouse.connection.execute("update job set name = 'b\x01\u202e<' where id = 1")

    def heading(*arguments: str) -> str | None:
        text = build.run("flame", *arguments, "-o", "-").stdout
        return next(text.text for text in ET.fromstring(text) if text.get("class") == "h")

    assert heading("1") == "b\\x01\\u202e<: 36.00 s CPU"
    assert (heading("1", "--title", "") or "").startswith(": ")
    assert (heading("pid:1001") or "").startswith("make (pid 1001): ")
    assert not (tmp_path / "-").exists()


def test_children_are_below_a_parent_that_has_a_higher_id(build: Reports) -> None:
    build.warehouse.process(13, start=30, seconds=10, parent_id=3, comm="as")
    for number, parent in ((10, 12), (11, 11), (12, 3)):
        build.warehouse.process(number, start=20, seconds=10, parent_id=parent, comm="ld")
    build.warehouse.job(2, members=(3, 10, 11, 12, 13))
    assert [(row["depth"], row["pid"]) for row in build.json("tree", "2", "--no-fold")] == [
        (0, 1003),
        (1, 1012),
        (2, 1010),
        (1, 1013),
        (0, 1011),
    ]


@pytest.mark.parametrize(("depth", "width"), [(20_000, 1), (1, 20_000), (300, 30)])
def test_deep_and_wide_trees_are_no_different(depth: int, width: int) -> None:
    # The first process of each level started the next level.
    parents = [
        TOP,
        *(max(0, (level - 1) * width + 1) for level in range(depth) for _ in range(width)),
    ]
    processes = made(parents, ["make", *["sh"] * (depth * width)], [0, *[1000] * (depth * width)])
    number = [0, 0]
    for folding in (False, True):
        branches = Branches(processes, folding=folding)
        rows = list(tree.lines(branches, blocks=True))
        number[folding] = len(rows)
        assert branches.lines == len(rows)
        first = dict(zip(tree.COLUMNS, rows[0], strict=True))
        assert first["processes"] == depth * width + 1
        assert first["total_cpu_s"] == depth * width * 1000 / 1e9
    assert number[False] == depth * width + 1
    assert number[True] <= 2 * depth + 1
    top = folded.frames(processes, "cpu")
    assert top.total == depth * width
    assert sum(1 for _ in folded.walk(top)) == depth + 2
    assert "".join(flame.draw(top, "t", "cpu")).endswith("</svg>")


def made(parents: list[int], commands: list[str], figures: list[int | None]) -> Processes:
    """Processes with parents at these places, and with a figure each for all that they used."""
    number = len(parents)
    return Processes(
        pid=list(range(number)),
        command=commands,
        cpu_ns=figures,
        elapsed_ns=figures,
        io_bytes=figures,
        started_ns=[0] * number,
        ended_ns=figures,
        parent=parents,
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 10), st.sampled_from("abc"), st.none() | st.integers(0, 10**6)),
        max_size=40,
    ),
    st.booleans(),
)
def test_folding_loses_no_process_and_no_cost(
    rows: list[tuple[int, str, int | None]], backwards: bool
) -> None:
    number = len(rows)
    parents = [
        parent % place if place and parent else TOP for place, (parent, _, _) in enumerate(rows)
    ]
    if backwards:  # children before their parents
        parents = [TOP if place == TOP else number - 1 - place for place in reversed(parents)]
    processes = made(parents, [command for _, command, _ in rows], [cpu for _, _, cpu in rows])
    branches = Branches(processes, folding=True)
    lines = [dict(zip(tree.COLUMNS, row, strict=True)) for row in tree.lines(branches, blocks=True)]
    assert branches.lines == len(lines)
    roots = [line for line in lines if line["depth"] == 0]
    assert sum(root["processes"] for root in roots) == number
    assert sum(line["times"] for line in lines) == number
    used = sum(cpu or 0 for _, _, cpu in rows)
    assert sum(root["total_io_bytes"] or 0 for root in roots) == used
    assert sum(line["io_bytes"] or 0 for line in lines) == used
    for line in every_line(branches):
        shapes = [shape(processes, below[0]) for below in branches.below(line)]
        assert len(set(shapes)) == len(shapes)
        # What shares a line has the same tree of commands.
        assert len({shape(processes, place) for place in line}) == 1
    assert paths(lines) == paths(
        [
            dict(zip(tree.COLUMNS, row, strict=True))
            for row in tree.lines(Branches(processes, folding=False), blocks=True)
        ]
    )


def every_line(branches: Branches) -> list[list[int]]:
    """All lines of trees."""
    lines = branches.below([TOP])
    for line in lines:  # grows while it is read
        lines += branches.below(line)
    return lines


def shape(processes: Processes, place: int) -> str:
    """A command and what is below it, however often."""
    children = [child for child, parent in enumerate(processes.parent) if parent == place]
    below = sorted({shape(processes, child) for child in children})
    return f"{processes.command[place]}({' '.join(below)})"


def paths(lines: list[dict[str, Any]]) -> dict[tuple[str, ...], int]:
    """What the processes with each path of commands used."""
    used: dict[tuple[str, ...], int] = {}
    path: list[str] = []
    for line in lines:
        path[line["depth"] :] = [line["command"]]
        used[tuple(path)] = used.get(tuple(path), 0) + (line["io_bytes"] or 0)
    return used
