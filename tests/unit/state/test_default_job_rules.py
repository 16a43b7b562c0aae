"""What the built-in rules make of paths that real hosts have: from the documents and test data of
systemd, docker, podman, containerd, CRI-O, Kubernetes, Slurm, LXC, libvirt and OpenRC.
"""

from __future__ import annotations

import pytest

from elsa.state.default_job_rules import rules
from elsa.state.job_rules import Process

RULES = rules((), user_name={0: "root", 33: "www-data", 1000: "anna"}.get)  # type: ignore[arg-type]

A = "9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d"
B = "66221e7d988e193822a3e8368b61ad9aeabf6b5276df76daebb7ea33bccc0b87"
POD = "18640755-cc12-4557-b96e-0f74d5b44d1d"
POD_ = POD.replace("-", "_")
STATIC_POD = "5e2c8b5ad1f0a8c1b5b7d9f4d0a1c2e3"
A12, B12 = A[:12], B[:12]
USER = "/user.slice/user-1000.slice/user@1000.service"

# Path, the job's name, kind and owner, and how many names of the path are the job's own group.
CORPUS = [
    # systemd
    ("/system.slice/nginx.service", "nginx", "service", None, 2),
    ("/system.slice/nginx.service/worker1", "nginx", "service", None, 2),
    ("/system.slice/nginx.service/elsa-run-77", "nginx", "service", None, 2),
    ("/elsa-run-x", "cgroup/elsa-run-x", "other", None, 1),
    ("/system.slice/foo.service/bar.service", "foo", "service", None, 2),
    ("/system.slice/foo.service/.control", "foo", "service", None, 2),
    ("/system.slice/cron.service", "cron", "service", None, 2),
    ("/system.slice/ssh.service", "ssh", "service", None, 2),
    ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1", "service", None, 3),
    (
        r"/system.slice/system-systemd\x2dfsck.slice/systemd-fsck@dev-disk-by\x2duuid-1.service",
        "systemd-fsck@dev-disk-by-uuid-1",
        "service",
        None,
        3,
    ),
    ("/system.slice/dbus.socket", "dbus", "service", None, 2),
    ("/system.slice/boot-efi.mount", "boot-efi", "service", None, 2),
    (r"/system.slice/dev-disk-by\x2dlabel-s.swap", "dev-disk-by-label-s", "service", None, 2),
    ("/system.slice/_cgroup.foo.service", "cgroup.foo", "service", None, 2),
    ("/batch.slice/X.service", "X", "service", None, 2),
    ("/foo.service", "foo", "service", None, 1),
    ("/system.slice/run-r0f4a0.scope", "run-r0f4a0", "scope", None, 2),
    ("/system.slice/snap.docker.dockerd.service", "snap.docker.dockerd", "service", None, 2),
    ("/incus.slice/incus-web.scope", "incus-web", "scope", None, 2),
    (
        "/user.slice/user-1000.slice/user-runtime-dir@1000.service",
        "user-runtime-dir@1000",
        "service",
        None,
        3,
    ),
    ("/", None, None, None, None),
    ("/init.scope", None, None, None, None),
    ("/system.slice", None, None, None, None),
    ("/user.slice/user-1000.slice", None, None, None, None),
    ("/../../init.scope", None, None, None, None),
    # the monitors of containers
    (f"/machine.slice/libpod-conmon-{A}.scope", f"conmon/{A[:12]}", "scope", None, 2),
    (f"{USER}/user.slice/libpod-conmon-{A}.scope", f"conmon/{A[:12]}", "scope", None, 5),
    # sessions and user units
    ("/user.slice/user-1000.slice/session-3.scope", "session/3", "session", 1000, 3),
    ("/user.slice/user-0.slice/session-c1.scope", "session/c1", "session", 0, 3),
    (USER, "user@1000", "user", 1000, 3),
    (f"{USER}/init.scope", "user@1000", "user", 1000, 3),
    (
        f"{USER}/gnome-terminal-server.service",
        "user/1000/gnome-terminal-server",
        "user",
        1000,
        4,
    ),
    (f"{USER}/app.slice/redis.service/runtime", "user/1000/redis", "user", 1000, 5),
    (f"{USER}/app.slice/redis.service/libpod-payload-{A}", "user/1000/redis", "user", 1000, 5),
    (
        rf"{USER}/app.slice/app-gnome-org.gnome.Maps\x2dx-77.scope",
        "user/1000/app-gnome-org.gnome.Maps-x-77",
        "user",
        1000,
        5,
    ),
    (
        f"{USER}/app.slice/app-org.gnome.Terminal.slice/vte-spawn-1a2b.scope",
        "user/1000/vte-spawn-1a2b",
        "user",
        1000,
        6,
    ),
    (f"{USER}/session.slice/dbus.service", "user/1000/dbus", "user", 1000, 5),
    (f"{USER}/user.slice/podman-4242.scope", "user/1000/podman-4242", "user", 1000, 5),
    (f"{USER}/made-by-hand", "user@1000", "user", 1000, 3),
    # docker, podman
    (f"/system.slice/docker-{A}.scope", f"container/{A12}", "container", 0, 2),
    (f"/docker/{A}", f"container/{A12}", "container", 0, 2),
    (f"/docker/{A}/system.slice/x.service", f"container/{A12}", "container", 0, 2),
    (f"/docker/{A}/docker/{B}", f"container/{A12}", "container", 0, 2),
    (f"/{A}", f"container/{A12}", "container", 0, 1),
    (f"/ecs/5a0d5ceddf6c44c1928d367a815d890f/{A}", f"container/{A12}", "container", 0, 3),
    (f"/actions_job/{A}", f"container/{A12}", "container", 0, 2),
    (f"/system.slice/nerdctl-{A}.scope", f"container/{A12}", "container", 0, 2),
    (f"/default/{A}", f"container/{A12}", "container", 0, 2),
    (f"/k8s.io/{A}", f"container/{A12}", "container", 0, 2),
    (f"/machine.slice/libpod-{A}.scope/container", f"container/{A12}", "container", 0, 2),
    (
        f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope",
        f"container/{A12}",
        "container",
        0,
        3,
    ),
    (f"/libpod_parent/libpod-{A}", f"container/{A12}", "container", 0, 2),
    (f"{USER}/user.slice/libpod-{A}.scope/container", f"container/{A12}", "container", 1000, 5),
    (
        f"{USER}/user.slice/user-libpod_pod_{B}.slice/libpod-{A}.scope",
        f"container/{A12}",
        "container",
        1000,
        6,
    ),
    (f"{USER}/app.slice/docker-{A}.scope", f"container/{A12}", "container", 1000, 5),
    (f"/system.slice/foo.service/docker-{A}.scope", "foo", "service", None, 2),
    (f"/system.slice/redis.service/libpod-payload-{A}", "redis", "service", None, 2),
    # Kubernetes
    (
        "/kubepods.slice/kubepods-burstable.slice/"
        f"kubepods-burstable-pod{POD_}.slice/cri-containerd-{A}.scope",
        f"container/{A12}",
        "container",
        0,
        4,
    ),
    (
        f"/kubepods.slice/kubepods-pod{POD_}.slice/crio-{A}.scope/container",
        f"container/{A12}",
        "container",
        0,
        3,
    ),
    (
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
        f"kubelet-kubepods-besteffort-pod{POD_}.slice/cri-containerd-{B}.scope",
        f"container/{B12}",
        "container",
        0,
        5,
    ),
    (f"/kubepods/besteffort/pod{POD}/{A}", f"container/{A12}", "container", 0, 4),
    (f"/kubepods/pod{POD}/{A}", f"container/{A12}", "container", 0, 3),
    (f"/kubepods/kubepods/besteffort/pod{POD}/{A}", f"container/{A12}", "container", 0, 5),
    (f"/kubepods/burstable/pod{POD}/crio-{A}", f"container/{A12}", "container", 0, 4),
    (f"/kubepods/burstable/pod{STATIC_POD}/{A}", f"container/{A12}", "container", 0, 4),
    (
        f"/system.slice/containerd.service/kubepods-besteffort-pod{POD_}.slice:cri-containerd:{A}",
        f"container/{A12}",
        "container",
        0,
        3,
    ),
    (
        f"/kubepods-burstable-pod{POD_}.slice:cri-containerd:{A}",
        f"container/{A12}",
        "container",
        0,
        1,
    ),
    (f"/system.slice/k3s.service/kubepods/pod{POD}/{A}", f"container/{A12}", "container", 0, 5),
    ("/system.slice/k3s.service", "k3s", "service", None, 2),
    ("/system.slice/kubelet.service", "kubelet", "service", None, 2),
    # LXC, virtual machines
    ("/lxc/100/ns/init.scope", "container/100", "container", 0, 2),
    ("/lxc.payload.web/system.slice/x.service", "container/web", "container", 0, 1),
    ("/lxc.payload/web", "container/web", "container", 0, 2),
    ("/lxc.monitor.web", "cgroup/lxc.monitor.web", "other", None, 1),
    (
        r"/machine.slice/machine-qemu\x2d1\x2dinstance\x2d0000001d.scope/libvirt/emulator",
        "machine/qemu-1-instance-0000001d",
        "machine",
        0,
        2,
    ),
    (
        "/machine.slice/systemd-nspawn@deb.service/payload/init.scope",
        "machine/deb",
        "machine",
        0,
        2,
    ),
    (
        "/machine/qemu-1-vm1.libvirt-qemu/emulator",
        "machine/qemu-1-vm1.libvirt-qemu",
        "machine",
        0,
        2,
    ),
    # Slurm
    (
        "/system.slice/slurmstepd.scope/job_1392969/step_0/user/task_0",
        "slurm/1392969.0",
        "slurm",
        None,
        4,
    ),
    ("/system.slice/slurmstepd.scope/job_42/step_extern/user", "slurm/42.extern", "slurm", None, 4),
    (
        "/system.slice/n1_slurmstepd.scope/job_7/step_batch/user/task_special",
        "slurm/7.batch",
        "slurm",
        None,
        4,
    ),
    ("/system.slice/slurmstepd.scope/system", "slurmstepd", "scope", None, 2),
    ("/slurm/uid_1001/job_123/step_batch/task_0", "slurm/123.batch", "slurm", 1001, 4),
    ("/slurm_node7/uid_1001/job_123/step_4", "slurm/123.4", "slurm", 1001, 4),
    # without systemd
    ("/openrc.nginx", "nginx", "service", None, 1),
    ("/openrc/nginx", "nginx", "service", None, 2),
    ("/rc/nginx/sub", "nginx", "service", None, 2),
    ("/batch/job1", "cgroup/batch", "other", None, 1),
    ("/123", "cgroup/123", "other", None, 1),
    ("/a.slice/b", "cgroup/b", "other", None, 2),
]


