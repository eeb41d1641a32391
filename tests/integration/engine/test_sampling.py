"""Sampling on a real (tiny) model: several answers, log probabilities and what shapes a draw."""

from __future__ import annotations

import math
import select
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.integration.engine.conftest import SHAPE, MakeEngine
from tests.integration.engine.driving import Ask, run_alone, run_answers, run_together, submit

from llmrouter import _native

PROMPT = [(7 * i) % 256 for i in range(40)]
DRAWN: dict[str, Any] = {"temperature": 1.3, "top_p": 0.95, "seed": 5, "max_tokens": 20}
SHAPED = {
    "min_p": 0.01,
    "repetition_penalty": 1.2,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logit_bias": [(65, 2.0)],
    "min_tokens": 6,
}


def asking(answers: int, **options: Any) -> Ask:
    shaping = {"answers": answers, **options.pop("shaping", {})}
    return Ask(PROMPT, shaping=shaping, **options)


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    wide = logits.astype(np.float64)
    shifted = wide - wide.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


@pytest.mark.parametrize("prefill_chunk", [16, 256])
def test_several_greedy_answers_equal_a_single_one_in_every_bit(
    make_engine: MakeEngine, prefill_chunk: int
) -> None:
    [alone] = run_alone(make_engine(slots=1), [Ask(PROMPT, max_tokens=20)])
    engine = make_engine(prefill_chunk=prefill_chunk)
    for answer in run_answers(engine, asking(5, max_tokens=20)):
        assert answer.tokens == alone.tokens
        # The copied cache is as good as one that was computed: not a bit differs.
        assert np.array_equal(answer.logits, alone.logits)
    assert engine.statistics().prompt_tokens == len(PROMPT)
    assert engine.statistics().cache_bytes == 0


def test_the_first_of_several_drawn_answers_is_that_of_a_single_one(
    make_engine: MakeEngine,
) -> None:
    [alone] = run_alone(make_engine(slots=1), [Ask(PROMPT, **DRAWN)])
    answers = run_answers(make_engine(), asking(8, **DRAWN))
    assert answers[0].tokens == alone.tokens
    assert len({tuple(answer.tokens) for answer in answers}) == 8
    again = run_answers(make_engine(slots=16), asking(8, **DRAWN))
    assert [answer.tokens for answer in again] == [answer.tokens for answer in answers]
    fewer = run_answers(make_engine(slots=16), asking(3, **DRAWN))
    assert [answer.tokens for answer in fewer] == [answer.tokens for answer in answers[:3]]


def test_whatever_shapes_a_draw_it_is_the_same_alone_and_in_company(
    make_engine: MakeEngine,
) -> None:
    asks = [
        Ask(PROMPT[: 3 + 5 * i], **{**DRAWN, "seed": i}, shaping=SHAPED if i % 2 else {})
        for i in range(7)
    ]
    together = run_together(make_engine(), asks)
    alone = run_alone(make_engine(), asks)
    for first, second in zip(together, alone, strict=True):
        assert first.tokens == second.tokens
    plain = run_alone(make_engine(), [Ask(ask.prompt, **{**DRAWN, "seed": 5}) for ask in asks])
    assert plain[5].tokens != alone[5].tokens


def test_log_probabilities_are_those_of_the_logits_before_anything_else(
    make_engine: MakeEngine,
) -> None:
    shaping = {**SHAPED, "top_logprobs": 20}
    [answer] = run_together(make_engine(), [Ask(PROMPT, **DRAWN, shaping=shaping)])
    assert answer.logits is not None
    assert [told.sampled.token for told in answer.logprobs] == answer.tokens
    for told, logits in zip(answer.logprobs, answer.logits, strict=True):
        expected = log_softmax(logits)
        assert told.sampled.logprob == pytest.approx(expected[told.sampled.token], abs=2e-5)
        best = np.argsort(-logits, kind="stable")[:20]
        assert [one.token for one in told.top] == best.tolist()
        assert [one.logprob for one in told.top] == pytest.approx(expected[best], abs=2e-5)
        assert sum(np.exp(one.logprob) for one in told.top) <= 1 + 1e-6
    spelt = b"".join(told.sampled.bytes for told in answer.logprobs)
    assert spelt.decode(errors="replace") == answer.text


def test_without_being_asked_nothing_is_told_of_log_probabilities(make_engine: MakeEngine) -> None:
    [answer] = run_together(make_engine(), [Ask(PROMPT, max_tokens=5)])
    assert answer.logprobs == []


