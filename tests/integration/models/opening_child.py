"""`python -m tests.integration.models.opening_child FOLDER PROMPT...`: opens a folder and asks.

A program of its own, so that the most memory it ever had is what these graphs made it take. Prints
one object of JSON: `opened` or why not, what became of each prompt, and the growth in bytes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from llmrouter.common.embedding import EmbeddingRequest
from llmrouter.common.errors import RouterError
from llmrouter.common.generation import RequestContext, SamplingOptions
from llmrouter.inference.backends.base import BackendOptions, BackendRequest
from llmrouter.inference.models.opening import Opener, OpenModel, find_backend

OPTIONS = BackendOptions(threads=1, slots=2, prefix_bytes=0, workspace_bytes=64 << 20)


async def _answer(model: OpenModel, words: str) -> str:
    try:
        if model.embedder is not None:
            await model.embedder.embed(EmbeddingRequest((words,)), RequestContext("r"))
        elif model.backend is not None and model.text is not None:
            request = BackendRequest(model.text.encode(words), SamplingOptions(max_tokens=2))
            async for _ in model.backend.generate(request):
                pass
    except RouterError as error:
        return f"{error.reason.name}: {error.message}"
    return "answered"


async def _tell(folder: Path, prompts: list[str]) -> dict[str, Any]:
    opener = Opener(find_backend("onnxruntime"), OPTIONS)
    facts = await opener.describe(folder)
    before = _kibibytes("VmRSS")
    told: dict[str, Any] = {"counted": facts.memory, "opened": "yes", "answers": []}
    try:
        model = await opener.open(folder)
        # At once: one that is refused its memory must not reach the others.
        told["answers"] = await asyncio.gather(*(_answer(model, one) for one in prompts))
        await model.engine.close()
    except RouterError as error:
        told["opened"] = f"{error.reason.name}: {error.message}"
    told["growth"] = (_kibibytes("VmHWM") - before) << 10
    return told


def _kibibytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise ValueError(field)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_tell(Path(sys.argv[1]), sys.argv[2:]))))  # noqa: T201