@pytest.mark.parametrize(("path", "name", "kind", "owner", "depth"), CORPUS)
def test_a_path_of_a_real_host_gives_the_job_of_the_table(
    path: str, name: str | None, kind: str | None, owner: int | None, depth: int | None
) -> None:
    job = RULES.decide(path).job
    if name is None:
        assert job is None
        return
    assert job is not None
    assert (job.name, job.kind, job.owner) == (name, kind, owner)
    assert job.group == "/" + "/".join(path.split("/")[1:][:depth])


@pytest.mark.parametrize(("path", "name", "kind", "owner", "depth"), CORPUS)
def test_groups_below_a_jobs_own_belong_to_the_same_job(
    path: str, name: str | None, kind: str | None, owner: int | None, depth: int | None
) -> None:
    job = RULES.decide(path).job
    # The user's manager is no job around its units, which are jobs themselves.
    if job is not None and job.group != USER:
        for below in ("/x", "/x.slice/y.service", f"/docker-{A}.scope", "/init.scope"):
            assert RULES.decide(job.group + below).job == job


@pytest.mark.parametrize(
    ("path", "tags"),
    [
        (
            f"/kubepods.slice/kubepods-pod{POD_}.slice/cri-containerd-{A}.scope",
            {"runtime": "cri-containerd", "pod": POD, "container": A},
        ),
        (
            f"/kubepods/pod{STATIC_POD}/{A}",
            {"pod": STATIC_POD, "container": A},
        ),
        (f"/docker/{A}", {"runtime": "docker", "container": A}),
        (r"/system.slice/a\x2db.service", {"unit": r"a\x2db.service"}),
        ("/user.slice/user-0.slice/session-4.scope", {"session": "4"}),
        ("/slurm/uid_5/job_6/step_7", {"slurm_job": "6", "slurm_step": "7"}),
    ],
)
def test_a_job_has_tags_with_the_names_of_the_host(path: str, tags: dict[str, str]) -> None:
    job = RULES.decide(path).job
    assert job is not None
    assert job.tags == tags


