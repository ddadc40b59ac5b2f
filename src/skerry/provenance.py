"""Who and which trace is behind what happens now: the headers that commands sent from here carry on.

Set where a cause comes in (a request, an event that a reactor processes), read where a command is sent. The names are
those of an envelope's headers. Not here: spans (`tracing`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})
WHO = "who"
"""The header that names the identity which sent a command; its events keep it."""
TRACE = "traceparent"
"""The header with the W3C trace context of a command; its events keep it."""
carried: ContextVar[Mapping[str, str]] = ContextVar("skerry_provenance", default=NOTHING)

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def is_traceparent(text: str) -> bool:
    """Whether it is a `traceparent` (W3C Trace Context, section 3.2.2)."""
    return _TRACEPARENT.fullmatch(text) is not None


def provenance(who: str = "", trace: str | None = None) -> Mapping[str, str]:
    """The headers for an identity and a `traceparent`; one that is malformed counts as none (W3C Trace Context,
    section 3.2.2)."""
    if trace is not None and not is_traceparent(trace):
        trace = None
    if not who:
        return {TRACE: trace} if trace else NOTHING
    return {WHO: who, TRACE: trace} if trace else {WHO: who}
