"""Learned and cascaded routing between two real models, on tasks with checkable answers.

`make bench NAME=routing_live ARGS='--weak A --strong B'` asks both models of the store every task
through the whole suite, grades the answers, and replays both policies over them: decoding is greedy
and no answer depends on who chose its model. The learner and every threshold see the training
families only; figures are those of the test families.

Beside them stand what chance and an oracle need, and both policies over all families, each routed
by what the others taught (`…_folds`), and over all tasks likewise (`…_tasks`): what a policy does
once the kinds of questions that it meets have been graded.
"""

import asyncio
import logging
import math
import random
import statistics
from pathlib import Path

import numpy as np
from tests.benchmarks.report import Report
from tests.benchmarks.routing_answers import answered, read

from llmrouter.common.generation import FinishReason
from llmrouter.common.logs import configure_logs
from llmrouter.common.prompt_features import features_of
from llmrouter.gateway.cascade import CascadePolicy, confidence, judge
from llmrouter.selector.learned.examples import Example
from llmrouter.selector.learned.learner import Learner
from llmrouter.selector.learned.policy import pick

WEAK = "smollm2-135m-instruct-int8"
STRONG = "qwen2.5-coder-0.5b-instruct-int8"
KEPT = 0.95
"""Share of the strong model's accuracy that a policy has to reach."""
TARGETS = {
    "weak_accuracy": ("at_least", 0.25),
    "learned_of_strong_accuracy": ("at_least", KEPT),
    "learned_strong_calls": ("at_most", 0.70),
    "cascade_of_strong_accuracy": ("at_least", KEPT),
    "cascade_strong_calls": ("at_most", 0.70),
}
PARTS = 5
_COSTS = {"weak": 1.0, "strong": 4.0}


def add_options(parser):
    parser.add_argument("--weak", default=WEAK)
    parser.add_argument("--strong", default=STRONG)
    parser.add_argument("--store", type=Path, default=None)
    parser.add_argument("--answers", type=Path, help="file that keeps answers from run to run")


def run(arguments) -> Report:
    configure_logs(json=False, level=logging.WARNING)
    tasks = {split: read(split) for split in ("train", "test")}
    models = {"weak": arguments.weak, "strong": arguments.strong}
    train, test = asyncio.run(_answered(tasks, models, arguments))
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


async def _answered(tasks, models, arguments):
    asked = tasks["train"] + tasks["test"]
    told = await answered(asked, models, store=arguments.store, kept=arguments.answers)
    return told[: len(tasks["train"])], told[len(tasks["train"]) :]


def measure(train, test):
    everything = train + test
    weak, strong = (_accuracy(test, name) for name in ("weak", "strong"))
    figures = {
        "weak_accuracy": weak,
        "strong_accuracy": strong,
        "weak_accuracy_all": _accuracy(everything, "weak"),
        "strong_accuracy_all": _accuracy(everything, "strong"),
        "random_strong_calls": (KEPT * strong - weak) / (strong - weak),
        "oracle_strong_calls": oracle(test),
    }
    for name, policy in (("learned", learned), ("cascade", cascade)):
        figures |= _told(name, test, policy(train, test))
        for how, key in (("folds", "family"), ("tasks", "id")):
            figures |= _told(f"{name}_{how}", *_over(parts(everything, key), policy, key))
    return figures


def _told(name, answered, sent):
    accuracy = _routed_accuracy(answered, sent)
    return {
        f"{name}_accuracy": accuracy,
        f"{name}_of_strong_accuracy": accuracy / max(_accuracy(answered, "strong"), 1e-9),
        f"{name}_strong_calls": statistics.fmean(sent),
    }


def parts(answered, key, count=PARTS):
    """The tasks in so many parts, those with the same value of `key` together, drawn."""
    values = sorted({one.task[key] for one in answered})
    random.Random(key).shuffle(values)  # noqa: S311 - no secret
    part = {value: place % count for place, value in enumerate(values)}
    return [[one for one in answered if part[one.task[key]] == place] for place in range(count)]


def _over(split, policy, key):
    """All tasks and where they are sent, each part by what the others taught."""
    routed = [one for part in split for one in part]
    sent = []
    for place, part in enumerate(split):
        others = [one for number, other in enumerate(split) if number != place for one in other]
        sent += policy(others, part, key)
    return routed, sent


def oracle(answered):
    """The share that has to go to the strong model where it is known who answers what."""
    gained = sum(one.right["strong"] > one.right["weak"] for one in answered)
    needed = KEPT * sum(one.right["strong"] for one in answered)
    kept = sum(max(one.right.values()) for one in answered)
    return max(0.0, gained - (kept - needed)) / len(answered)


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


def learned(train, test, key="family"):
    """Where `learned` sends each test task, by the largest tolerance that held in training.

    There it is tried as it is tested: on what has another `key` than all that was learned from.
    """
    split = parts(train, key, 2)  # with more, every training would take the time of them all
    answered = [one for part in split for one in part]
    learners = [
        learn([one for other in split if other is not part for one in other]) for part in split
    ]

    def sent(tolerance):
        pairs = zip(learners, split, strict=True)
        return [one for learner, part in pairs for one in routed(learner, part, tolerance)]

    tolerance = _cheapest(answered, sent, np.linspace(-0.05, 0.6, 27))
    return routed(learn(train), test, tolerance)


def cascade(train, test, _=None):
    """Whether `cascade` escalates each test task, by the threshold that held in training."""
    threshold = _cheapest(train, lambda value: cascaded(train, value), np.linspace(0, 1, 101))
    return cascaded(test, threshold)


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
