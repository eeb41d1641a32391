"""Asks TensorZero's embedded gateway: `tensorzero_calls.py CONFIG MODEL`, in the gateways' venv.

Reads `{"callers": 1, "seconds": 2}` by line, and writes how long each call took.
"""

import asyncio
import json
import sys
import time

from tensorzero import AsyncTensorZeroGateway

QUESTION = "What is the capital of France, and since when?"


async def ask_for(gateway, model, seconds, took):
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        answer = await gateway.inference(
            model_name=model, input={"messages": [{"role": "user", "content": QUESTION}]}
        )
        assert answer.content[0].text.startswith("word ")
        took.append(round((time.perf_counter() - began) * 1e6))


async def main(config, model):
    gateway = await AsyncTensorZeroGateway.build_embedded(config_file=config)
    while line := await asyncio.to_thread(sys.stdin.readline):
        wanted, took, began = json.loads(line), [], time.perf_counter()
        await asyncio.gather(
            *(ask_for(gateway, model, wanted["seconds"], took) for _ in range(wanted["callers"]))
        )
        told = {"microseconds": took, "seconds": time.perf_counter() - began}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


asyncio.run(main(*sys.argv[1:]))
