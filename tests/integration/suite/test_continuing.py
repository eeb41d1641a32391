"""An inference service killed in the middle of an answer: another one goes on with it."""

import contextlib

import grpc
import pytest
import yaml
from tests.integration.engine.tiny_model import TinyShape, write_tiny_folder
from tests.integration.suite.conftest import four_processes
from tests.integration.suite.test_failures import second_engine
from tests.support.ports import free_ports

from llmrouter.v1 import model_pb2
from llmrouter.v1.model_pb2_grpc import ModelServiceStub
from llmrouter_client import AsyncClient, Delta, Finished, LlmrouterError, Switched

LONG = {"raw": True, "max_tokens": 12_000, "min_tokens": 12_000, "cache": False}
GREEDY = {"temperature": 0.0, **LONG}
SEEDED = {"temperature": 0.8, "seed": 3, "frequency_penalty": 0.2, **LONG}


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("tall")
    write_tiny_folder(root / "tall", TinyShape(context=16_384))
    return root


@contextlib.asynccontextmanager
async def two_engines(config):
    """Give a client of a gateway before two engines, and the engines by their addresses."""
    path, ports = config
    [port] = free_ports(1)
    settings = yaml.safe_load(path.read_text())
    settings["selector"]["inference_addresses"].append(f"127.0.0.1:{port}")
    path.write_text(yaml.safe_dump(settings))
    async with (
        second_engine(path, port) as second,
        four_processes(path, ports) as running,
        AsyncClient(f"127.0.0.1:{ports['gateway']}", retries=0) as client,
    ):
        engines = {f"127.0.0.1:{ports['inference']}": running["inference"]}
        yield client, engines | {f"127.0.0.1:{port}": second}


async def kill_the_busy_one(engines):
    for address, engine in engines.items():
        async with grpc.aio.insecure_channel(address) as channel:
            listed = await ModelServiceStub(channel).List(model_pb2.ModelServiceListRequest())
        if any(model.statistics.running for model in listed.models):
            engine.kill()


async def told(client, prompt, engines=None, **options):
    """Return the events of an answer; with its first delta the engine that gives it is killed."""
    events = []
    async with client.stream(prompt, **options) as stream:
        async for event in stream:
            events.append(event)
            if engines is not None and isinstance(event, Delta):
                await kill_the_busy_one(engines)
                engines = None
    return events


def text(events):
    return "".join(event.text for event in events if isinstance(event, Delta))


@pytest.mark.parametrize("options", [GREEDY, SEEDED], ids=["greedy", "seeded"])
async def test_another_replica_gives_the_rest_of_the_same_answer(config, options):
    async with two_engines(config) as (client, engines):
        whole = await told(client, "abcd", **options)
        events = await told(client, "abcd", engines, **options)
    [switch] = [event for event in events if isinstance(event, Switched)]
    assert {switch.from_address, switch.address} == set(engines)
    assert (switch.version, switch.reason) == (switch.from_version, "ANSWER_BROKEN_OFF")
    assert 0 < switch.tokens < 12_000
    assert text(events) == text(whole)
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.usage.completion_tokens == 12_000
    assert [one.error_reason for one in end.attempts] == ["ANSWER_BROKEN_OFF", ""]


async def test_a_caller_may_forbid_it(config):
    async with two_engines(config) as (client, engines):
        with pytest.raises(LlmrouterError, match="broke its answer off"):
            await told(client, "abcd", engines, switching="off", **GREEDY)
