"""Answers to similar questions: precision and recall on pairs written for this, and the search.

A threshold is chosen on every second group of pairs and judged on the others. The rules of the
guard were written and narrowed beside these pairs, so that its recall on other people's questions
is lower, and its precision may be.
"""

import asyncio
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt
from tests.benchmarks.peers.contestants import PEERS
from tests.benchmarks.report import Report

from llmrouter import suite
from llmrouter.cache.semantic.answers import SimilarQuestions
from llmrouter.cache.semantic.guard import difference
from llmrouter.cache.semantic.index import Question, QuestionIndex
from llmrouter.cache.servicer import CacheServicer
from llmrouter.cache.settings import CacheSettings
from llmrouter.cache.tiers import open_tiers
from llmrouter.common.settings import data_directory
from llmrouter.gateway.question_embedder import hashed
from llmrouter.gateway.settings import SimilarSettings
from llmrouter.v1 import cache_pb2, generation_pb2
from llmrouter_client import AsyncClient

PEER = PEERS / "venv/bin/python"
WORKER = Path(__file__).parent / "peers/similar_lookups.py"
PAIRS = Path(__file__).parent / "data/similar_questions.txt"
MODEL = "all-minilm-l6-v2-int8"
THRESHOLDS = [round(0.30 + 0.05 * step, 2) for step in range(15)]
KINDS = {"n": "negation", "d": "number", "e": "name", "u": "unit", "c": "code", "x": "near_miss"}
_NOISE = 0.05
"""Of each number, around real directions of length 1: neighbours as near as paraphrases are."""
TARGETS = {
    "pairs": ("at_least", 400.0),
    "precision": ("at_least", 0.99),
    "recall": ("at_least", 0.30),
    "wrong_negation": ("at_most", 0.0),
    "wrong_number": ("at_most", 0.0),
    "wrong_name": ("at_most", 0.0),
    "lookup_median_ms": ("at_most", 5.0),
    "lookup_recall_of_exact": ("at_least", 0.95),
    "our_lookups_over_gptcache": ("at_least", 10.0),
}


def read_pairs():
    """Return (group, kind, one, other) for every pair."""
    pairs, base, group = [], "", -1
    for line in PAIRS.read_text().splitlines():
        kind, text = line[:1], line[2:]
        if kind == "=":
            base, group = text, group + 1
        elif kind and kind != "#":
            pairs.append((group, kind, base, text))
    return pairs


