"""What leaves the suite: traces and metrics as real receivers get them, and logs."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import urllib.request

import pytest
from grpc import aio
from tests.integration.suite.conftest import four_processes, wait_until_routable
from tests.integration.suite.otlp_receiver import receiving_grpc, receiving_http
from tests.support.ports import free_ports

from llmrouter import suite
from llmrouter.v1 import generation_pb2
from llmrouter.v1.gateway_pb2_grpc import GatewayServiceStub
from llmrouter_client import AsyncClient, LlmrouterError

PROMPT = "abcd"
GREEDY = {"temperature": 0.0, "max_tokens": 8}
TREE = {
    ("GatewayService/StreamGenerate", None),
    ("admission", "GatewayService/StreamGenerate"),
    ("model_selection", "GatewayService/StreamGenerate"),
    ("model_selection", "model_selection"),
    ("cache_lookup", "GatewayService/StreamGenerate"),
    ("cache_lookup", "cache_lookup"),
    ("cache_store", "GatewayService/StreamGenerate"),
    ("cache_store", "cache_store"),
    ("chat tiny", "GatewayService/StreamGenerate"),
    ("inference", "chat tiny"),
    ("queue", "inference"),
    ("prefill", "inference"),
    ("decode", "inference"),
    ("report_outcome", "GatewayService/StreamGenerate"),
}
"""Each span of one request and what it is below."""


def configured(path, **telemetry):
    body = json.loads(path.read_text())
    body["telemetry"] = {"sampled": 1, **telemetry}
    path.write_text(json.dumps(body))


def tree(spans):
    names = {span.span_id: span.name for _, span in spans}
    return {(span.name, names.get(span.parent_span_id)) for _, span in spans}


def told(span):
    return {one.key: one.value for one in span.attributes}


async def ask(address, prompt=PROMPT, **options):
    async with AsyncClient(address) as client, client.stream(prompt, **GREEDY, **options) as events:
        return [event async for event in events]


def page(port):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return answer.read().decode()


async def test_one_request_is_one_tree_across_four_processes(config):
    path, ports = config
    async with receiving_grpc() as (received, endpoint):
        configured(path, otlp_endpoint=endpoint, metrics_interval_seconds=0.5)
        async with four_processes(path, ports):
            await ask(f"127.0.0.1:{ports['gateway']}")
            await received.wait_for(lambda one: len(list(one.spans())) >= len(TREE))
            await received.wait_for(lambda one: "llm_tokens_generated" in one.metric_names())
    [(_, spans)] = received.by_trace().items()
    assert tree(spans) == TREE
    services = {service for service, _ in spans}
    assert services == {f"llmrouter-{one}" for one in ("gateway", "selector", "cache", "inference")}
    [chosen] = [one for service, one in spans if one.events]
    assert chosen.events[0].name == "candidate"
    assert {one.key for one in chosen.events[0].attributes} >= {"llmrouter.score"}
    [attempt] = [one for _, one in spans if one.name == "chat tiny"]
    assert told(attempt)["gen_ai.usage.output_tokens"].int_value == 8
    assert "gen_ai.input.messages" not in told(attempt)


async def test_queue_prefill_and_decode_lie_one_after_another_within_their_call(config):
    path, _ports = config
    async with receiving_grpc() as (received, endpoint):
        configured(path, otlp_endpoint=endpoint)
        async with suite.running(path) as addresses:
            await ask(addresses.gateway)
    spans = {span.name: span for _, span in received.spans()}
    queue, prefill, decode = (spans[name] for name in ("queue", "prefill", "decode"))
    inference = spans["inference"]
    assert inference.start_time_unix_nano <= queue.start_time_unix_nano
    assert queue.end_time_unix_nano == prefill.start_time_unix_nano
    assert prefill.end_time_unix_nano <= decode.start_time_unix_nano
    assert decode.start_time_unix_nano < decode.end_time_unix_nano


async def test_the_suite_in_one_process_sends_over_http_too_with_the_headers_of_a_file(
    config, tmp_path
):
    path, _ = config
    headers = tmp_path / "headers"
    headers.write_text("x-collector-key: k-1\n")
    with receiving_http() as (received, endpoint):
        configured(
            path, otlp_endpoint=endpoint, otlp_protocol="http", otlp_headers_file=str(headers)
        )
        async with suite.running(path) as addresses:
            await ask(addresses.gateway)
    [(_, spans)] = received.by_trace().items()
    assert tree(spans) >= TREE - {("report_outcome", "GatewayService/StreamGenerate")}
    assert {"llm_requests", "gen_ai.client.token.usage"} <= received.metric_names()
    assert all(one["x-collector-key"] == "k-1" for one in received.headers)


async def test_a_caller_with_a_trace_of_its_own_finds_the_request_below_its_span(config):
    path, _ = config
    above = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with receiving_grpc() as (received, endpoint):
        configured(path, otlp_endpoint=endpoint, sampled=0)
        async with suite.running(path) as addresses:
            await _generate(addresses.gateway, (("traceparent", above),))
    [(trace, spans)] = received.by_trace().items()
    assert trace == "0af7651916cd43dd8448eb211c80319c"
    assert any(span.parent_span_id.hex() == "b7ad6b7169203331" for _, span in spans)


async def test_a_call_over_http_is_the_root_of_its_trace_or_below_its_callers(config):
    path, _ = config
    body = json.dumps({
        "model": "tiny", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 4,
    }).encode()  # fmt: skip
    above = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with receiving_grpc() as (received, endpoint):
        configured(path, otlp_endpoint=endpoint)
        async with suite.running(path) as addresses:
            for headers in ({}, {"traceparent": above}):
                request = urllib.request.Request(
                    f"http://{addresses.http}/v1/chat/completions", body,
                    {"Content-Type": "application/json", **headers},
                )  # fmt: skip
                answer = await asyncio.to_thread(urllib.request.urlopen, request, timeout=20)  # noqa: S310
                answer.close()
    traces = received.by_trace()
    assert len(traces) == 2
    for spans in traces.values():
        [root] = [span for _, span in spans if span.name == "POST /v1/chat/completions"]
        assert ("chat tiny", "POST /v1/chat/completions") in tree(spans)
        assert told(root)["llmrouter.reason"].string_value
    below = {span.parent_span_id.hex() for _, span in traces["0af7651916cd43dd8448eb211c80319c"]}
    assert "b7ad6b7169203331" in below


async def test_of_traces_that_were_not_drawn_those_that_fail_leave_whole(config):
    path, _ = config
    async with receiving_grpc() as (received, endpoint):
        configured(path, otlp_endpoint=endpoint, sampled=0)
        async with suite.running(path) as addresses:
            await ask(addresses.gateway)
            with pytest.raises(LlmrouterError):
                await ask(addresses.gateway, prompt="x" * 5000)
    [(_, spans)] = received.by_trace().items()
    root = next(span for _, span in spans if span.name == "GatewayService/StreamGenerate")
    assert told(root)["error.type"].string_value == "CONTEXT_TOO_LONG"
    assert len(spans) > 1


async def test_prompts_and_answers_leave_only_where_that_was_asked_for(config):
    path, _ = config
    async with receiving_grpc() as (received, endpoint):
        configured(path, otlp_endpoint=endpoint, content=True)
        async with suite.running(path) as addresses:
            await ask(addresses.gateway)
    [attempt] = [one for _, one in received.spans() if one.name == "chat tiny"]
    assert PROMPT in told(attempt)["gen_ai.input.messages"].string_value
    assert "assistant" in told(attempt)["gen_ai.output.messages"].string_value


async def test_a_collector_that_is_gone_costs_requests_nothing_and_ends_with_the_suite(config):
    path, _ = config
    [port] = free_ports(1)
    configured(path, otlp_endpoint=f"http://127.0.0.1:{port}", metrics_interval_seconds=0.2)
    async with suite.running(path) as addresses:
        for number in range(20):
            assert await ask(addresses.gateway, seed=number)


async def test_the_page_of_metrics_shows_the_guides_seven_and_leads_to_traces(config):
    path, _ = config
    [port] = free_ports(1)
    async with receiving_grpc() as (received, endpoint):
        configured(path, otlp_endpoint=endpoint, prometheus={"enabled": True, "port": port})
        async with suite.running(path) as addresses:
            await ask(addresses.gateway)
            with pytest.raises(LlmrouterError):
                await ask(addresses.gateway, prompt="x" * 5000)
            shown = await asyncio.to_thread(page, port)
    for name in (
        "llm_requests_total", "llm_request_duration_seconds_bucket", "llm_errors_total",
        "llm_tokens_generated_bucket", "llm_model_usage_total", "llm_memory_usage_bytes",
        "llm_queue_size", "llm_cache_hits_total", "llm_slots", "llm_model_state",
        "gen_ai_client_token_usage_bucket", "rpc_server_call_duration_seconds_bucket",
        "llm_cost_dollars_total", "llm_selections_total",
    ):  # fmt: skip
        assert f"\n{name}" in shown, name
    exemplars = {
        line.split('trace_id="')[1][:32] for line in shown.splitlines() if "# {" in line
    }  # fmt: skip
    assert exemplars
    assert exemplars <= set(received.by_trace())


async def test_no_output_of_the_suite_tells_a_secret(config, tmp_path):
    path, ports = config
    planted = [f"planted-{number}-secret" for number in range(4)]
    headers = tmp_path / "headers"
    headers.write_text(f"authorization: Bearer {planted[0]}\n")
    [port] = free_ports(1)
    async with receiving_grpc() as (received, endpoint):
        configured(
            path,
            otlp_endpoint=endpoint,
            otlp_headers_file=str(headers),
            prometheus={"enabled": True, "port": port},
        )
        async with started(path, ports) as process:
            address = f"127.0.0.1:{ports['gateway']}"
            await ask(address, prompt=planted[1])
            await _generate(address, (("authorization", f"Bearer {planted[2]}"),))
            with pytest.raises(LlmrouterError):
                await ask(address, prompt=f"{planted[3]} " * 500)
            shown = await asyncio.to_thread(page, port)
            await received.wait_for(lambda one: len(list(one.spans())) > len(TREE))
        logs = (await process.stderr.read()).decode()
    outputs = {"logs": logs, "page": shown, "otlp": f"{received.traces}{received.metrics}"}
    assert [json.loads(line)["event"] for line in logs.splitlines()].count("request") == 3
    for name, output in outputs.items():
        assert output
        for secret in planted:
            assert secret not in output, (name, secret)


async def test_every_line_of_a_request_names_its_trace(config):
    path, ports = config
    async with receiving_grpc() as (received, endpoint):
        configured(path, otlp_endpoint=endpoint)
        async with started(path, ports) as process:
            await ask(f"127.0.0.1:{ports['gateway']}")
        logs = (await process.stderr.read()).decode()
    [line] = [one for one in map(json.loads, logs.splitlines()) if one["event"] == "request"]
    assert [line["trace_id"]] == list(received.by_trace())
    assert (line["outcome"], line["completion_tokens"]) == ("OK", 8)
    assert line["reason"]
    assert line["plan_id"]


async def _generate(address, metadata):
    async with aio.insecure_channel(address) as channel:
        request = generation_pb2.GenerateRequest(
            prompt=PROMPT, sampling={"temperature": 0.0, "max_tokens": 4}
        )
        return await GatewayServiceStub(channel).Generate(request, metadata=metadata, timeout=20)


@contextlib.asynccontextmanager
async def started(path, ports):
    """The suite as a program in production; ended when the block is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llmrouter", "up", "--json", "-c", str(path),
        stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, "LLMROUTER_ENV": "production"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while process.returncode is None:
                with contextlib.suppress(Exception):
                    await wait_until_routable(ports["gateway"])
                    break
                await asyncio.sleep(0.2)
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 30)