def test_a_unit_is_a_job_per_invocation_and_a_container_per_group() -> None:
    for path, per in (
        ("/system.slice/x.service", "invocation"),
        (f"{USER}/app.slice/x.scope", "invocation"),
        (f"/docker/{A}", "cgroup"),
        ("/user.slice/user-0.slice/session-4.scope", "cgroup"),
    ):
        job = RULES.decide(path).job
        assert job is not None
        assert job.per == per


@pytest.mark.parametrize(
    ("path", "daemon"),
    [
        ("/system.slice/cron.service", "cron"),
        ("/system.slice/crond.service", "crond"),
        ("/system.slice/cronie.service", "crond"),
        ("/system.slice/atd.service", "atd"),
        ("/openrc.cronie", "crond"),
        ("/rc/crond", "crond"),
        ("/", "cron"),
    ],
)
def test_a_child_of_cron_is_a_job_named_by_user_and_command(path: str, daemon: str) -> None:
    decision = RULES.decide(path)
    begun = decision.run(Process(daemon, daemon, 0))
    assert begun is not None
    assert (begun.name, begun.kind, begun.owner, begun.settled) == ("cron/root", "cron", 0, False)
    script = ("/bin/sh", "-c", "/usr/local/bin/backup.sh --full")
    settled = decision.run(Process("sh", daemon, 1000, 1000, script))
    assert settled is not None
    assert (settled.name, settled.owner, settled.settled) == ("cron/anna/backup.sh", 1000, True)
    assert decision.run(Process(daemon, "systemd", 0)) is None


