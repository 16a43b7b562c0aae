"""What every test starts from."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# A suite that a shell starts in the background inherits that SIGINT is ignored, and so would every
# program that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What is slow on a busy machine is no failure.
settings.register_profile("elsa", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("elsa")
