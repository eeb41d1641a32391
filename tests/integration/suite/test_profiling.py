"""A profile through the gateway: who may, what it holds, and that it is written down."""

import asyncio
import json

import grpc
import pytest
from tests.unit.cli.driving import lines, run

from llmrouter import suite
from llmrouter.common.wire import duration
from llmrouter.v1 import profile_pb2 as pb
from llmrouter.v1.profile_pb2_grpc import ProfileServiceStub
from llmrouter_client import AsyncClient


async def profile(address, **wish):
    async with grpc.aio.insecure_channel(address) as channel:
        request = pb.ProfileRequest(duration=duration(0.3), **wish)
        stub = ProfileServiceStub(channel)
        return await stub.Profile(request, timeout=60)


async def generating(address):
    async with AsyncClient(address) as client:
        for number in range(1000):
            await client.generate(f"abcd {number}", temperature=0.0, max_tokens=8)


async def test_inference_tells_its_threads_and_the_steps_of_its_engine(config):
    async with suite.running(config[0]) as addresses:
        work = asyncio.create_task(generating(addresses.gateway))
        for _ in range(20):
            told = await profile(addresses.gateway, service="inference")
            if told.recorded_steps:
                break
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    steps = json.loads(told.steps)["traceEvents"]
    assert told.service == "inference"
    names = [one["args"]["name"] for one in steps if one["ph"] == "M"]
    assert names[1].startswith("tiny@")
    runs = [one for one in steps if one["name"] == "run the decoder"]
    assert len(runs) == told.recorded_steps
    assert all(one["dur"] >= 0 for one in runs)
    assert "MainThread" in {one["name"] for one in json.loads(told.stacks)["profiles"]}


async def test_every_service_can_be_recorded_through_the_gateway_and_at_its_own_port(config):
    async with suite.running(config[0]) as addresses:
        for name in ("gateway", "selector", "cache", addresses.inference):
            told = await profile(addresses.gateway, service=name)
            assert told.samples > 0, name
        assert (await profile(addresses.cache)).service == "cache"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await profile(addresses.gateway, service="127.0.0.1:1")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert addresses.inference in refused.value.details()


async def test_a_profile_needs_the_scope_admin_and_stands_in_the_audit_log(
    config, tmp_path, monkeypatch
):
    path, _ = config
    body = json.loads(path.read_text())
    body["gateway"]["identity"]["anonymous"] = "never"
    path.write_text(json.dumps(body))
    config_flags = ("--config", str(path), "--json")
    keys = {
        scope: lines(run("keys", "create", scope, "--scope", scope, *config_flags))
        for scope in ("generate", "admin")
    }
    async with suite.running(path) as addresses:
        flags = ("--seconds", "0.3", "--out", str(tmp_path), "--address", addresses.gateway)
        for key in ("", keys["generate"][0]["text"]):
            monkeypatch.setenv("LLMROUTER_API_KEY", key)
            refused = await asyncio.to_thread(run, "profile", *flags)
            assert (refused.exit_code, "recording" in refused.stderr) == (1, False)
        monkeypatch.setenv("LLMROUTER_API_KEY", keys["admin"][0]["text"])
        shown = await asyncio.to_thread(run, "profile", *flags)
        assert "recording gateway for 0.3 s" in shown.stderr
    told = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    [written] = [one for one in told if one["act"] == "profile"]
    assert (written["service"], written["seconds"]) == ("gateway", "0.3")
    assert written["credential"].startswith("key ")
    assert sorted(one["reason"] for one in told if one["act"] == "refused") == [
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
    ]


async def test_the_command_writes_files_that_viewers_open(config, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMROUTER_CONFIG", str(config[0]))
    async with suite.running(config[0]):
        flags = ("--seconds", "0.2", "--out", str(tmp_path / "p"), "--json")
        result = await asyncio.to_thread(run, "profile", "selector", *flags)
        idle = await asyncio.to_thread(run, "profile", "inference", *flags[:-1])
    [told] = lines(result)
    written = json.loads((tmp_path / "p" / "selector.speedscope.json").read_text())
    assert told["files"] == {"stacks": str(tmp_path / "p" / "selector.speedscope.json")}
    assert written["profiles"]
    assert not (tmp_path / "p" / "inference.steps.json").exists()
    assert "no engine generated anything meanwhile, so there are no steps" in idle.stderr


def test_a_name_that_no_service_has_is_refused_before_anything_is_recorded():
    result = run("profile", "nope")
    assert result.exit_code == 2
    told = " ".join(result.stderr.replace("│", " ").split())
    assert "gateway, selector, cache, inference, or the host:port" in told
    assert "recording" not in told
