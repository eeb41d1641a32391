"""An inference service that fails on purpose, as a program of its own (`suite_before.py`).

Its answer to everything is `0 1 2 3 …`, so that what is missing or said twice is seen.
"""

import asyncio
import contextlib
import json
import random
import sys
from dataclasses import asdict, dataclass

from grpc import aio

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.guard import Gate, GuardInterceptor
from llmrouter.common.listening import Listening
from llmrouter.common.server import OPTIONS
from llmrouter.v1 import generation_pb2 as g
from llmrouter.v1 import inference_pb2, model_pb2
from llmrouter.v1.inference_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)
from llmrouter.v1.model_pb2_grpc import ModelServiceServicer, add_ModelServiceServicer_to_server

MODEL = "counting"
CAPABILITIES = ["chat", "completion", "continuation", "logprobs", "seed"]
KINDS = ("unavailable", "full", "failed", "broken", "early")
"""Faults: refused, no room, failed, broken off half way, ended too early."""


@dataclass(frozen=True)
class Manner:
    """How it answers, and how often it does not."""

    version: str = "1"
    tokens: int = 8
    pause: float = 0.0
    """Seconds between tokens."""
    size: int = 0
    """Bytes that each token is filled up to."""
    faults: float = 0.0
    """Share of requests that fail."""
    kinds: tuple[str, ...] = KINDS
    hangs: float = 0.0
    """Share of requests that never begin to be answered."""
    context: int = 4096
    """Words of a prompt from which on it is too long."""
    seed: int = 1


class Counting(InferenceServiceServicer):
    def __init__(self, manner):
        self.manner, self._draws = manner, random.Random(manner.seed)  # noqa: S311
        self.said = 0
        """Tokens that were handed to the transport so far."""

    async def Infer(self, request, context):  # noqa: N802
        manner = self.manner
        fault = self._draws.random() < manner.faults
        kind = self._draws.choice(manner.kinds) if fault else ""
        hang = self._draws.random() < manner.hangs
        words = _words(request.request)
        if words >= manner.context:
            facts = {"prompt_tokens": str(words), "context": str(manner.context)}
            raise RouterError(Reason.CONTEXT_TOO_LONG, "too long", metadata=facts)
        _refuse(kind)
        yield _event(started={"model": MODEL, "version": manner.version, "prompt_tokens": words})
        if hang:
            await asyncio.Event().wait()
        begin, end = (
            len(request.continuation.token_ids) or request.continuation.tokens,
            manner.tokens,
        )
        for number in range(begin, end):
            if kind in ("broken", "early") and number >= begin + (end - begin) // 2:
                if kind == "early":
                    return
                raise RouterError(Reason.UPSTREAM_UNAVAILABLE, "lost on purpose")
            text = f"{number} ".rjust(manner.size, ".")
            yield _event([number], delta={"text": text, "tokens": 1})
            self.said += 1
            if manner.pause:
                await asyncio.sleep(manner.pause)
        yield _event(choice_finished={"reason": g.FINISH_REASON_STOP})
        used = {"prompt_tokens": words, "completion_tokens": end - begin}
        yield _event(finished={"usage": used})


class Held(ModelServiceServicer):
    def __init__(self, manner, counting):
        self._manner, self._counting = manner, counting

    async def List(self, request, context):  # noqa: N802
        statistics = {"completion_tokens": self._counting.said}
        model = inference_pb2.LoadedModel(name=MODEL, statistics=statistics)
        return model_pb2.ModelServiceListResponse(models=[model])

    async def Watch(self, request, context):  # noqa: N802
        model = inference_pb2.LoadedModel(
            name=MODEL, version=self._manner.version, state=inference_pb2.MODEL_STATE_READY,
            context=self._manner.context, capabilities=CAPABILITIES, chat=True,
            statistics={"slots": 64},
        )  # fmt: skip
        while True:
            yield model_pb2.ModelServiceWatchResponse(models=[model])
            await asyncio.sleep(request.interval.ToSeconds() or 0.2)


def _refuse(kind):
    match kind:
        case "unavailable":
            raise RouterError(Reason.UPSTREAM_UNAVAILABLE, "refused on purpose")
        case "full":
            raise RouterError(Reason.QUEUE_FULL, "full on purpose", retry_after=0.01)
        case "failed":
            raise RouterError(Reason.GENERATION_FAILED, "failed on purpose")


def _words(request):
    turns = [part.text for turn in request.chat.messages for part in turn.content]
    return sum(len(text.split()) for text in (*turns, request.prompt))


def _event(token_ids=(), **kind):
    event = g.GenerationEvent(**kind)
    return inference_pb2.InferResponse(event=event, token_ids=token_ids)


async def _serve(manner, port):
    guard = GuardInterceptor(Gate("upstream"), Listening().patience)
    server = aio.server(interceptors=[guard], options=OPTIONS)
    counting = Counting(manner)
    add_InferenceServiceServicer_to_server(counting, server)
    add_ModelServiceServicer_to_server(Held(manner, counting), server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    sys.stdout.write(f"127.0.0.1:{bound}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


@dataclass
class Upstream:
    """One that runs."""

    address: str
    process: asyncio.subprocess.Process

    def kill(self):
        """End it as the machine would that it runs on."""
        self.process.kill()


@contextlib.asynccontextmanager
async def upstream(port=0, **manner):
    """Run one for the length of a block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.upstream",
        json.dumps({"port": port, **asdict(Manner(**manner))}),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        address = (await asyncio.wait_for(process.stdout.readline(), 120)).decode().strip()
        yield Upstream(address, process)
    finally:
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 5)
        if process.returncode is None:
            process.kill()
            await process.wait()


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    where = told.pop("port")
    told["kinds"] = tuple(told["kinds"])
    asyncio.run(_serve(Manner(**told), where))
