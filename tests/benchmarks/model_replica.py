"""A process that holds one model: `python -m tests.benchmarks.model_replica FOLDER WEIGHTS`.

It writes its share of the memory in bytes before loading and after the first answer, one number a
line, and again for every line that it reads, until there are none.
"""

import asyncio
import sys
from pathlib import Path

from tests.benchmarks.engine_measures import COUNTING

from llmrouter.common.generation import SamplingOptions
from llmrouter.inference.backends.base import BackendOptions, BackendRequest
from llmrouter.inference.backends.free_memory import keep_together
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend
from llmrouter.inference.models.opening import Opener


def share_of_memory():
    """The proportional set size: of pages that several processes map, each counts its part."""
    fields = Path("/proc/self/smaps_rollup").read_text().split()
    return int(fields[fields.index("Pss:") + 1]) * 1024


async def answer_once(model):
    prompt = model.text.encode(COUNTING)[:64]
    request = BackendRequest(prompt, SamplingOptions(temperature=0, max_tokens=8))
    async for _ in model.backend.generate(request):
        pass


async def hold(folder, weights):
    import onnxruntime  # noqa: F401, PLC0415 - the library is there before the model is

    keep_together()  # as the service does
    print(share_of_memory(), flush=True)  # noqa: T201 - to the benchmark that started this
    options = BackendOptions(threads=2, context=2048, prefix_bytes=0, shared_weights=weights)
    model = await Opener(OnnxRuntimeBackend, options).open(folder)
    await answer_once(model)
    print(share_of_memory(), flush=True)  # noqa: T201
    while await asyncio.to_thread(sys.stdin.readline):
        print(share_of_memory(), flush=True)  # noqa: T201
    await model.backend.close()


if __name__ == "__main__":
    asyncio.run(hold(Path(sys.argv[1]), Path(sys.argv[2])))
