"""An inference service that answers by script, behind a real selector, cache and gateway."""

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import Callable

import grpc

from llmrouter.cache import service as cache_service
from llmrouter.cache.settings import CacheSettings
from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.guard import DETAILS_KEY
from llmrouter.common.hosting import Hosted
from llmrouter.common.wire_errors import to_status
from llmrouter.gateway import service as gateway_service
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.selector import service as selector_service
from llmrouter.selector.settings import SelectorSettings
from llmrouter.v1 import (
    generation_pb2,
    inference_pb2,
    inference_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    selector_pb2_grpc,
)


@dataclasses.dataclass
class Script:
    """What one model answers."""

    text: str | Callable[[str], str] = "Paris"
    """The answer, or what makes it of the question."""
    sureness: float = 0.9
    """Probability of each of its tokens."""
    error: Reason | None = None
    """Fails with it before the first token."""
    breaks: bool = False
    """Breaks off after its first token."""
    capabilities: tuple[str, ...] = ("chat", "completion", "logprobs", "n", "structured_output")
    seconds: float = 0.0
    """Until the first token."""


class Inference(inference_pb2_grpc.InferenceServiceServicer, model_pb2_grpc.ModelServiceServicer):
    """One address that holds every scripted model."""

    def __init__(self, scripts):
        self.scripts = scripts
        self.asked = []
        """Name of each model that was asked, in order."""
        self.requests = []
        self.state = inference_pb2.MODEL_STATE_READY
        self.running = 0
        self.most_running = 0
        self.ended = []

    def models(self):
        return [
            inference_pb2.LoadedModel(
                name=name,
                version="v1",
                state=self.state,
                context=2048,
                capabilities=script.capabilities,
                statistics=inference_pb2.EngineStatistics(slots=8),
            )
            for name, script in self.scripts.items()
        ]

    async def Watch(self, request, context):  # noqa: N802 - the proto's name
        while True:
            yield model_pb2.ModelServiceWatchResponse(models=self.models())
            await asyncio.sleep(request.interval.ToTimedelta().total_seconds())

    async def Infer(self, request, context):  # noqa: N802 - the proto's name
        self.asked.append(request.model)
        self.requests.append(request)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            async for event in self._answer(self.scripts[request.model], request, context):
                yield inference_pb2.InferResponse(event=event)
            self.ended.append(request.model)
        finally:
            self.running -= 1

    async def _answer(self, script, request, context):
        await asyncio.sleep(script.seconds)
        if script.error is not None:
            await fail(context, script.error)
        event, asked = generation_pb2.GenerationEvent, request.request
        question = asked.prompt or asked.chat.messages[-1].content[0].text
        text = script.text if isinstance(script.text, str) else script.text(question)
        yield event(started=generation_pb2.Started(model=request.model, version="v1"))
        words = text.split(" ")
        for place, word in enumerate(words):
            logprob = generation_pb2.TokenLogprob(logprob=math.log(script.sureness))
            told = word if place == len(words) - 1 else f"{word} "
            logprobs = [logprob] if asked.sampling.logprobs else []
            yield event(delta=generation_pb2.Delta(text=told, tokens=1, logprobs=logprobs))
            if script.breaks:
                await fail(context, Reason.GENERATION_FAILED)
        reason = generation_pb2.FINISH_REASON_STOP
        yield event(choice_finished=generation_pb2.ChoiceFinished(reason=reason))
        usage = generation_pb2.Usage(prompt_tokens=1000, completion_tokens=1000)
        yield event(finished=generation_pb2.Finished(usage=usage))


async def fail(context, reason):
    error = RouterError(reason, f"it was {reason.value}")
    details = ((DETAILS_KEY, to_status(error).SerializeToString()),)
    await context.abort(grpc.StatusCode[error.status], error.message, details)


class Suite:
    """Real services in this process around the scripted one, which is reached by socket."""

    def __init__(self, stack, data):
        self._stack, self._data, self._dialler = stack, data, Dialler()

    async def start(self, scripts, catalog, gateway=None, **selector):
        """Start it all: `catalog` gives entries by name, `selector` and `gateway` settings."""
        self._stack.push_async_callback(self._dialler.close)
        self.inference = Inference(scripts)
        server = grpc.aio.server()
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(self.inference, server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(self.inference, server)
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        self._stack.push_async_callback(server.stop, None)
        entries = tuple({"name": name, **values} for name, values in catalog.items())
        settings = SelectorSettings(
            port=0, catalog=entries, inference_addresses=(address,), **selector
        )
        chooser = await self._host(selector_service.build(settings, self._dialler, self._data))
        cache = await self._host(
            cache_service.build(CacheSettings(port=0, disk_max_bytes=0), self._dialler, self._data)
        )
        around = {"selector_address": chooser.address, "cache_address": cache.address}
        entry = GatewaySettings(port=0, http_port=None, **around, **(gateway or {}))
        hosted = await self._host(gateway_service.build(entry, self._dialler, self._data))
        self.gateway, self.selector_address = hosted.address, chooser.address
        self.selector = selector_pb2_grpc.SelectorServiceStub(chooser.channel)
        return self

    async def _host(self, building):
        hosted = Hosted(await building)
        address = await hosted.bind()
        self._dialler.add_local(address, hosted.channel)
        self._stack.push_async_callback(hosted.stop, 0)
        await hosted.start()
        return hosted


@contextlib.asynccontextmanager
async def suite(data, scripts, catalog, **settings):
    async with contextlib.AsyncExitStack() as stack:
        yield await Suite(stack, data).start(scripts, catalog, **settings)
