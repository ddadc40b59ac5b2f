"""Spans for OpenTelemetry: `pip install 'skerry[otel]'`, then

    from skerry.otel import OpenTelemetry

    app.traces(OpenTelemetry())

Without an argument they go to the global tracer provider, as the SDK or `opentelemetry-instrument` sets it up
(exporter, sampler and resource by OTEL_... variables). Instrumented clients that a view or a reactor calls make parts
of its span.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from skerry.errors import SettingsError
from skerry.tracing import Kind, OpenSpan, Tracer

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise SettingsError("tracing", "OpenTelemetry is not installed: pip install 'skerry[otel]'") from error

KINDS: Mapping[Kind, SpanKind] = {
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
}
_propagator = TraceContextTextMapPropagator()


class OpenTelemetry(Tracer):
    """Makes spans of a tracer provider of OpenTelemetry; None: the global one."""

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("skerry", tracer_provider=provider)

    def begin(
        self,
        name: str,
        parent: str | None = None,
        kind: Kind = "internal",
        links: Sequence[str] = (),
        **attributes: str,
    ) -> OpenSpan:
        context = _propagator.extract({"traceparent": parent}) if parent else None
        linked = [_link(each) for each in links]
        return _Open(self._tracer.start_span(name, context, KINDS[kind], attributes, linked))


def _link(traceparent: str) -> Link:
    context = _propagator.extract({"traceparent": traceparent}, Context())
    return Link(trace.get_current_span(context).get_span_context())


class _Open:
    __slots__ = ("_span", "traceparent")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, trace.set_span_in_context(span))
        self.traceparent = carrier.get("traceparent", "")

    def current(self) -> AbstractContextManager[object]:
        return trace.use_span(
            self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False
        )

    def end(self, error: BaseException | None = None) -> None:
        if error is not None:
            self._span.record_exception(error)
            self._span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        self._span.end()
