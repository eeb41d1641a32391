"""Traces and metrics as Jaeger has them: what an operator's own tool shows of a request."""

import asyncio

import pytest
from tests.integration.suite.conftest import four_processes
from tests.integration.suite.jaeger_receiver import Jaeger, needs_jaeger
from tests.integration.suite.test_telemetry import TREE, ask, configured, page
from tests.support.ports import free_ports

from llmrouter import suite

pytestmark = needs_jaeger
SERVICES = {f"llmrouter-{one}" for one in ("gateway", "selector", "cache", "inference")}


@pytest.fixture
def jaeger(tmp_path):
    return Jaeger(tmp_path)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_jaeger_shows_one_request_as_one_tree_of_four_processes(config, jaeger, protocol):
    path, ports = config
    endpoint = f"http://127.0.0.1:{getattr(jaeger.ports, protocol)}"
    configured(path, otlp_endpoint=endpoint, otlp_protocol=protocol, metrics_interval_seconds=0.5)
    async with jaeger.running(), four_processes(path, ports):
        await ask(f"127.0.0.1:{ports['gateway']}")
        [trace] = await jaeger.first_traces("llmrouter-gateway")
        spans = await jaeger.trace(trace, lambda count: count >= len(TREE))
        by_service = [await jaeger.traces(service) for service in SERVICES]
        await jaeger.wait_for_metrics({"llm_requests_total", "gen_ai_client_token_usage"})
    assert {(span.name, span.above) for span in spans} == TREE
    assert {span.service for span in spans} == SERVICES
    assert by_service == [{trace}] * 4
    [chosen] = [span for span in spans if span.events]
    assert chosen.events[0]["event"] == "candidate"
    assert float(chosen.events[0]["llmrouter.score"]) > 0
    [attempt] = [span for span in spans if span.name == "chat tiny"]
    assert attempt.tags["gen_ai.usage.output_tokens"] == 8


async def test_exemplars_of_the_page_of_metrics_lead_to_traces_that_jaeger_shows(config, jaeger):
    path, _ = config
    [port] = free_ports(1)
    endpoint = f"http://127.0.0.1:{jaeger.ports.grpc}"
    configured(path, otlp_endpoint=endpoint, prometheus={"enabled": True, "port": port})
    async with jaeger.running():
        async with suite.running(path) as addresses:
            await ask(addresses.gateway)
            shown = await asyncio.to_thread(page, port)
        slowness = [
            line for line in shown.splitlines()
            if line.startswith("llm_request_duration_seconds_bucket") and "# {" in line
        ]  # fmt: skip
        [exemplar] = {line.split('trace_id="')[1][:32] for line in slowness}
        spans = await jaeger.trace(exemplar, bool)
    assert "GatewayService/StreamGenerate" in {span.name for span in spans}


async def test_requests_do_not_notice_that_jaeger_goes_and_it_is_sent_to_again_once_back(
    config, jaeger
):
    path, _ = config
    configured(path, otlp_endpoint=f"http://127.0.0.1:{jaeger.ports.grpc}")
    async with suite.running(path) as addresses:
        async with jaeger.running():
            await ask(addresses.gateway, seed=1)
            before = await jaeger.first_traces("llmrouter-up")
        for number in range(2, 12):
            assert await ask(addresses.gateway, seed=number)
        async with jaeger.running():
            again = set()
            async with asyncio.timeout(60):
                while not again:
                    assert await ask(addresses.gateway, seed=100)
                    again = await jaeger.traces("llmrouter-up")
                    await asyncio.sleep(0.2)
    assert again
    assert not again & before
