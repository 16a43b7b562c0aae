"""Control group events for a jobd without root's rights: a program of jobd's unit opens them as
root before each start of jobd, leaves the descriptors with systemd (FileDescriptorStoreMax=), and
ends. systemd passes them to jobd, and nothing of jobd ever reaches that program.
"""

from __future__ import annotations

import json
import os
from typing import Any

from elsa.errors import ElsaError, UnavailableError
from elsa.jobd import sd_notify
from elsa.kernel import cgroups
from elsa.kernel.cgroup_events import open_unread
from elsa.kernel.perf_events import OpenEvents, Plan
from elsa.kernel.perf_ring import event_id

# Their names in systemd's store.
_EVENTS, _DESCRIPTION = "events", "description"


def store() -> None:
    """Open the events and leave them with systemd; or, if that is refused, the reason. Raises
    UnavailableError if systemd does not take them.
    """
    described: dict[str, object]
    events = OpenEvents([], 0, {})
    try:
        events = open_unread(cgroups.find_hierarchy())
        described = _described(events)
    except ElsaError as error:
        described = {"refusal": str(error)}
    description = os.memfd_create(_DESCRIPTION)
    os.write(description, json.dumps(described).encode("ascii"))
    sd_notify.remove_stored(_EVENTS, _DESCRIPTION)  # if jobd did not get as far as that
    descriptors = [event for on_cpu in events.by_cpu.values() for event in on_cpu]
    if not (sd_notify.store(_EVENTS, descriptors) and sd_notify.store(_DESCRIPTION, [description])):
        raise UnavailableError(
            "systemd does not take the cgroup events; only the unit of jobd runs this, with"
            " NotifyAccess=exec"
        )


def take() -> OpenEvents | None:
    """The events that systemd passes to this process; None if it passes none. Raises
    UnavailableError if they could not be opened or are not complete.
    """
    passed = sd_notify.take_passed()
    if _DESCRIPTION not in passed:
        return None
    # From now on they end with this process.
    sd_notify.remove_stored(_EVENTS, _DESCRIPTION)
    with open(passed[_DESCRIPTION][-1], "rb") as file:  # noqa: PTH123
        file.seek(0)
        described = json.load(file)
    if "refusal" in described:
        raise UnavailableError(described["refusal"])
    return _events(described, passed.get(_EVENTS, []))


def _described(events: OpenEvents) -> dict[str, object]:
    """What has to be known besides the descriptors, which systemd passes in any order."""
    return {
        "ring_bytes": events.ring_bytes,
        "plans": [
            plan._asdict() | {"attr": plan.attr.hex(), "format": plan.format.hex()}
            for plan in events.plans
        ],
        "cpus": {
            cpu: [event_id(event) for event in on_cpu] for cpu, on_cpu in events.by_cpu.items()
        },
    }


def _events(described: dict[str, Any], descriptors: list[int]) -> OpenEvents:
    by_id = {event_id(descriptor): descriptor for descriptor in descriptors}
    plans = [
        Plan(
            **{**plan, "attr": bytes.fromhex(plan["attr"]), "format": bytes.fromhex(plan["format"])}
        )
        for plan in described["plans"]
    ]
    try:
        by_cpu = {
            int(cpu): [by_id.pop(number) for number in numbers]
            for cpu, numbers in described["cpus"].items()
        }
    except KeyError:
        for descriptor in descriptors:
            os.close(descriptor)
        raise UnavailableError(
            "systemd has not stored all cgroup events; FileDescriptorStoreMax= is too small"
        ) from None
    return OpenEvents(plans, described["ring_bytes"], by_cpu)
