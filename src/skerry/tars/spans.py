"""What a call of a chain does in the context of its task: the trace of what it causes, and spans of OpenTelemetry.

Spans are there when the application has set a tracer provider before it serves or makes proxies. Names and
attributes are those of its conventions for RPC, `rpc.system` is `tars`.
"""

from __future__ import annotations

import sys
from typing import Any

from skerry.provenance import carried, provenance
from skerry.tars.trace import NO_PARAMETERS, Trace

NAME = "skerry.tars"


def opentelemetry() -> Any:
    """The module `opentelemetry.trace`; None while nobody has imported it, or said where spans go."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None or isinstance(api.get_tracer_provider(), api.ProxyTracerProvider):
        return None
    return api


class Joined:
    """A call that is served: commands and events that it causes carry its trace, and its span is current. `leave` gives
    the context back, `end` tells how the call ended."""

    __slots__ = ("_api", "_cause", "_span", "_token")

    def __init__(self, servant: str, function: str, trace: Trace | None, api: Any) -> None:
        self._api = api
        self._cause = None if trace is None else carried.set(provenance(trace=trace.traceparent))
        self._span = self._token = None
        if api is not None:
            from opentelemetry import context

            self._span = api.get_tracer(NAME).start_span(
                f"{servant}/{function}",
                _remote(api, trace),
                api.SpanKind.SERVER,
                _attributes(servant, function),
            )
            self._token = context.attach(api.set_span_in_context(self._span))

    def leave(self) -> None:
        if self._cause is not None:
            carried.reset(self._cause)
        if self._token is not None:
            from opentelemetry import context

            context.detach(self._token)

    def end(self, code: int) -> None:
        if self._span is not None:
            _end(self._api, self._span, code)


class ClientSpan:
    """Of a call that is made."""

    __slots__ = ("_api", "_span")

    def __init__(self, api: Any, servant: str, function: str) -> None:
        self._api = api
        self._span = api.get_tracer(NAME).start_span(
            f"{servant}/{function}", None, api.SpanKind.CLIENT, _attributes(servant, function)
        )

    def trace(self, outer: Trace | None) -> Trace | None:
        """What the called server is told: this span, when it is recorded, else another one of `outer`, the chain that
        it is made in."""
        context = self._span.get_span_context()
        if not self._span.is_recording() or not context.trace_flags.sampled:
            return None if outer is None else outer.child()
        ours = f"{context.trace_id:032x}"
        chain = outer.chain if outer is not None and outer.chain.endswith(ours) else f"{NO_PARAMETERS}-{ours}"
        span = f"{context.span_id:016x}"
        return Trace(chain, span, outer.parent if outer is not None and outer.parent else span)

    def end(self, code: int, endpoint: str) -> None:
        self._span.set_attribute("server.address", endpoint)
        _end(self._api, self._span, code)


def _remote(api: Any, trace: Trace | None) -> Any:
    """The context that has the caller's span as its parent."""
    if trace is None:
        return None
    _, chain, span, _ = trace.traceparent.split("-")
    caller = api.SpanContext(int(chain, 16), int(span, 16), True, api.TraceFlags(api.TraceFlags.SAMPLED))
    return api.set_span_in_context(api.NonRecordingSpan(caller))


def _attributes(servant: str, function: str) -> dict[str, str]:
    return {"rpc.system": "tars", "rpc.service": servant, "rpc.method": function}


def _end(api: Any, span: Any, code: int) -> None:
    if code:
        span.set_attribute("rpc.tars.code", code)
        span.set_status(api.StatusCode.ERROR)
    span.end()
