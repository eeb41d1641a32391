"""Which traces leave: drawn ones at once, others whole once they fail or prove slow."""

import threading
from contextvars import copy_context

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from tests.unit.telemetry.driving import Kept

from llmrouter.common.telemetry.keeping import SpanKeeper
from llmrouter.common.telemetry.settings import TelemetrySettings
from llmrouter.common.telemetry.telemetry import QUEUED_SPANS, sending
from llmrouter.common.telemetry.tracing import Tracer, fail

SLOW = 10.0


class World:
    def __init__(self, share=0.0, most=8192):
        self.kept = Kept()
        sending = SimpleSpanProcessor(self.kept)
        self.keeper = SpanKeeper(sending, Resource({"service.name": "test"}), SLOW, most)
        self.tracer = Tracer(self.keeper, share=share)

    def names(self):
        return [span.name for span in self.kept.spans]


def test_a_drawn_trace_leaves_span_by_span():
    world = World(share=1.0)
    with world.tracer.span("root"):
        with world.tracer.span("inner"):
            pass
        assert world.names() == ["inner"]
    assert world.names() == ["inner", "root"]


def test_a_trace_that_was_not_drawn_and_went_well_leaves_no_trace():
    world = World()
    with world.tracer.span("root"), world.tracer.span("inner"):
        pass
    assert world.names() == []
    assert world.keeper.held == 0


def test_a_trace_with_an_error_anywhere_leaves_whole_and_as_a_drawn_one():
    world = World()
    with world.tracer.span("root"), world.tracer.span("inner") as inner:
        fail(inner, "INTERNAL")
    assert world.names() == ["inner", "root"]
    assert all(span.context.trace_flags.sampled for span in world.kept.spans)
    assert {span.resource.attributes["service.name"] for span in world.kept.spans} == {"test"}
    assert world.kept.spans[0].parent.span_id == world.kept.spans[1].context.span_id


def test_what_was_written_on_a_span_that_was_not_drawn_leaves_with_it():
    world = World()
    root = world.tracer.start("root", {"a": 1})
    root.set_attributes({"b": "two"})
    root.add_event("candidate", {"score": 0.5})
    root.record_exception(ValueError("private"))
    fail(root, "INTERNAL", "it broke")
    root.end()
    root.end()
    [span] = world.kept.spans
    assert dict(span.attributes) == {"a": 1, "b": "two", "error.type": "INTERNAL"}
    assert [one.name for one in span.events] == ["candidate", "exception"]
    assert "private" not in span.to_json()
    assert span.status.description == "it broke"
    assert not root.is_recording()


def test_a_caller_who_leaves_is_no_error():
    world = World()
    with world.tracer.span("root") as root:
        fail(root, "CANCELLED")
    assert world.names() == []


def test_a_slow_call_leaves():
    world = World()
    span = world.tracer.start("root", start_ns=1)
    span.end(int(SLOW * 1e9) + 2)
    assert world.names() == ["root"]


def test_what_ends_after_its_trace_was_decided_on_is_let_go():
    world = World()
    root = world.tracer.start("root")
    late = world.tracer.start("late", parent=root)
    root.end()
    late.end()
    assert (world.names(), world.keeper.held) == ([], 0)


def test_what_ends_late_in_a_drawn_trace_leaves_still():
    world = World(share=1.0)
    root = world.tracer.start("root")
    late = world.tracer.start("late", parent=root)
    root.end()
    late.end()
    assert world.names() == ["root", "late"]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), max_size=60),
    st.integers(1, 12),
)
@settings(deadline=None)
def test_however_traces_interleave_the_bound_holds_and_nothing_stays(steps, most):
    world = World(most=most)
    roots = {}
    for number, inner_fails, ends in steps:
        root = roots.setdefault(number, world.tracer.start(f"root {number}"))
        inner = world.tracer.start("inner", parent=root)
        if inner_fails:
            fail(inner, "INTERNAL")
        inner.end()
        assert world.keeper.held <= most
        if ends:
            roots.pop(number).end()
    for root in roots.values():
        root.end()
    assert world.keeper.held == 0
    by_trace = {span.context.trace_id for span in world.kept.spans}
    failed = {one.context.trace_id for one in world.kept.spans if not one.status.is_ok}
    assert by_trace == failed


class Stuck(SpanExporter):
    """A collector that takes nothing until it is released."""

    def __init__(self):
        self.released, self.sent = threading.Event(), 0

    def export(self, spans):
        self.released.wait(20)
        self.sent += len(spans)
        return SpanExportResult.SUCCESS


def test_a_collector_that_hangs_holds_up_nobody_and_costs_a_bound():
    stuck = Stuck()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(sending(TelemetrySettings(), stuck))
    tracer = provider.get_tracer("test")
    for _ in range(3 * QUEUED_SPANS):
        tracer.start_span("span").end()
    stuck.released.set()
    provider.shutdown()
    assert QUEUED_SPANS / 2 < stuck.sent <= 2 * QUEUED_SPANS


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_caller_draws_for_those_below(share):
    world = World(share=share)
    drawn = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    not_drawn = drawn[:-1] + "0"

    def call(header):
        span = world.tracer.receive("call", {"traceparent": header})
        world.tracer.start("inner").end()
        span.end()

    for header in (drawn, not_drawn):
        copy_context().run(call, header)
    assert world.names() == ["inner", "call"]
