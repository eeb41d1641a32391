"""Learned routing on a file of questions and whether a weak and a strong model answered them.

`make bench NAME=routing DATA=file.jsonl TRAIN=1500`: each line has `prompt`, `weak_correct` and
`strong_correct`. What is measured is the code that ships: features as the gateway computes them,
the learner as the selector holds it, grades given one by one. Everything that is chosen is chosen
by the learner inside its training rows.
"""

import json
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from tests.benchmarks.report import Report
from tests.benchmarks.routing_measures import calibration_error, curve
from tests.benchmarks.routing_plot import draw

from llmrouter.common.prompt_features import features_of
from llmrouter.selector.learned.examples import Example
from llmrouter.selector.learned.learner import Learner
from llmrouter.selector.learned.policy import pick

SEEDS = 5
TIMED = 500
REPEATS = 3
"""Each prompt is decided so often and the fastest counts: what else runs here does not."""
TARGETS = {
    "apgr": ("at_least", 0.66),
    "cpt_50": ("at_most", 0.28),
    "decision_ms_p99": ("at_most", 2.0),
}


def add_options(parser):
    parser.add_argument("--data", type=Path, required=True, help="JSON lines")
    parser.add_argument("--train", type=int, default=1500, help="rows to learn from")


def run(arguments) -> Report:
    prompts, weak, strong = read(arguments.data)
    if not 1 <= arguments.train < len(prompts):
        raise SystemExit(
            f"--train {arguments.train}: the file has {len(prompts)} rows, of which at least one "
            "must be left to test on"
        )
    features = [features_of(prompt) for prompt in prompts]
    found, curves = [], []
    for seed in track(range(SEEDS), "Measuring", console=Console(stderr=True)):
        figures, one = measure(features, weak, strong, arguments.train, seed)
        found.append(figures)
        curves.append(one)
    report = Report("routing", targets=TARGETS)
    for name in found[0]:
        values = [one[name] for one in found]
        report.figures[name] = float(np.mean(values))
        report.spreads[name] = (min(values), max(values))
    report.figures |= time_decisions(prompts, features, weak, strong, arguments.train)
    picture = arguments.out.with_suffix(".png")
    draw(curves, picture)
    report.notes |= {
        "data": arguments.data.name,
        "rows": len(prompts),
        "train": arguments.train,
        "seeds": SEEDS,
        "weak_accuracy": float(weak.mean()),
        "strong_accuracy": float(strong.mean()),
        "curve": _points(curves),
        "picture": picture.name,
    }
    return report


def read(path):
    """The prompts, and for each model 1.0 where it was right and 0.0 where it was wrong."""
    prompts, weak, strong = [], [], []
    # Not `splitlines`: U+2028 and its like stand unescaped inside of prompts.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            prompts.append(str(row["prompt"]))
            weak.append(float(row["weak_correct"]))
            strong.append(float(row["strong_correct"]))
        except (ValueError, KeyError, TypeError) as error:
            raise SystemExit(f"{path}, line {number}: {error!r}") from error
    return prompts, np.array(weak), np.array(strong)


def learn(features, weak, strong, rows):
    """A learner that was told the grades of `rows` and has trained."""
    learner = Learner(capacity=len(rows))
    for row in rows:
        grades = {"weak": weak[row], "strong": strong[row]}
        learner.add(Example(str(row), features[row], grades))
    learner.adopt(learner.training()())
    return learner


def measure(features, weak, strong, train, seed):
    order = np.random.default_rng(seed).permutation(len(features))
    trained, tested = order[:train], order[train:]
    learner = learn(features, weak, strong, trained)
    priors = {"weak": 0.5, "strong": 0.5}
    chances = [learner.chances(features[row], priors) for row in tested]
    of_weak = np.array([one["weak"].value for one in chances])
    of_strong = np.array([one["strong"].value for one in chances])
    found = curve(of_strong - of_weak, weak[tested], strong[tested], seed)
    figures = {
        "apgr": found.apgr,
        "cpt_50": found.cpt(0.5),
        "cpt_80": found.cpt(0.8),
        "calibration_error_weak": calibration_error(of_weak, weak[tested]),
        "calibration_error_strong": calibration_error(of_strong, strong[tested]),
    }
    return figures, found


def time_decisions(prompts, features, weak, strong, train):
    """Milliseconds from a prompt's text to its model: features, chances, choice."""
    order = np.random.default_rng(SEEDS).permutation(len(prompts))
    learner = learn(features, weak, strong, order[:train])
    priors = {"weak": 0.5, "strong": 0.5}
    taken, of_features = [], []
    for row in order[train : train + TIMED]:
        whole, first = zip(
            *(_time_one(learner, prompts[row], priors) for _ in range(REPEATS)), strict=True
        )
        taken.append(min(whole))
        of_features.append(min(first))
    return {
        "decision_ms_median": float(np.median(taken)),
        "decision_ms_p99": float(np.percentile(taken, 99)),
        "features_ms_median": float(np.median(of_features)),
    }


def _time_one(learner, prompt, priors):
    began = time.perf_counter()
    features = features_of(prompt)
    between = time.perf_counter()
    chances = learner.chances(features, priors)
    values = np.array([chances[name].value for name in ("weak", "strong")])
    pick(values, np.array([one.grades for one in chances.values()]), np.array([1.0, 20.0]))
    return 1e3 * (time.perf_counter() - began), 1e3 * (between - began)


def _points(curves):
    shares = np.linspace(0, 1, 21)
    mean = np.mean([np.interp(shares, one.shares, one.recovered) for one in curves], axis=0)
    return [
        {"strong_calls": float(x), "gap_closed": float(y)}
        for x, y in zip(shares, mean, strict=True)
    ]
