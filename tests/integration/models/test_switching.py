"""Real models come, go and take each other's place while requests run through all four services."""

from __future__ import annotations

import asyncio
import contextlib
import json

import grpc
import pytest
from tests.integration.models.driving import demo_folder

from llmrouter import suite
from llmrouter.v1 import inference_pb2, model_pb2
from llmrouter.v1.model_pb2_grpc import ModelServiceStub
from llmrouter_client import AsyncClient

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

STREAMS = 16
READY, UNLOADED = inference_pb2.MODEL_STATE_READY, inference_pb2.MODEL_STATE_UNLOADED


@pytest.fixture
def store(tmp_path):
    """The demo model at 8 bits as `demo`, at 4 bits as its version `v2`, unquantised as `large`."""
    root = tmp_path / "store"
    root.mkdir()
    for name, precision in (("demo", "int8"), ("demo@v2", "int4"), ("large", "fp32")):
        (root / name).symlink_to(demo_folder(precision).path)
    return root


@contextlib.asynccontextmanager
async def running(tmp_path, store, **inference):
    """A suite over the store: its client, and the stub of its models."""
    config = tmp_path / "llmrouter.yaml"
    settings = {"slots": STREAMS, "context": 256, "prefix_cache_mib": 0, "notice_seconds": 0.5}
    body = {"cache": {"disk_max_bytes": 0}, "inference": settings | inference}
    config.write_text(json.dumps(body))
    async with (
        suite.running(config, ports="free", store=store) as addresses,
        AsyncClient(addresses.gateway) as client,
        grpc.aio.insecure_channel(addresses.inference) as channel,
    ):
        yield client, ModelServiceStub(channel)


async def load(stub, model, version="", **more):
    request = model_pb2.ModelServiceLoadRequest(model=model, version=version, **more)
    return [answer.model async for answer in stub.Load(request, timeout=120)][-1]


async def listed(stub):
    answer = await stub.List(model_pb2.ModelServiceListRequest(), timeout=20)
    models = {f"{one.name}@{one.label}".rstrip("@"): one for one in answer.models}
    return models, answer.memory


async def test_a_version_takes_the_place_of_another_under_load_and_no_stream_notices(
    tmp_path, store
):
    answered = []
    switched = asyncio.Event()

    async def asks(client, number):
        """Ask again and again until some answers came from the new version."""
        after = 0
        while after < 2:
            after += switched.is_set()
            answer = await client.generate(
                f"Count from {number}.", model="demo", max_tokens=24, temperature=0, cache="off",
                timeout=120,
            )  # fmt: skip
            answered.append((answer.version, answer.finish_reason, answer.usage.completion_tokens))

    async with running(tmp_path, store, models=["demo"]) as (client, stub):
        models, _ = await listed(stub)
        old, new = models["demo"], models["demo@v2"]
        assert (old.state, new.state, new.on_demand) == (READY, UNLOADED, True)
        asking = asyncio.gather(*(asks(client, number) for number in range(STREAMS)))
        while len(answered) < STREAMS:  # noqa: ASYNC110 - looks from outside, like a caller
            await asyncio.sleep(0.05)
        ready = await load(stub, "demo", "v2", aliases=["stable"])
        assert "stable" in ready.aliases
        request = model_pb2.ModelServiceUnloadRequest(model="demo", version=old.version)
        await stub.Unload(request, timeout=120)
        switched.set()
        await asking
        models, _ = await listed(stub)
    assert (models["demo"].state, models["demo@v2"].state) == (UNLOADED, READY)
    versions = [version for version, _, _ in answered]
    assert set(versions) == {old.version, new.version}
    assert set(versions[-STREAMS:]) == {new.version}
    assert all(reason in {"stop", "length"} for _, reason, _ in answered)


async def test_a_mix_over_three_models_of_which_two_fit_completes(tmp_path, store):
    async with running(tmp_path, store, loading="demand") as (client, stub):
        models, _ = await listed(stub)
    # `large` and either of the others fit, all three do not.
    sizes = {name: one.memory_bytes for name, one in models.items()}
    budget = (sizes["large"] + sizes["demo"] + sizes["demo@v2"] // 2) >> 20
    asked = ["demo", "demo@v2", "large", "demo", "large", "demo@v2"] * 2
    async with running(tmp_path, store, memory_mib=budget) as (client, stub):

        async def ask(number, model):
            answer = await client.generate(
                f"Count from {number}.", model=model, max_tokens=4, temperature=0, cache="off",
                timeout=120,
            )  # fmt: skip
            _, memory = await listed(stub)
            assert memory.model_bytes <= memory.budget_bytes == budget << 20
            return answer.version

        versions = await asyncio.gather(*(ask(*one) for one in enumerate(asked)))
    assert versions == [models[name].version for name in asked]