def test_a_strong_penalty_lets_no_token_come_twice(make_engine: MakeEngine) -> None:
    [plain] = run_alone(make_engine(), [Ask(PROMPT, max_tokens=40)])
    shaping = {
        "repetition_penalty": 1e6,
        "min_tokens": 40,
        "logit_bias": [(i, 50.0) for i in range(256)],
    }
    [varied] = run_alone(make_engine(), [Ask(PROMPT, max_tokens=40, shaping=shaping)])
    assert len(set(plain.tokens)) < len(plain.tokens)
    assert len(set(varied.tokens)) == 40
    assert not set(varied.tokens) & set(PROMPT)


def test_a_bias_can_force_and_forbid_a_token(make_engine: MakeEngine) -> None:
    forced = Ask(PROMPT, max_tokens=4, shaping={"logit_bias": [(66, 100.0)]})
    [answer] = run_alone(make_engine(), [forced])
    assert answer.text == "BBBB"
    [plain] = run_alone(make_engine(), [Ask(PROMPT, max_tokens=12)])
    banned = sorted(set(plain.tokens))[:3]
    shaping = {"logit_bias": [(token, -100.0) for token in banned]}
    [answer] = run_alone(make_engine(), [Ask(PROMPT, max_tokens=12, shaping=shaping)])
    assert not set(answer.tokens) & set(banned)


def test_the_end_token_waits_for_min_tokens(make_engine: MakeEngine) -> None:
    eager = {"logit_bias": [(SHAPE.end_token, 100.0)]}
    [short] = run_alone(make_engine(), [Ask(PROMPT, max_tokens=20, shaping=eager)])
    assert short.tokens == [SHAPE.end_token]
    longer = {**eager, "min_tokens": 7}
    [answer] = run_alone(make_engine(), [Ask(PROMPT, max_tokens=20, shaping=longer)])
    assert len(answer.tokens) == 8
    assert answer.tokens.index(SHAPE.end_token) == 7


def test_a_min_p_of_one_is_greedy(make_engine: MakeEngine) -> None:
    [greedy] = run_alone(make_engine(), [Ask(PROMPT, max_tokens=20)])
    [answer] = run_alone(make_engine(), [Ask(PROMPT, **DRAWN, shaping={"min_p": 1.0})])
    assert answer.tokens == greedy.tokens


def test_answers_wait_until_a_slot_is_free_for_each(make_engine: MakeEngine) -> None:
    engine = make_engine(slots=4)
    finished: dict[tuple[int, int], _native.Finished] = {}
    asks = [asking(answers, max_tokens=15) for answers in (3, 4, 2, 1, 4)]
    ids = [submit(engine, ask) for ask in asks]
    while len(finished) < 14:
        assert select.select([engine.event_fd], [], [], 60)[0]
        assert engine.statistics().running <= 4
        for event in engine.drain():
            if isinstance(event, _native.Finished):
                finished[event.id, event.answer] = event
    assert set(finished) == {
        (id_, answer)
        for id_, ask in zip(ids, asks, strict=True)
        for answer in range(ask.shaping["answers"])
    }
    assert len({tuple(event.tokens) for event in finished.values()}) == 1


@pytest.mark.parametrize(
    ("shaping", "field", "code"),
    [
        ({"answers": 9}, "n", _native.ErrorCode.UNSUPPORTED_OPTION),
        (
            {"logit_bias": [(SHAPE.vocabulary, 1.0)]},
            f"logit_bias[{SHAPE.vocabulary}]",
            _native.ErrorCode.UNSUPPORTED_OPTION,
        ),
        ({"answers": 0}, "n", _native.ErrorCode.INVALID_ARGUMENT),
        ({"min_p": 1.5}, "min_p", _native.ErrorCode.INVALID_ARGUMENT),
        ({"repetition_penalty": 0.0}, "repetition_penalty", _native.ErrorCode.INVALID_ARGUMENT),
        ({"presence_penalty": math.nan}, "presence_penalty", _native.ErrorCode.INVALID_ARGUMENT),
        ({"frequency_penalty": math.inf}, "frequency_penalty", _native.ErrorCode.INVALID_ARGUMENT),
        ({"min_tokens": -1}, "min_tokens", _native.ErrorCode.INVALID_ARGUMENT),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(
    make_engine: MakeEngine, shaping: dict[str, Any], field: str, code: _native.ErrorCode
) -> None:
    with pytest.raises(_native.EngineError) as raised:
        submit(make_engine(slots=8), Ask(PROMPT, shaping=shaping))
    assert (raised.value.field, raised.value.code) == (field, code)
    assert str(raised.value) == f"{field} {raised.value.description}"


def test_stopping_ends_every_answer_also_of_those_that_wait(make_engine: MakeEngine) -> None:
    engine = make_engine(slots=4)
    for _ in range(3):
        submit(engine, asking(4, max_tokens=80))
    engine.stop()
    ends = [event for event in engine.drain() if isinstance(event, _native.Finished)]
    assert len(ends) == 12
