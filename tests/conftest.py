"""What every test starts from."""

from __future__ import annotations

import signal

# A suite that a shell starts in the background inherits that SIGINT is ignored, and so would every program that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
