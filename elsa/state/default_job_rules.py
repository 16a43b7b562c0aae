r"""The rules that hold where the administrator's own say nothing, in the form of `[[job_rule]]`.

Groups of systemd's slices say nothing by themselves; the first group below them that is no slice
decides, so that no group which a service or a container makes inside its own is taken for another.
The exceptions are named: the managers of containers, and the user's own manager.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from elsa.state.job_rules import Rule, Rules, rule_of

_SLICES = r"/.+\.slice**"
_USER = r"/user\.slice/user-(?P<uid>[0-9]+)\.slice/user@[0-9]+\.service" + _SLICES
_ID = r"(?P<container>(?P<id>[0-9a-f]{12})[0-9a-f]{52})"
_RUNTIMES = "docker|libpod|podman|cri-containerd|containerd|crio|nerdctl"
_POD = r".{1,60}(?:-pod|-libpod_pod_)(?P<pod>[0-9a-f_-]{32,64}+)\.slice"
_SCOPE = rf"(?P<runtime>{_RUNTIMES})-{_ID}\.scope"
# Services that keep groups of containers below their own, where runtime and kubelet are set to
# different drivers.
_MANAGERS = r"(?:docker|containerd|crio|kubelet|k3s|k3s-agent|rke2-.+|snap\.microk8s\..+)\.service"
_UNIT = r"(?P<unit>(?P<name>.+)\.{types})"
_CRON = "(?:cron|crond|cronie|atd|anacron|fcron)"
_UNDER_NO_SLICE = r"/(?:[^.]+|k8s\.io)**"

_CONTAINER = {
    "name": "container/{id}",
    "kind": "container",
    "tags": {"runtime": "{runtime}", "pod": "{pod}", "container": "{container}"},
}

RULES: tuple[dict[str, Any], ...] = (
    {  # rootless podman and docker
        "cgroup": [f"{_USER}/{_POD}/{_SCOPE}", f"{_USER}/{_SCOPE}"],
        "owner": "{uid}",
        **_CONTAINER,
    },
    {  # docker, podman, containerd, CRI-O and Kubernetes; drivers systemd and cgroupfs
        "cgroup": [
            f"{_SLICES}/{_POD}/{_SCOPE}",
            f"{_SLICES}/{_SCOPE}",
            rf"{_SLICES}/{_MANAGERS}**{_SLICES}/{_POD}:(?P<runtime>{_RUNTIMES}):{_ID}",
            rf"{_SLICES}/{_MANAGERS}**{_SLICES}/.+\.slice:(?P<runtime>{_RUNTIMES}):{_ID}",
            rf"{_SLICES}/{_MANAGERS}**{_UNDER_NO_SLICE}/pod(?P<pod>[0-9a-f-]{{32,36}})"
            rf"/(?:(?P<runtime>{_RUNTIMES})-)?{_ID}",
            rf"{_SLICES}/{_MANAGERS}**/(?P<runtime>docker)/{_ID}",
            rf"{_SLICES}/{_MANAGERS}**{_UNDER_NO_SLICE}/(?:(?P<runtime>{_RUNTIMES})-)?{_ID}",
        ],
        "owner": "0",
        **_CONTAINER,
    },
    {  # the monitor that podman and CRI-O start beside each container
        "cgroup": [
            rf"{slices}/(?P<runtime>libpod|crio)-conmon-{_ID}\.scope" for slices in (_USER, _SLICES)
        ],
        "name": "conmon/{id}",
        "kind": "scope",
        "tags": {"runtime": "{runtime}", "container": "{container}"},
    },
    {  # LXC, LXD, Incus, Proxmox
        "cgroup": [
            r"/(?P<runtime>lxc)(?:\.payload)?/(?P<id>.+)",
            r"/(?P<runtime>lxc)\.payload\.(?P<id>.+)",
        ],
        "name": "container/{id}",
        "kind": "container",
        "owner": "0",
        "tags": {"runtime": "{runtime}"},
    },
    {  # virtual machines of libvirt, containers of systemd-nspawn
        "cgroup": [
            rf"/machine\.slice{_SLICES}/(?P<unit>machine-(?P<name>.+)\.scope)",
            rf"/machine\.slice{_SLICES}/(?P<unit>systemd-nspawn@(?P<name>.+)\.service)",
            r"/machine/(?P<name>.+)",
        ],
        "name": "machine/{name}",
        "kind": "machine",
        "owner": "0",
        "tags": {"unit": "{unit}"},
    },
    {
        "cgroup": [
            rf"{_SLICES}/(?:.+_)?slurmstepd\.scope/job_(?P<job>[0-9]+)/step_(?P<step>.+)",
            r"/slurm(?:_.+)?/uid_(?P<uid>[0-9]+)/job_(?P<job>[0-9]+)/step_(?P<step>.+)",
        ],
        "name": "slurm/{job}.{step}",
        "kind": "slurm",
        "owner": "{uid}",
        "tags": {"slurm_job": "{job}", "slurm_step": "{step}"},
    },
    {
        "cgroup": r"/user\.slice/user-(?P<uid>[0-9]+)\.slice/session-(?P<session>.+)\.scope",
        "name": "session/{session}",
        "kind": "session",
        "owner": "{uid}",
        "tags": {"session": "{session}"},
    },
    {  # the user's manager keeps its own processes in init.scope, which the next rule takes
        "cgroup": rf"{_USER}/(?!init\.scope$)_?"
        + _UNIT.format(types="(?:service|scope|mount|socket|swap)"),
        "name": "user/{uid}/{name}",
        "kind": "user",
        "owner": "{uid}",
        "tags": {"unit": "{unit}"},
        "per": "invocation",
    },
    {
        "cgroup": r"/user\.slice/user-(?P<uid>[0-9]+)\.slice/"
        r"(?P<unit>(?P<name>user@[0-9]+)\.service)",
        "name": "{name}",
        "kind": "user",
        "owner": "{uid}",
        "tags": {"unit": "{unit}"},
        "per": "invocation",
    },
    {
        "cgroup": [
            rf"{_SLICES}/{_CRON}\.service",
            rf"/(?:rc|openrc)/{_CRON}",
            rf"/openrc\.{_CRON}",
            "/",
        ],
        "parent": _CRON,
        "name": "cron/{user}/{command}",
        "kind": "cron",
        "per": "child",
    },
    {
        "cgroup": rf"{_SLICES}/(?P<unit>gitlab-runner.*)\.service",
        "parent": "gitlab-runner",
        "name": "ci/{unit}",
        "kind": "ci",
        "per": "child",
    },
    {
        "cgroup": rf"{_SLICES}/(?P<unit>actions\.runner\..+)\.service",
        "parent": r"Runner\.Listener",
        "command": r"Runner\.Worker",
        "name": "ci/{unit}",
        "kind": "ci",
        "per": "child",
    },
    {"cgroup": ["/", r"/init\.scope"], "skip": True},
    {
        "cgroup": f"{_SLICES}/_?{_UNIT.format(types='(?:service|mount|socket|swap)')}",
        "name": "{name}",
        "kind": "service",
        "tags": {"unit": "{unit}"},
        "per": "invocation",
    },
    {
        "cgroup": f"{_SLICES}/_?{_UNIT.format(types='scope')}",
        "name": "{name}",
        "kind": "scope",
        "tags": {"unit": "{unit}"},
        "per": "invocation",
    },
    {  # services of OpenRC
        "cgroup": [r"/(?:rc|openrc)/(?P<name>.+)", r"/openrc\.(?P<name>.+)"],
        "name": "{name}",
        "kind": "service",
    },
    {  # groups that somebody made by hand, or with cgcreate
        "cgroup": rf"{_SLICES}/(?P<group>(?!.*\.slice$|\.\.$).+)",
        "name": "cgroup/{group}",
        "kind": "other",
    },
)


def rules(
    own: Sequence[Rule], *, defaults: bool = True, user_name: Callable[[int], str] = str
) -> Rules:
    """The administrator's rules, and after them those of this file unless they are not wanted."""
    return Rules((*own, *(default_rules() if defaults else ())), user_name, own=len(own))


@cache
def default_rules() -> tuple[Rule, ...]:
    """The rules, made when they are first needed."""
    return tuple(rule_of(table) for table in RULES)
