"""Spans: what is part of what, in one process and across them, without any package."""

from __future__ import annotations

import pytest

from skerry.tracing import Span, Tracer


def test_spans_nest_and_name_their_errors() -> None:
    """A span knows its parent, here or in another process, how long it took and what it failed with."""
    time, spans = [10.0], list[Span]()
    tracer = Tracer(lambda: time[0], spans.append)
    headers = list[str]()

    def work() -> None:
        with tracer.span("outer", route="/a"):
            time[0] += 1
            with tracer.span("inner") as inner:
                headers.append(inner.traceparent)
                time[0] += 2
            raise KeyError("x")

    with pytest.raises(KeyError):
        work()
    (header,) = headers
    inner, outer = spans
    assert (inner.trace_id, inner.parent_id) == (outer.trace_id, outer.span_id)
    assert (inner.seconds, outer.seconds, outer.began, outer.error) == (2.0, 3.0, 10.0, "KeyError")
    assert outer.attributes == {"route": "/a"}
    assert header == f"00-{inner.trace_id}-{inner.span_id}-01"
    with tracer.span("far", parent=header):
        pass
    assert (spans[-1].trace_id, spans[-1].parent_id) == (inner.trace_id, inner.span_id)


@pytest.mark.parametrize(
    "parent", ["nonsense", "", f"00-{'0' * 32}-{'1' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01"]
)
def test_a_malformed_parent_begins_a_trace(parent: str) -> None:
    """W3C Trace Context, section 3.2.2: what is no traceparent counts as none."""
    spans = list[Span]()
    with Tracer(lambda: 0.0, spans.append).span("a", parent):
        pass
    assert spans[0].parent_id is None


def test_a_span_may_end_later() -> None:
    """It is current within its block and ends by itself: what begins afterwards is no part of it."""
    spans = list[Span]()
    tracer = Tracer(lambda: 0.0, spans.append)
    span = tracer.begin("answer")
    with span.current(), tracer.span("part"):
        pass
    with tracer.span("other"):
        pass
    span.end(TimeoutError())
    part, other, answer = spans
    assert part.parent_id == answer.span_id
    assert other.parent_id is None
    assert answer.error == "TimeoutError"
