"""`models load` and `models unload` against a scripted inference service."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager

import grpc
import pytest
from tests.unit.cli.driving import AWAY, run

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.guard import DETAILS_KEY
from llmrouter.common.wire_errors import to_status
from llmrouter.v1 import inference_pb2, model_pb2, model_pb2_grpc


class Models(model_pb2_grpc.ModelServiceServicer):
    def __init__(self):
        self.requests = []

    async def Load(self, request, context):  # noqa: N802 - the proto's name
        self.requests.append(request)
        for state in ("LOADING", "READY"):
            yield model_pb2.ModelServiceLoadResponse(model=told(request, state))

    async def Unload(self, request, context):  # noqa: N802 - the proto's name
        self.requests.append(request)
        if request.model == "gone":
            status = to_status(RouterError(Reason.UNKNOWN_MODEL, "no model is called gone"))
            details = ((DETAILS_KEY, status.SerializeToString()),)
            await context.abort(grpc.StatusCode.NOT_FOUND, status.message, details)
        return model_pb2.ModelServiceUnloadResponse(model=told(request, "UNLOADED"))


def told(request, state):
    aliases = ["stable"] if state == "READY" else []
    return inference_pb2.LoadedModel(
        name=request.model, label=request.version, state=f"MODEL_STATE_{state}",
        version="0123456789ab", aliases=aliases,
    )  # fmt: skip


@contextmanager
def serving(service):
    """Serve in a thread of its own: commands have an event loop for themselves."""
    loop, address = asyncio.new_event_loop(), []

    async def start():
        server = grpc.aio.server()
        model_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
        address.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
        await server.start()
        return server

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    try:
        yield address[0]
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


@pytest.fixture
def models():
    return Models()


@pytest.fixture
def inference(models):
    with serving(models) as address:
        yield ("--inference", address)


def test_a_load_tells_its_steps_and_its_end(models, inference):
    result = run("models", "load", "m@v2", "--alias", "stable", "--pin", *inference)
    assert (result.exit_code, result.stderr) == (0, "loading m@v2\n")
    assert result.stdout == "ready m@v2 version 0123456789ab aliases stable\n"
    (request,) = models.requests
    assert (request.model, request.version, list(request.aliases), request.pin) == (
        "m", "v2", ["stable"], True,
    )  # fmt: skip


def test_a_load_for_machines_is_one_object_a_step(inference):
    result = run("models", "load", "m", "--json", *inference)
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["progress", "ready"]
    assert events[-1]["model"]["aliases"] == ["stable"]


def test_an_unload_sends_its_grace(models, inference):
    result = run("models", "unload", "m", "--grace", "1.5", *inference)
    assert (result.exit_code, result.stdout) == (0, "unloaded m version 0123456789ab\n")
    assert models.requests[0].grace.ToTimedelta().total_seconds() == 1.5


def test_an_unload_without_a_grace_leaves_it_to_the_service(models, inference):
    run("models", "unload", "m", *inference)
    assert not models.requests[0].HasField("grace")


def test_what_the_service_refuses_is_one_sentence(inference):
    result = run("models", "unload", "gone", *inference)
    assert (result.exit_code, result.stderr) == (1, "error: no model is called gone\n")


def test_where_no_service_answers_that_is_said():
    result = run("models", "load", "m", "--inference", AWAY)
    assert result.exit_code == 1
    assert f"no inference service answers at {AWAY}" in result.stderr
