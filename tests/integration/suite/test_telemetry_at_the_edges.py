"""What telemetry tells of providers, refused callers and the gateway's own memory."""

import asyncio
import json

import pytest
from tests.integration.suite.otlp_receiver import receiving_grpc
from tests.integration.suite.test_telemetry import ask, configured, page, told, tree
from tests.support.ports import free_ports

from llmrouter import suite
from llmrouter_client import AsyncClient, LlmrouterError


async def test_a_providers_call_is_one_span_below_inference_under_the_name_of_its_api(
    config, tmp_path
):
    path, _ = config
    front = tmp_path / "front.yaml"
    async with receiving_grpc() as (received, endpoint), suite.running(path) as behind:
        model = {"name": "far", "upstream": "tiny", "context": 64}
        provider = {"name": "other", "base_url": f"http://{behind.http}/v1", "models": [model]}
        inference = {"store": str(tmp_path), "providers": [provider]}
        body = {"inference": inference, "cache": {"disk_max_bytes": 0}}
        front.write_text(json.dumps(body))
        configured(front, otlp_endpoint=endpoint)
        async with suite.running(front, ports="free") as addresses:
            await ask(addresses.gateway)
    sent = list(received.spans())
    spans = [span for _, span in sent]
    assert {("inference", "chat far"), ("provider far", "inference")} <= tree(sent)
    assert not {"queue", "prefill", "decode"} & {span.name for span in spans}
    [call] = [span for span in spans if span.name == "provider far"]
    assert told(call)["gen_ai.provider.name"].string_value == "openai"


async def test_a_caller_who_is_refused_is_counted_and_the_trace_says_why(config):
    path, _ = config
    body = json.loads(path.read_text())
    body["gateway"]["identity"]["anonymous"] = "never"
    path.write_text(json.dumps(body))
    [port] = free_ports(1)
    async with receiving_grpc() as (received, endpoint):
        configured(path, otlp_endpoint=endpoint, prometheus={"enabled": True, "port": port})
        async with suite.running(path) as addresses:
            with pytest.raises(LlmrouterError, match="no credential"):
                await ask(addresses.gateway)
            shown = await asyncio.to_thread(page, port)
    [(_, spans)] = received.by_trace().items()
    [(_, root)] = spans
    assert told(root)["error.type"].string_value == "UNAUTHENTICATED"
    errors = [line for line in shown.splitlines() if line.startswith("llm_errors_total{")]
    assert [line for line in errors if 'reason="UNAUTHENTICATED"' in line]


async def test_each_question_of_a_batch_has_a_branch_of_its_own_and_its_own_end(config):
    path, _ = config
    async with receiving_grpc() as (received, endpoint):
        configured(path, otlp_endpoint=endpoint)
        async with (
            suite.running(path) as addresses,
            AsyncClient(addresses.gateway) as client,
            client.batch(["abcd", "x" * 5000], max_tokens=4) as results,
        ):
            assert len([one async for one in results]) == 2
    [(_, spans)] = received.by_trace().items()
    questions = [span for _, span in spans if span.name == "question"]
    ends = {told(one)["error.type"].string_value if one.status.code else "" for one in questions}
    assert ends == {"", "CONTEXT_TOO_LONG"}
    assert {("question", "GatewayService/BatchGenerate"), ("chat tiny", "question")} <= tree(spans)


async def test_the_page_tells_every_level_of_the_cache_the_gateways_own_too(config):
    path, _ = config
    [port] = free_ports(1)
    configured(path, prometheus={"enabled": True, "port": port})
    async with suite.running(path) as addresses:
        await ask(addresses.gateway)
        await ask(addresses.gateway)
        shown = await asyncio.to_thread(page, port)
    hits = {
        line.split('level="')[1].split('"')[0]: float(line.split("} ")[1].split(" ")[0])
        for line in shown.splitlines()
        if line.startswith("llm_cache_hits_total{")
    }
    assert hits["gateway"] == 1
    assert "memory" in hits
