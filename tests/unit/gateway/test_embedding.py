"""Carrying out an embedding request between doubles."""

import asyncio
import contextlib
import time
from dataclasses import replace

import pytest
from tests.support.waiting import until
from tests.unit.gateway.doubles import CONTEXT

from llmrouter.common.embedding import EmbeddingRequest, EmbeddingResult, Vector
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import RequestContext, Usage
from llmrouter.gateway.embedding import Embedding
from llmrouter.gateway.plan import Candidate, Plan
from llmrouter.gateway.record import LONGEST_ASKED

REQUEST = EmbeddingRequest(("red", "blue"))
HERE, THERE = Candidate("m", "1", "a:1"), Candidate("m", "1", "b:1")
OTHER = Candidate("n", "1", "c:1")
RESULT = EmbeddingResult("m", "1", (Vector((1.0,), 3), Vector((0.5,), 4)))


class Neighbours:
    """Selector, inference and reporter in one."""

    def __init__(self, *candidates, answers=None):
        self.plan = Plan("p", candidates, "because")
        self.answers = answers or {}
        self.tried, self.outcomes, self.records = [], [], []
        self.embedding = Embedding(self, self, self, [self])

    async def select_embedder(self, request, context):
        return self.plan

    async def embed(self, candidate, request, context):
        self.tried.append(candidate)
        answer = self.answers.get(candidate, RESULT)
        if isinstance(answer, RouterError):
            raise answer
        if answer is None:
            await asyncio.sleep(60)
        return answer

    def report(self, plan_id, outcomes, context):
        self.outcomes.extend(outcomes)

    def ended(self, record):
        self.records.append(record)


def failing(reason):
    return RouterError(reason, "it failed")


async def test_the_first_candidate_answers_and_its_usage_is_reported():
    around = Neighbours(HERE, THERE)
    assert await around.embedding.embed(REQUEST, CONTEXT) == RESULT
    assert around.tried == [HERE]
    (outcome,) = around.outcomes
    assert (outcome.error_reason, outcome.usage, outcome.prompt_bytes) == ("", Usage(7), 7)


@pytest.mark.parametrize("answer", [RESULT, failing(Reason.MODEL_UNAVAILABLE)])
async def test_a_request_is_accounted_for_with_its_plan_however_it_ends(answer):
    around = Neighbours(HERE, answers={HERE: answer})
    with contextlib.suppress(RouterError):
        await around.embedding.embed(replace(REQUEST, model="m"), CONTEXT)
    [told] = around.records
    assert (told.plan_id, told.reason, told.asked) == ("p", "because", "m")


async def test_of_a_name_that_is_refused_for_its_length_the_record_keeps_the_beginning_alone():
    around = Neighbours(HERE)
    with pytest.raises(RouterError):
        await around.embedding.embed(replace(REQUEST, model="m" * 100_000), CONTEXT)
    [told] = around.records
    assert told.asked == "m" * LONGEST_ASKED


async def test_another_endpoint_of_the_same_model_takes_over():
    around = Neighbours(HERE, THERE, answers={HERE: failing(Reason.MODEL_UNAVAILABLE)})
    assert await around.embedding.embed(REQUEST, CONTEXT) == RESULT
    assert [one.error_reason for one in around.outcomes] == ["MODEL_UNAVAILABLE", ""]


async def test_another_model_never_takes_over():
    around = Neighbours(HERE, OTHER, answers={HERE: failing(Reason.MODEL_UNAVAILABLE)})
    with pytest.raises(RouterError) as refused:
        await around.embedding.embed(REQUEST, CONTEXT)
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE
    assert around.tried == [HERE]


async def test_a_model_that_is_away_is_not_called():
    around = Neighbours(Candidate("m", "1", "a:1", away="a:1 does not answer"))
    with pytest.raises(RouterError, match="m cannot serve now: a:1 does not") as refused:
        await around.embedding.embed(REQUEST, CONTEXT)
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE
    assert around.tried == []


async def test_what_no_retry_can_help_is_not_tried_again():
    around = Neighbours(HERE, THERE, answers={HERE: failing(Reason.INVALID_ARGUMENT)})
    with pytest.raises(RouterError):
        await around.embedding.embed(REQUEST, CONTEXT)
    assert around.tried == [HERE]


async def test_bounds_are_checked_before_anybody_is_asked():
    around = Neighbours(HERE)
    with pytest.raises(RouterError) as refused:
        await around.embedding.embed(EmbeddingRequest(("red", "")), CONTEXT)
    assert refused.value.violations[0].field == "texts[1]"
    assert around.tried == []


async def test_a_slow_model_ends_at_the_deadline_and_the_attempt_is_reported():
    around = Neighbours(HERE, answers={HERE: None})
    late = RequestContext("r", deadline=time.monotonic() + 0.05)
    with pytest.raises(RouterError) as refused:
        await around.embedding.embed(REQUEST, late)
    assert refused.value.reason is Reason.DEADLINE_EXCEEDED
    assert [one.error_reason for one in around.outcomes] == ["DEADLINE_EXCEEDED"]
    [told] = around.records
    assert (told.plan_id, told.reason, told.outcome) == ("p", "because", "DEADLINE_EXCEEDED")


async def test_a_request_that_is_given_up_is_accounted_for_with_its_plan():
    around = Neighbours(HERE, answers={HERE: None})
    task = asyncio.create_task(around.embedding.embed(REQUEST, CONTEXT))
    await until(lambda: around.tried)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [told] = around.records
    assert (told.plan_id, told.reason, told.outcome) == ("p", "because", "CANCELLED")
