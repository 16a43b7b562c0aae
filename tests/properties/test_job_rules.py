"""Whatever paths and processes there are: at most one job, a name that a job may have, no error,
and groups below a job's own in the same job.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elsa.control import operations, protocol
from elsa.decode.command_name import command_name
from elsa.state.default_job_rules import rules
from elsa.state.job_kinds import AUTOMATIC
from elsa.state.job_rules import PER, AutomaticJob, Process
from elsa.state.living_jobs import Living, memberships

RULES = rules(())
HEX = "0123456789abcdef" * 4
MANAGERS = ("user@", "docker", "containerd", "crio", "kubelet", "k3s", "rke2", "snap.microk8s")
known = st.sampled_from(
    (
        *("system.slice", "user.slice", "user-1000.slice", "machine.slice", "app.slice", "a.slice"),
        *("user@1000.service", "session-3.scope", "cron.service", "x.service", "init.scope"),
        *(f"docker-{HEX}.scope", HEX, f"libpod-{HEX}", "docker", "kubepods", f"pod{HEX[:32]}"),
        *(f"kubepods-pod{HEX[:32]}.slice", f"a.slice:crio:{HEX}", "containerd.service", "lxc"),
        *("slurmstepd.scope", "job_7", "step_0", "slurm", "uid_3", "openrc.x", "rc", "machine"),
        *("..", r"a\x2db.service", r"\x1b\xff.service", "_x.service", "lxc.payload.a"),
    )
)
anything = st.text(st.characters(exclude_characters="/\0\n"), min_size=1, max_size=20)
paths = st.lists(st.one_of(known, known, anything), max_size=8).map(
    lambda names: "/" + "/".join(names)
)
words = st.text(max_size=16)
processes = st.builds(
    Process,
    comm=st.one_of(st.sampled_from(("cron", "sh", "Runner.Worker", "x")), words),
    parent=st.one_of(st.sampled_from(("cron", "Runner.Listener", "gitlab-runner")), words),
    uid=st.none() | st.integers(0, 2**32 - 2),
    loginuid=st.none() | st.integers(0, 2**32 - 2),
    arguments=st.lists(st.one_of(words, st.sampled_from(("sh", "-c", "cd /;"))), max_size=5),
)


def assert_is_a_job(job: AutomaticJob, path: str) -> None:
    request = protocol.encode_request("create", {"name": job.name, "tags": job.tags})
    assert operations.parse_request(request.strip()) == operations.Create(job.name, job.tags)
    assert job.kind in AUTOMATIC
    assert job.per in PER
    assert f"{path}/".startswith(job.group.rstrip("/") + "/")
    assert job.owner is None or 0 <= int(job.owner) < 2**32


@given(paths)
def test_any_path_gives_at_most_one_job_whose_name_and_tags_jobd_takes(path: str) -> None:
    decision = RULES.decide(path)
    if decision.job is not None:
        assert_is_a_job(decision.job, path)


@given(paths, st.lists(st.one_of(known, anything), min_size=1, max_size=3))
def test_groups_below_belong_to_the_same_job(path: str, below: list[str]) -> None:
    """But for managers, whose groups of containers and units are jobs of their own."""
    job = RULES.decide(path).job
    own = job.group.rpartition("/")[2] if job is not None else ""
    if job is None or own.startswith(MANAGERS) or job.kind == "other":
        return
    assert RULES.decide(job.group).job == job
    assert RULES.decide(f"{path}/{'/'.join(below)}").job == job


@given(paths, processes)
def test_any_process_begins_at_most_one_run(path: str, process: Process) -> None:
    run = RULES.decide(path).run(process)
    if run is not None:
        assert run.per == "child"
        assert_is_a_job(run, path)


@given(st.lists(st.one_of(words, known, st.sampled_from(("sh", "-c", "sh -c 'a;b'"))), max_size=6))
def test_any_arguments_have_a_name_or_none(arguments: list[str]) -> None:
    name = command_name(arguments)
    assert name is None or (name and "/" not in name)


@given(
    st.lists(
        st.builds(
            Living,
            pid=st.integers(1, 12),
            ppid=st.integers(0, 12),
            path=paths,
            comm=st.sampled_from(("cron", "sh", "x")),
            uid=st.integers(0, 3),
        ),
        max_size=12,
    )
)
def test_living_processes_are_each_in_one_place_even_in_impossible_trees(
    living: list[Living],
) -> None:
    found = memberships(living, RULES)
    assert set(found) <= {process.pid for process in living}
    for membership in found.values():
        if membership.job is not None:
            assert_is_a_job(membership.job, membership.job.group)
