"""A process whose wall clock is `TEST_CLOCK_AHEAD` seconds ahead of the others'."""

import os
import time

_right, _ahead = time.time, float(os.environ.get("TEST_CLOCK_AHEAD", "0"))
time.time = lambda: _right() + _ahead
