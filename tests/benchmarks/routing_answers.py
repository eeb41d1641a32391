"""What two models of the store make of the tasks: asked through the whole suite, and kept.

Decoding is greedy, so that an answer does not depend on who chose its model or on when it was
asked: kept in a file, answers are asked once, however often policies are measured on them.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.tasks import checking

from llmrouter import suite
from llmrouter_client import AsyncClient

CONCURRENT = 8
MAX_TOKENS = {"number": 32, "regex": 64, "python": 128}
"""Of an answer, by how it is checked."""


@dataclass
class Answered:
    """One task and what both models made of it."""

    task: dict
    right: dict[str, float]
    """By `weak` and `strong`."""
    logprobs: list[float]
    """Of the weak model's answer."""
    finish: str
    text: dict[str, str]


def read(split):
    path = Path(checking.__file__).parent / f"{split}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


async def answered(tasks, models, *, store, kept):
    """Return the tasks with both models' answers.

    Args:
        tasks: As `read` gives them.
        models: Names of the `weak` and the `strong` model.
        store: Folder of model folders; None takes the suite's own.
        kept: File of answers, one a line: those in it are not asked again, new ones are added.
    """
    known = _kept(kept)
    missing = [
        (task, name)
        for name in models
        for task in tasks
        if (task["prompt"], models[name]) not in known
    ]
    if missing:
        await _ask(missing, models, store, kept, known)
    return await asyncio.gather(*(_graded(task, models, known) for task in tasks))


def _kept(path):
    if path is None or not path.exists():
        return {}
    lines = (json.loads(line) for line in path.read_text().splitlines())
    return {(one["prompt"], one["model"]): one for one in lines}


async def _ask(missing, models, store, kept, known):
    """Ask what is missing; a model that is not in the store ends the run with its name."""
    async with (
        suite.running(ports="free", store=store) as addresses,
        AsyncClient(addresses.gateway) as client,
    ):
        held = await _held(client, set(models.values()))
        for wanted in models.values():
            if wanted not in held:
                raise SystemExit(f"{wanted} is not served; served: {', '.join(sorted(held))}")
        gate = asyncio.Semaphore(CONCURRENT)
        told = (_one(client, gate, task, models[name], kept) for task, name in missing)
        for one in await asyncio.gather(*told):
            known[one["prompt"], one["model"]] = one


async def _held(client, wanted, attempts=120):
    """The models served, once all are loaded or a minute has passed."""
    held = set()
    for _ in range(attempts):
        held = {one.name for one in await client.models() if one.version}
        if wanted <= held:
            break
        await asyncio.sleep(0.5)
    return held


async def _one(client, gate, task, model, kept):
    async with gate:
        answer = await client.generate(
            task["prompt"], model=model, temperature=0,
            max_tokens=MAX_TOKENS[task["check"]["kind"]],
            logprobs=True, cache="off", timeout=600,
        )  # fmt: skip
    choice = answer.choices[0]
    told = {
        "prompt": task["prompt"],
        "model": model,
        "text": choice.text,
        "finish": choice.finish_reason,
        "logprobs": [round(one.logprob, 6) for one in choice.logprobs],
        "tokens": [one.bytes.decode(errors="replace") for one in choice.logprobs],
    }
    if kept is not None:
        with kept.open("a") as file:
            file.write(json.dumps(told) + "\n")
    return told


async def _graded(task, models, known):
    told = {name: known[task["prompt"], model] for name, model in models.items()}
    right = {
        name: await asyncio.to_thread(checking.check, one["text"], task)
        for name, one in told.items()
    }
    weak = told["weak"]
    text = {name: one["text"] for name, one in told.items()}
    return Answered(task, right, weak["logprobs"], weak["finish"], text)
