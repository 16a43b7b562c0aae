"""The parts of pyroute2 that ELSA uses, imported without the rest.

Its package imports the whole library, as for routes and firewalls, which takes 0.1 s more at every
start of jobd and `elsa run`, and 8 MiB of jobd's memory. So the package is there as a place to
import from, and what it would import itself is left out.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec

_spec = find_spec("pyroute2")
if _spec is not None and "pyroute2" not in sys.modules:
    sys.modules["pyroute2"] = module_from_spec(_spec)

from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR  # noqa: E402
from pyroute2.netlink.connector import cn_proc  # noqa: E402
from pyroute2.netlink.exceptions import NetlinkError  # noqa: E402
from pyroute2.netlink.taskstats import TASKSTATS_CMD_GET, TaskStats  # noqa: E402

__all__ = [
    "NLMSG_DONE",
    "NLMSG_ERROR",
    "NLM_F_ACK",
    "NLM_F_REQUEST",
    "TASKSTATS_CMD_GET",
    "NetlinkError",
    "TaskStats",
    "cn_proc",
]
