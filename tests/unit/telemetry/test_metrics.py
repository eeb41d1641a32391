"""Instruments, what is read where it is kept, and the page that shows both."""

import asyncio
import re
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from tests.unit.telemetry.driving import Kept, Page

from llmrouter.common.telemetry import names
from llmrouter.common.telemetry.keeping import SpanKeeper
from llmrouter.common.telemetry.metering import Reading
from llmrouter.common.telemetry.names import INSTRUMENTS, Kind, Name
from llmrouter.common.telemetry.tracing import Tracer
from llmrouter.v1 import cache_pb2, gateway_pb2, inference_pb2, selector_pb2

SERVICES = Path(__file__).resolve().parents[3] / "services/llmrouter"
ASKED = {"model": "m", "success": "true", "cache": "miss"}


@pytest.fixture
def page():
    return Page()


def test_a_hundred_thousand_tenants_do_not_grow_the_page_beyond_its_bound(page):
    def ask(tenants):
        for number in tenants:
            page.meter.add(Name.REQUESTS, {**ASKED, "tenant": f"tenant-{number}"})

    ask(range(200))
    before = page.lines()
    ask(range(200, 100_000))
    after = page.lines()
    assert len(after) == len(before)
    counts = page.values("llm_requests_total")
    assert len(counts) == 101
    [others] = [count for labels, count in counts.items() if 'tenant="other"' in labels]
    assert others == 100_000 - 100


def test_the_guides_seven_have_its_names(page):
    labels = {"model": "m"}
    page.meter.add(Name.REQUESTS, {**ASKED, "tenant": "t"})
    page.meter.add(Name.ERRORS, {**labels, "reason": "INTERNAL"})
    page.meter.add(Name.MODEL_USAGE, {**labels, "operation": "chat"})
    page.meter.record(Name.REQUEST_DURATION, 0.2, labels)
    page.meter.record(Name.TOKENS_GENERATED, 90, labels)
    shown = "\n".join(page.lines())
    for name in (
        "llm_requests_total", "llm_errors_total", "llm_model_usage_total",
        "llm_request_duration_seconds_bucket", "llm_tokens_generated_bucket",
    ):  # fmt: skip
        assert re.search(rf"^{name}\{{", shown, re.MULTILINE), name
    assert page.values("llm_tokens_generated_bucket")['{le="64.0",model="m"}'] == 0
    assert page.values("llm_tokens_generated_bucket")['{le="128.0",model="m"}'] == 1


async def test_values_are_read_on_their_event_loop_whenever_the_page_is_asked_for(page):
    seen = []

    async def source():
        seen.append(asyncio.get_running_loop())
        return [
            Reading(Name.QUEUE_SIZE, 3, {"model": "m", "version": "1"}),
            Reading(Name.MEMORY_USAGE, 2048, {"kind": "process"}),
        ]

    end = page.meter.observe(source)
    assert (await asyncio.to_thread(page.values, "llm_queue_size")) == {
        '{model="m",version="1"}': 3
    }
    assert seen == [asyncio.get_running_loop()]
    end()
    await asyncio.sleep(0.3)
    assert await asyncio.to_thread(page.values, "llm_queue_size") == {}


async def test_readings_of_tenants_past_the_bound_are_added_up():
    page = Page(tenants=2)

    async def source():
        return [Reading(Name.TENANT_COST, 1.5, {"tenant": f"t{n}"}) for n in range(6)]

    page.meter.observe(source)
    shown = await asyncio.to_thread(page.values, "llm_tenant_cost_dollars_total")
    assert shown == {'{tenant="t0"}': 1.5, '{tenant="t1"}': 1.5, '{tenant="other"}': 6.0}


async def test_a_source_that_fails_keeps_nothing_from_the_others(page):
    async def broken():
        raise RuntimeError("no disk")

    async def whole():
        return [Reading(Name.SLOTS, 16, {"model": "m"})]

    page.meter.observe(broken)
    page.meter.observe(whole)
    assert await asyncio.to_thread(page.values, "llm_slots") == {'{model="m"}': 16}


def test_a_source_whose_loop_is_gone_tells_nothing(page):
    async def source():
        return [Reading(Name.SLOTS, 16)]

    async def observed():
        page.meter.observe(source)

    asyncio.run(observed())
    assert page.values("llm_slots") == {}


def test_series_that_lack_a_label_have_it_empty(page):
    page.meter.record(Name.CLIENT_DURATION, 0.1, {"gen_ai.request.model": "m"})
    failed = {"gen_ai.request.model": "m", "error.type": "INTERNAL"}
    page.meter.record(Name.CLIENT_DURATION, 0.1, failed)
    counts = page.values("gen_ai_client_operation_duration_seconds_count")
    assert counts == {
        '{error_type="",gen_ai_request_model="m"}': 1,
        '{error_type="INTERNAL",gen_ai_request_model="m"}': 1,
    }


def test_an_exemplar_leads_to_the_trace_that_was_measured(page):
    sent = SimpleSpanProcessor(Kept())
    for share in (0.0, 1.0):
        tracer = Tracer(SpanKeeper(sent, Resource({}), 10.0), share=share)
        with tracer.span("request") as span:
            page.meter.record(Name.REQUEST_DURATION, 0.2, {"model": "m"})
    [line] = [one for one in page.lines() if " # " in one]
    assert 'le="0.25"' in line
    assert f'trace_id="{span.get_span_context().trace_id:032x}"' in line


@pytest.mark.parametrize("name", Name)
def test_every_instrument_has_a_source(name):
    places = [
        path
        for path in SERVICES.rglob("*.py")
        if path.name != "names.py" and re.search(rf"\bName\.{name.name}\b", path.read_text())
    ]
    assert name in INSTRUMENTS
    assert places, name
    assert bool(INSTRUMENTS[name].buckets) == (INSTRUMENTS[name].kind is Kind.HISTOGRAM)


def test_the_calls_that_name_spans_exist():
    methods = {
        f"/{service.full_name}/{method.name}"
        for file in (cache_pb2, gateway_pb2, inference_pb2, selector_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert set(names.SERVER_SPANS) | names.ROOTS <= methods