async def embed(texts, store):
    """Return the direction of every text by the suite's own `Embed`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "llmrouter.yaml"
        body = {
            "gateway": {"port": 0, "http_port": None},
            "selector": {"port": 0, "refresh_interval_seconds": 0.2},
            "cache": {"port": 0, "disk_max_bytes": 0},
            "inference": {"port": 0, "store": str(store), "models": [MODEL]},
        }
        path.write_text(json.dumps(body))
        async with suite.running(path) as addresses, AsyncClient(addresses.gateway) as client:
            vectors = []
            for at in range(0, len(texts), 64):
                embedded = await client.embed(texts[at : at + 64], model=MODEL)
                vectors += [one.values for one in embedded]
    return {text: np.array(vector, np.float32) for text, vector in zip(texts, vectors, strict=True)}


def cosine(one, other):
    return float(one @ other / max(1e-9, np.linalg.norm(one) * np.linalg.norm(other)))


def judged(pairs, vectors, guarded):
    """Return (group, kind, similarity) of every pair, -1 where the guard refuses it."""
    return [
        (
            group,
            kind,
            -1.0 if guarded and difference(one, other) else cosine(vectors[one], vectors[other]),
        )
        for group, kind, one, other in pairs
    ]


def rates(rows, threshold):
    """Return precision and recall of those at least so similar."""
    taken = [kind for _, kind, similarity in rows if similarity >= threshold]
    right = sum(kind == "p" for kind in taken)
    same = sum(kind == "p" for _, kind, _ in rows)
    return (right / len(taken) if taken else 1.0), right / same


def chosen_on(rows):
    """Return the lowest threshold from which on precision is at least 0.99, and recall is best."""
    fitting = [one for one in THRESHOLDS if rates(rows, one)[0] >= 0.99]
    return min(fitting, default=THRESHOLDS[-1])


def measure_pairs(vectors, pairs, shipped, prefix=""):
    guarded, bare = judged(pairs, vectors, True), judged(pairs, vectors, False)
    tuning = [row for row in guarded if row[0] % 2 == 0]
    judging = [row for row in guarded if row[0] % 2]
    precision, recall = rates(judging, shipped)
    figures = {
        f"{prefix}threshold_lowest_on_one_half": chosen_on(tuning),
        f"{prefix}threshold_shipped": shipped,
        f"{prefix}precision": precision,
        f"{prefix}recall": recall,
        f"{prefix}precision_unguarded": rates(bare, shipped)[0],
        f"{prefix}recall_unguarded": rates(bare, shipped)[1],
    }
    for kind, name in KINDS.items():
        wrong = sum(row[1] == kind and row[2] >= shipped for row in guarded)
        figures[f"{prefix}wrong_{name}"] = float(wrong)
    for threshold in THRESHOLDS[::2]:
        for name, rows in (("", guarded), ("_unguarded", bare)):
            precision, recall = rates(rows, threshold)
            figures[f"{prefix}precision{name}_at_{threshold:.2f}"] = precision
            figures[f"{prefix}recall{name}_at_{threshold:.2f}"] = recall
    return figures, guarded, bare


def measure_search(vectors, entries, searches=200):
    """Time the search among many questions of one partition, and compare it with exact search."""
    rng, real = np.random.default_rng(0), np.stack(list(vectors.values()))
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    spread = rng.standard_normal((entries, real.shape[1])).astype(np.float32) * _NOISE
    many = real[rng.integers(0, len(real), entries)] + spread
    many /= np.linalg.norm(many, axis=1, keepdims=True)
    partition = b"p" * 32
    with tempfile.TemporaryDirectory() as folder:
        index = QuestionIndex(Path(folder) / "similar", entries)
        for number, vector in enumerate(many):
            index.add(Question(partition, f"{number}", vector), number.to_bytes(32))
        times, found, wanted = [], 0, 0
        for at in rng.integers(0, entries, searches):
            asked = many[at] + rng.standard_normal(real.shape[1]).astype(np.float32) * _NOISE / 2
            began = time.perf_counter()
            likenesses = index.find(Question(partition, "?", asked), -1.0)
            times.append(time.perf_counter() - began)
            exact = np.argsort(many @ asked)[-10:]
            got = {int(one.text) for one in likenesses}
            found, wanted = found + len(got & set(exact.tolist())), wanted + len(exact)
        index.close()
    return {
        "lookup_entries": float(entries),
        "lookup_median_ms": statistics.median(times) * 1e3,
        "lookup_recall_of_exact": found / wanted,
    }


def measure_beside_gptcache(vectors, entries=2_000, lookups=200):
    """Look the same vectors up through our service and through GPTCache, where it is installed."""
    if not PEER.exists():
        return {}
    many = np.stack(list(vectors.values()))
    many = np.resize(many, (entries, many.shape[1]))
    many += np.random.default_rng(0).standard_normal(many.shape).astype(np.float32) * _NOISE
    many /= np.linalg.norm(many, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        np.save(path, many)
        told = subprocess.run(
            [PEER, WORKER, path, str(lookups)], capture_output=True, text=True, check=True
        ).stdout.split()
        ours = asyncio.run(_through_the_service(many, lookups, Path(folder)))
    theirs = float(told[-2])
    return {
        "gptcache_lookups_per_second": theirs,
        "our_lookups_per_second": ours,
        "our_lookups_over_gptcache": ours / theirs,
    }


async def _through_the_service(many, lookups, folder):
    settings = CacheSettings(disk_max_bytes=0)
    tiers, *rest = await open_tiers(settings, None, time.time)
    similar = SimilarQuestions(folder / "similar", len(many))
    service = CacheServicer(settings, tiers, *rest, similar=similar)
    who = generation_pb2.RequestContext(request_id="bench", tenant="default")
    answer = cache_pb2.CachedAnswer(model="m", choices=[generation_pb2.Choice(text="Paris")])
    asked = []
    for number, vector in enumerate(many):
        question = cache_pb2.SimilarQuestion(
            partition=bytes(32), text=f"question {number}", vector=vector
        )
        key = number.to_bytes(32)
        await service.Store(cache_pb2.StoreRequest(context=who, key=key, answer=answer), None)
        await service.AddSimilar(
            cache_pb2.AddSimilarRequest(context=who, question=question, key=key), None
        )
        asked.append(question)
    began = time.perf_counter()
    for number in range(lookups):
        request = cache_pb2.FindSimilarRequest(
            context=who, question=asked[number * 7919 % len(asked)], min_similarity=0.8
        )
        assert (await service.FindSimilar(request, None)).HasField("found")
    taken = time.perf_counter() - began
    await similar.close()
    await tiers.close()
    return lookups / taken


def plot(rows, path):
    """Draw precision and recall by threshold."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True)
    for axes, at, title in ((left, 0, "precision"), (right, 1, "recall of paraphrases")):
        for name, judgements in rows.items():
            values = [rates(judgements, one)[at] for one in THRESHOLDS]
            axes.plot(THRESHOLDS, values, marker=".", label=name)
        axes.set(title=title, xlabel="least cosine", ylim=(0, 1.03))
        axes.grid(alpha=0.3)
    left.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def add_options(parser):
    """Take where the model is, how much is searched, and where the plot goes."""
    parser.add_argument("--store", default=str(data_directory() / "models"))
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--plot", default="", help="PNG to draw precision and recall in")


def run(arguments) -> Report:
    """Judge the pairs by the model and by words alone, then search; some minutes."""
    report = Report("semantic", targets=TARGETS)
    pairs, shipped = read_pairs(), SimilarSettings()
    texts = sorted({text for _, _, *both in pairs for text in both})
    vectors = asyncio.run(embed(texts, arguments.store))
    report.figures["pairs"] = float(len(pairs))
    figures, guarded, bare = measure_pairs(vectors, pairs, shipped.min_similarity)
    report.figures |= figures
    words = {text: np.array(hashed(text), np.float32) for text in texts}
    least = shipped.min_similarity_of_words
    figures, worded, _ = measure_pairs(words, pairs, least, "words_")
    report.figures |= figures
    report.figures |= measure_search(vectors, arguments.entries)
    report.figures |= measure_beside_gptcache(vectors)
    if arguments.plot:
        plot(
            {"guarded": guarded, "cosine alone": bare, "guarded, by words": worded}, arguments.plot
        )
    return report
