"""The trace log `_t_trace_`: two lines for each end of a call that belongs to a chain, which tarslog puts together.

Source: TarsCpp: `KEY|cs, cr, sr or ss|caller|called|function|unix ms|code|parameters|text`. Parameters are not logged.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from skerry.tars.call import Call
from skerry.tars.trace import Trace

FILE = "_t_trace_"


class TraceLog:
    """`put` takes the lines; `module` is this server, `App.Server`."""

    def __init__(self, put: Callable[[str], None], module: str) -> None:
        self._put, self._module = put, module

    def served(self, call: Call, code: int, seconds: float) -> None:
        """A call of a chain was served."""
        trace = call.trace
        if trace is not None:
            self._tell(trace, ("sr", "ss"), "", call.servant, call.function, code, seconds)

    def called(self, trace: Trace, servant: str, function: str, code: int, seconds: float) -> None:
        """A call of a chain was made."""
        self._tell(trace, ("cs", "cr"), self._module, servant, function, code, seconds)

    def _tell(
        self,
        trace: Trace,
        which: tuple[str, str],
        caller: str,
        called: str,
        function: str,
        code: int,
        seconds: float,
    ) -> None:
        now = time.time()
        begun, ended = which
        rest = f"{caller}|{called}|{function}"
        self._put(f"{trace.key}|{begun}|{rest}|{int(1000 * (now - seconds))}|0||\n")
        self._put(f"{trace.key}|{ended}|{rest}|{int(1000 * now)}|{code}||\n")
