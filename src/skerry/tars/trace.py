"""Call chains: what `STATUS_TRACE_KEY` says of a call, and the W3C `traceparent` that says the same. Pure.

A chain begins where a `traceparent` comes in that is sampled (by HTTP, or the present span of OpenTelemetry), or at
another Tars server; this side only carries it on. Not here: who writes it down (platform/log.py, spans.py).

Source: TarsCpp `TraceContext`: `FLAGS-ID|SPAN`, a gateway adds `|PARENT`; FLAGS (`f.2`) say whose parameters are to be
logged, and up to how many kilobytes. W3C Trace Context, section 3.2.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from hashlib import md5

from skerry.provenance import TRACE, carried, provenance

NO_PARAMETERS = "0"
MOST_BITS = 15
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Trace:
    """One call of a chain. `chain` is as it came: `f.2-ee824ad0eb4dacf56b29d230a229c584`. `span` is empty for a call
    that is being served: it has its caller's, `parent`."""

    chain: str
    span: str
    parent: str

    def child(self) -> Trace:
        """Of a call that is made now, because of this one."""
        span = new_span()
        return Trace(self.chain, span, self.parent or span)

    @property
    def wants(self) -> tuple[int, int]:
        """Whose parameters are to be logged, as bits (`platform/trace_log.py`), and up to how many kilobytes."""
        bits, _, kilobytes = self.chain.partition("-")[0].partition(".")
        try:
            wanted = int(bits, 16)
        except ValueError:
            return 0, 1
        return (wanted if 0 <= wanted <= MOST_BITS else 0), int(kilobytes) if kilobytes.isdecimal() else 1

    @property
    def wire(self) -> str:
        """For `STATUS_TRACE_KEY` of a request."""
        return f"{self.chain}|{self.span}"

    @property
    def key(self) -> str:
        """How the trace log begins its lines."""
        return f"{self.chain}|{self.span}|{self.parent}" if self.span else f"{self.chain}|{self.parent}|*"

    @property
    def traceparent(self) -> str:
        """The header of an HTTP request that is made because of this call. Ids of other lengths become their MD5."""
        chain = _of_length(self.chain.rpartition("-")[2], 32)
        return f"00-{chain}-{_of_length(self.span or self.parent, 16)}-01"


def received(text: str) -> Trace | None:
    """Of a call that is being served, from its `STATUS_TRACE_KEY`; None for what says nothing."""
    chain, _, rest = text.partition("|")
    span = rest.partition("|")[0]
    return Trace(chain, "", span) if chain and span else None


def of_traceparent(text: str | None) -> Trace | None:
    """Of what is done for a `traceparent`; None for one that is malformed or not sampled."""
    found = provenance(trace=text).get(TRACE)
    if found is None:
        return None
    _, chain, span, flags = found.split("-")[:4]
    return Trace(f"{NO_PARAMETERS}-{chain}", "", span) if int(flags, 16) & 1 else None


def present() -> Trace | None:
    """Of what is done now, outside of a servant: that of the request or event behind it."""
    headers = carried.get()
    return of_traceparent(headers.get(TRACE)) if headers else None


def new_span() -> str:
    """16 hexadecimal digits, never all 0."""
    return f"{random.getrandbits(64) or 1:016x}"


def _of_length(text: str, length: int) -> str:
    lower = text.lower()
    if len(lower) == length and _HEX.issuperset(lower) and lower.strip("0"):
        return lower
    return md5(text.encode(), usedforsecurity=False).hexdigest()[:length]
