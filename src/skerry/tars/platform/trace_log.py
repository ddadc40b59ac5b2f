"""The trace log `_t_trace_`: two lines for each end of a call that belongs to a chain, which tarslog puts together.

Parameters are in it as far as the flags before the chain's id ask for them, and as long as they are not too many.
Source: TarsCpp: `KEY|cs, cr, sr or ss|caller|called|function|unix ms|code|parameters|text`, with parameters as JSON in
base64.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable

from skerry.tars.bodies import Bodies
from skerry.tars.call import Call
from skerry.tars.trace import Trace

FILE = "_t_trace_"
ASKED_BY_CALLER, ANSWERED_TO_CALLER, ASKED_HERE, ANSWERED_HERE = 1, 2, 4, 8
"""Which parameters the flags of a chain want: those of cs, cr, sr, ss."""
TOO_LONG = '{"trace_param_over_max_len":true}'


class TraceLog:
    """`put` takes the lines; `module` is this server, `App.Server`. `most_bytes`: of parameters that are written, where
    the chain does not allow more."""

    def __init__(self, put: Callable[[str], None], module: str, most_bytes: int = 1024) -> None:
        self._put, self._module, self._most_bytes = put, module, most_bytes

    def served(self, call: Call, code: int, seconds: float) -> None:
        """A call of a chain was served."""
        trace = call.trace
        if trace is not None:
            bits = ASKED_HERE, ANSWERED_HERE
            texts = self._parameters(trace, call.bodies, bits)
            self._tell(trace, ("sr", "ss"), "", call.servant, call.function, code, seconds, texts)

    def called(
        self, trace: Trace, servant: str, function: str, code: int, seconds: float, bodies: Bodies | None
    ) -> None:
        """A call of a chain was made."""
        texts = self._parameters(trace, bodies, (ASKED_BY_CALLER, ANSWERED_TO_CALLER))
        self._tell(trace, ("cs", "cr"), self._module, servant, function, code, seconds, texts)

    def _parameters(self, trace: Trace, bodies: Bodies | None, bits: tuple[int, int]) -> tuple[str, str]:
        """What was asked and what was answered, as far as it is wanted."""
        wanted, kilobytes = trace.wants
        if bodies is None or not wanted & (bits[0] | bits[1]):
            return "", ""
        most = max(1024 * kilobytes, self._most_bytes)
        asked = answered = ""
        if wanted & bits[0]:
            asked = bodies.asked() if len(bodies.request) <= most else TOO_LONG
        if wanted & bits[1] and bodies.reply is not None:
            answered = bodies.answered() if len(bodies.reply) <= most else TOO_LONG
        return b64encode(asked.encode()).decode(), b64encode(answered.encode()).decode()

    def _tell(
        self,
        trace: Trace,
        which: tuple[str, str],
        caller: str,
        called: str,
        function: str,
        code: int,
        seconds: float,
        texts: tuple[str, str],
    ) -> None:
        now = time.time()
        begun, ended = which
        rest = f"{caller}|{called}|{function}"
        self._put(f"{trace.key}|{begun}|{rest}|{int(1000 * (now - seconds))}|0|{texts[0]}|\n")
        self._put(f"{trace.key}|{ended}|{rest}|{int(1000 * now)}|{code}|{texts[1]}|\n")
