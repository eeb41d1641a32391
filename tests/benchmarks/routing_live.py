"""Learned and cascaded routing between two real models, on tasks with checkable answers.

`make bench NAME=routing_live ARGS='--weak A --strong B'` asks both models of the store every task
through the whole suite, grades the answers, and replays both policies over them: decoding is greedy
and no answer depends on who chose its model. The learner and every threshold see the
training families only; figures are those of the test families.
"""

import asyncio
import json
import logging
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.benchmarks.report import Report
from tests.benchmarks.tasks import checking

from llmrouter import suite
from llmrouter.common.generation import FinishReason
from llmrouter.common.logs import configure_logs
from llmrouter.common.prompt_features import features_of
from llmrouter.gateway.cascade import CascadePolicy, confidence, judge
from llmrouter.selector.learned.examples import Example
from llmrouter.selector.learned.learner import Learner
from llmrouter.selector.learned.policy import pick
from llmrouter_client import AsyncClient

WEAK = "smollm2-135m-instruct-int8"
STRONG = "qwen2.5-coder-0.5b-instruct-int8"
CONCURRENT = 8
MAX_TOKENS = {"number": 32, "regex": 64, "python": 128}
"""Of an answer, by how it is checked."""
KEPT = 0.95
"""Share of the strong model's accuracy that a policy has to reach."""
TARGETS = {
    "weak_accuracy": ("at_least", 0.25),
    "learned_of_strong_accuracy": ("at_least", KEPT),
    "learned_strong_calls": ("at_most", 0.70),
    "cascade_of_strong_accuracy": ("at_least", KEPT),
    "cascade_strong_calls": ("at_most", 0.70),
}
_COSTS = {"weak": 1.0, "strong": 4.0}


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


def add_options(parser):
    parser.add_argument("--weak", default=WEAK)
    parser.add_argument("--strong", default=STRONG)
    parser.add_argument("--store", type=Path, default=None)


def run(arguments) -> Report:
    configure_logs(json=False, level=logging.WARNING)
    tasks = {split: read(split) for split in ("train", "test")}
    answered = asyncio.run(answer_all(tasks["train"] + tasks["test"], arguments))
    train, test = answered[: len(tasks["train"])], answered[len(tasks["train"]) :]
    report = Report("routing_live", targets=TARGETS)
    report.figures = measure(train, test)
    report.notes |= {
        "weak": arguments.weak,
        "strong": arguments.strong,
        "families": by_family(train) | by_family(test),
        "answers": [
            {
                "id": one.task["id"],
                "right": one.right,
                "confidence": confidence(one.logprobs),
                "text": one.text,
            }
            for one in train + test
        ],
    }
    return report


def read(split):
    path = Path(checking.__file__).parent / f"{split}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


async def answer_all(tasks, arguments):
    """Ask both models every task; a model that is not in the store ends the run with its name."""
    async with (
        suite.running(ports="free", store=arguments.store) as addresses,
        AsyncClient(addresses.gateway) as client,
    ):
        held = {one.name for one in await _models(client, arguments)}
        for wanted in (arguments.weak, arguments.strong):
            if wanted not in held:
                raise SystemExit(f"{wanted} is not served; served: {', '.join(sorted(held))}")
        gate = asyncio.Semaphore(CONCURRENT)
        return await asyncio.gather(*(_both(client, gate, one, arguments) for one in tasks))


async def _models(client, arguments, attempts=120):
    """The models served, once both are loaded or a minute has passed."""
    served = []
    for _ in range(attempts):
        served = [one for one in await client.models() if one.version]
        if {arguments.weak, arguments.strong} <= {one.name for one in served}:
            break
        await asyncio.sleep(0.5)
    return served