def test_a_run_whose_arguments_are_gone_is_named_by_its_first_program() -> None:
    decision = RULES.decide("/system.slice/cron.service")
    shell = decision.run(Process("sh", "cron", 0))
    program = decision.run(Process("backup.sh", "cron", 0))
    assert shell is not None
    assert program is not None
    assert (shell.name, shell.settled) == ("cron/root", False)
    assert (program.name, program.settled) == ("cron/root/backup.sh", True)


def test_a_program_that_calls_itself_cron_elsewhere_begins_no_run() -> None:
    for path in ("/user.slice/user-1000.slice/session-3.scope", "/system.slice/x.service"):
        assert RULES.decide(path).run(Process("cron", "cron", 1000)) is None


def test_workers_of_ci_runners_are_jobs() -> None:
    actions = RULES.decide("/system.slice/actions.runner.acme-shop.host1.service")
    worker = actions.run(Process("Runner.Worker", "Runner.Listener", 1000))
    assert worker is not None
    assert (worker.name, worker.kind) == ("ci/actions.runner.acme-shop.host1", "ci")
    assert actions.run(Process("Runner.Listener", "node", 1000)) is None
    assert actions.run(Process("Runner.Listener", "Runner.Listener", 1000)) is None
    gitlab = RULES.decide("/system.slice/gitlab-runner.service")
    stage = gitlab.run(Process("bash", "gitlab-runner", 1000))
    assert stage is not None
    assert (stage.name, stage.kind, stage.owner) == ("ci/gitlab-runner", "ci", 1000)


def test_a_run_goes_along_into_its_session_but_not_into_another_unit() -> None:
    cron = RULES.decide("/system.slice/crond.service")
    assert cron.keeps(cron)
    assert cron.keeps(RULES.decide("/system.slice/crond.service/below"))
    assert cron.keeps(RULES.decide("/user.slice/user-0.slice/session-9.scope"))
    assert cron.keeps(RULES.decide("/"))
    assert not cron.keeps(RULES.decide("/system.slice/x.service"))
    assert not cron.keeps(RULES.decide(f"/docker/{A}"))
    root = RULES.decide("/")
    assert root.keeps(root)
    assert not root.keeps(RULES.decide(f"/docker/{A}"))


def test_group_that_was_made_for_a_command_is_no_job() -> None:
    for path in ("/elsa-run-77", "/elsa-run-77/below", "/batch.slice/elsa-run-77"):
        assert RULES.decide(path).job is None
