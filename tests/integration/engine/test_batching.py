"""The engine on a real (tiny) model: company changes nothing, not even a bit."""

from __future__ import annotations

import random
import select
from pathlib import Path

import numpy as np
import pytest
from tests.integration.engine.conftest import SHAPE, MakeEngine
from tests.integration.engine.driving import (
    Answer,
    Ask,
    ReferenceLoop,
    drain_into,
    run_alone,
    run_together,
    submit,
)


def prompts(count: int, seed: int = 1) -> list[list[int]]:
    """Prompts of different lengths, from one token to most of the context."""
    source = random.Random(seed)  # noqa: S311 (not a secret)
    lengths = [1, 2, 17, 100] + [source.randint(1, 90) for _ in range(count - 4)]
    return [[source.randrange(256) for _ in range(length)] for length in lengths]


def assert_same(together: list[Answer], alone: list[Answer]) -> None:
    for number, (first, second) in enumerate(zip(together, alone, strict=True)):
        assert first.failed is None
        assert first.tokens == second.tokens, f"prompt {number}"
        assert np.array_equal(first.logits, second.logits), f"prompt {number}"


@pytest.mark.parametrize("prefill_chunk", [3, 16, 256])
def test_prompts_generated_together_equal_each_alone_in_every_bit(
    make_engine: MakeEngine, prefill_chunk: int
) -> None:
    asks = [Ask(prompt, max_tokens=24) for prompt in prompts(32)]
    together = run_together(make_engine(prefill_chunk=prefill_chunk), asks)
    alone = run_alone(make_engine(slots=1, prefill_chunk=prefill_chunk), asks)
    assert len({tuple(answer.tokens) for answer in alone}) > 16, "the answers hardly differ"
    assert_same(together, alone)


@pytest.mark.parametrize("kind", ["tiny_folder", "foreign_folder"])
def test_greedy_tokens_equal_an_independent_loop(
    make_engine: MakeEngine, request: pytest.FixtureRequest, kind: str
) -> None:
    folder: Path = request.getfixturevalue(kind)
    asks = [Ask(prompt, max_tokens=24) for prompt in prompts(32)]
    answers = run_together(make_engine(folder, prefill_chunk=256), asks)
    reference = ReferenceLoop(folder / "model.onnx")
    for ask, answer in zip(asks, answers, strict=True):
        assert answer.tokens == reference.greedy(ask.prompt, 24, [SHAPE.end_token])


def test_seeded_sampling_is_the_same_alone_and_in_company(make_engine: MakeEngine) -> None:
    asks = [
        Ask(prompt, temperature=1.2, top_k=50 * (i % 2), top_p=0.9, seed=i, max_tokens=24)
        for i, prompt in enumerate(prompts(16))
    ]
    together = run_together(make_engine(), asks)
    alone = run_alone(make_engine(), list(reversed(asks)))
    assert_same(together, list(reversed(alone)))
    other = run_alone(make_engine(), [Ask(asks[5].prompt, temperature=1.2, seed=99, max_tokens=24)])
    assert other[0].tokens != alone[-6].tokens


def test_cancelling_one_of_sixteen_leaves_the_others_unchanged(make_engine: MakeEngine) -> None:
    asks = [Ask(prompt[:20], max_tokens=80) for prompt in prompts(16)]
    expected = run_alone(make_engine(), asks)
    engine = make_engine(slots=16)
    answers = {submit(engine, ask): Answer() for ask in asks}
    ids = list(answers)
    drain_into(engine, answers)
    engine.cancel(ids[4])
    while not all(answer.over for answer in answers.values()):
        drain_into(engine, answers)
    cancelled = answers[ids[4]].finished
    assert cancelled is not None
    assert cancelled.reason.name == "CANCELLED"
    assert answers[ids[4]].tokens == expected[4].tokens[: len(answers[ids[4]].tokens)]
    others = [i for i in range(16) if i != 4]
    assert_same([answers[ids[i]] for i in others], [expected[i] for i in others])


def test_a_cancelled_slot_serves_the_next_in_line(make_engine: MakeEngine) -> None:
    engine = make_engine(slots=1)
    first = Ask([65] * 8, max_tokens=100)
    endless, waiting = submit(engine, first), submit(engine, Ask([66] * 8, max_tokens=2))
    answers = {endless: Answer(), waiting: Answer()}
    engine.cancel(endless)
    while not answers[waiting].over:
        drain_into(engine, answers)
    assert answers[waiting].finished is not None
    assert answers[endless].over


def test_key_value_memory_goes_back_when_sequences_end(make_engine: MakeEngine) -> None:
    engine = make_engine()
    run_together(engine, [Ask(prompt, max_tokens=24) for prompt in prompts(16)])
    # The last event is published at the end of the step that freed the slot.
    statistics = engine.statistics()
    assert statistics.cache_bytes == 0
    assert statistics.completion_tokens > 16


def test_the_context_ends_an_answer(make_engine: MakeEngine) -> None:
    engine = make_engine()
    full = [i % 256 for i in range(SHAPE.context - 1)]
    most, last = run_together(engine, [Ask(full[:100], max_tokens=999), Ask(full, max_tokens=999)])
    assert len(last.tokens) == 1
    assert most.tokens[-1] == SHAPE.end_token or len(most.tokens) == SHAPE.context - 100
    assert np.isfinite(most.logits).all()


def test_an_idle_engine_takes_no_steps_and_says_nothing(make_engine: MakeEngine) -> None:
    engine = make_engine()
    run_together(engine, [Ask([65] * 8, max_tokens=8)])
    steps = engine.statistics().steps
    readable, _, _ = select.select([engine.event_fd], [], [], 0.05)
    assert not readable
    assert engine.statistics().steps == steps