async def _both(client, gate, task, arguments):
    right, text, choice = {}, {}, None
    for name, model in (("strong", arguments.strong), ("weak", arguments.weak)):
        async with gate:
            answer = await client.generate(
                task["prompt"], model=model, temperature=0,
                max_tokens=MAX_TOKENS[task["check"]["kind"]],
                logprobs=True, cache="off", timeout=300,
            )  # fmt: skip
        choice = answer.choices[0]
        text[name] = choice.text
        right[name] = await asyncio.to_thread(checking.check, choice.text, task)
    logprobs = [one.logprob for one in choice.logprobs]
    return Answered(task, right, logprobs, choice.finish_reason, text)


def measure(train, test):
    weak, strong = (_accuracy(test, name) for name in ("weak", "strong"))
    figures = {
        "weak_accuracy": weak,
        "strong_accuracy": strong,
        "weak_accuracy_all": _accuracy(train + test, "weak"),
        "strong_accuracy_all": _accuracy(train + test, "strong"),
    }
    learner = learn(train)
    for name, route, candidates in (
        ("learned", lambda value: routed(learner, test, value), tolerances(train)),
        ("cascade", lambda value: cascaded(test, value), thresholds(train)),
    ):
        chosen = route(candidates)
        figures |= {
            f"{name}_accuracy": _routed_accuracy(test, chosen),
            f"{name}_of_strong_accuracy": _routed_accuracy(test, chosen) / max(strong, 1e-9),
            f"{name}_strong_calls": statistics.fmean(chosen),
        }
    return figures


def learn(answered):
    learner = Learner(capacity=len(answered))
    for one in answered:
        features = features_of(one.task["prompt"])
        learner.add(Example(one.task["id"], features, one.right))
    learner.adopt(learner.training()())
    return learner


def routed(learner, answered, tolerance):
    """Whether the policy sends each task to the strong model."""
    sent = []
    for one in answered:
        known = learner.chances(features_of(one.task["prompt"]), {"weak": 0.3, "strong": 0.5})
        chances = np.array([known[name].value for name in _COSTS])
        grades = np.array([known[name].grades for name in _COSTS])
        costs = np.array(list(_COSTS.values()))
        picked = pick(chances, grades, costs, tolerance=tolerance)
        sent.append(bool(picked.first[1]))
    return sent


def cascaded(answered, threshold):
    """Whether the cascade escalates each task's cheap answer."""
    policy = CascadePolicy(threshold=threshold)
    return [judge(one.logprobs, FinishReason(one.finish), policy).escalate for one in answered]


def tolerances(train):
    """The largest tolerance that keeps the training families' accuracy, a family left out each."""
    families = sorted({one.task["family"] for one in train})
    folds = [
        (
            learn([one for one in train if one.task["family"] != family]),
            [one for one in train if one.task["family"] == family],
        )
        for family in families
    ]
    answered = [one for _, fold in folds for one in fold]

    def sent(tolerance):
        return [routing for learner, fold in folds for routing in routed(learner, fold, tolerance)]

    return _cheapest(answered, sent, np.linspace(-0.05, 0.6, 27))


def thresholds(train):
    """The confidence that keeps the training families' accuracy with the fewest strong calls."""
    return _cheapest(train, lambda value: cascaded(train, value), np.linspace(0, 1, 41))


def _cheapest(answered, sent, values):
    """Of the settings that keep `KEPT` of the strong model's accuracy, the one that sends least."""
    needed = KEPT * _accuracy(answered, "strong")
    best, fewest = float(values[0]), math.inf
    for value in values:
        routing = sent(float(value))
        if _routed_accuracy(answered, routing) >= needed and sum(routing) < fewest:
            best, fewest = float(value), sum(routing)
    return best


def _accuracy(answered, name):
    return statistics.fmean(one.right[name] for one in answered)


def _routed_accuracy(answered, sent):
    return statistics.fmean(
        one.right["strong" if strong else "weak"]
        for one, strong in zip(answered, sent, strict=True)
    )


def by_family(answered):
    families = dict.fromkeys(one.task["family"] for one in answered)
    return {
        family: {
            name: _accuracy([one for one in answered if one.task["family"] == family], name)
            for name in ("weak", "strong")
        }
        for family in families
    }
