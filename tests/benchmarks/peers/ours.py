"""Our engine, through the backend that the inference service uses."""

import asyncio
from pathlib import Path

from tests.benchmarks.peers.protocol import drive, serve

from llmrouter.common.generation import SamplingOptions
from llmrouter.inference.backends.base import BackendOptions, BackendRequest, TokenDelta
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend


def start(settings):
    loop = asyncio.new_event_loop()
    # Peers draft nothing either; `make bench NAME=speculation` tells what that brings.
    options = BackendOptions(
        threads=settings["threads"],
        slots=settings["slots"],
        context=settings["context"],
        speculation_tokens=0,
    )
    backend = loop.run_until_complete(OnnxRuntimeBackend.load(Path(settings["model"]), options))

    async def generate(request, note):
        sampling = SamplingOptions(
            temperature=0, max_tokens=request.tokens, min_tokens=request.tokens
        )
        noted = 0
        async for event in backend.generate(BackendRequest(request.prompt, sampling)):
            if isinstance(event, TokenDelta):
                note(event.tokens)
                noted += event.tokens
            else:
                # Tokens without text of their own are told with the last event.
                note(event.completion_tokens - noted)

    told = {"version": "this", "settings": "defaults, without drafts"}
    return told, lambda tally: loop.run_until_complete(drive(tally, generate))


if __name__ == "__main__":
    serve(start)
