"""Prompts of two kinds, which two models answer differently."""

import random

from llmrouter.common.prompt_features import features_of
from llmrouter.selector.learned.examples import Example
from llmrouter.selector.learned.learner import Learner

SUMS, TALES = "sums", "tales"


def prompt(kind, place):
    draw = random.Random(f"{kind}{place}")  # noqa: S311 - no secret
    if kind == SUMS:
        return f"Compute {draw.randint(10, 999)} * {draw.randint(10, 999)} + {draw.randint(1, 99)}."
    things = ("river", "castle", "garden", "storm", "harbour", "lantern")
    return f"Tell a story of a {draw.choice(things)} and a {draw.choice(things)} by the sea"


def examples(count, models=("small", "large")):
    """The small model fails at sums, the large one at nothing."""
    found = []
    for place in range(count):
        kind = (SUMS, TALES)[place % 2]
        grades = {"small": float(kind == TALES), "large": 1.0}
        features = features_of(prompt(kind, place))
        found.append(Example(f"{kind}{place}", features, {name: grades[name] for name in models}))
    return found


def taught(count, capacity=4096):
    learner = Learner(capacity)
    for one in examples(count):
        learner.add(one)
    learner.adopt(learner.training()())
    return learner
