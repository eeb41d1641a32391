"""Many questions at once: how many run, in which order results come, and what a failure costs."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.doubles import collect, error

from llmrouter.common.errors import Reason, RouterError
from llmrouter.gateway.batching import answer_each, check_batch


async def test_results_come_in_the_order_in_which_they_end():
    waits = [asyncio.Event() for _ in range(3)]

    async def answer(index):
        await waits[index].wait()
        return f"answer {index}"

    results = answer_each(3, answer, 3)
    for index in (2, 0, 1):
        waits[index].set()
        assert await anext(results) == (index, f"answer {index}")
    assert await anext(results, None) is None


async def test_a_question_that_fails_costs_the_others_nothing():
    async def answer(index):
        if index == 1:
            raise error(Reason.CONTEXT_TOO_LONG)
        if index == 2:
            raise ValueError("a defect")
        return index

    results = dict(await collect(answer_each(4, answer, 2)))
    assert (results[0], results[3]) == (0, 3)
    assert results[1].reason is Reason.CONTEXT_TOO_LONG
    assert results[2].reason is Reason.INTERNAL
    assert "defect" not in results[2].message


@given(count=st.integers(1, 40), concurrency=st.integers(1, 12))
def test_each_question_has_one_result_and_no_more_run_at_once_than_allowed(count, concurrency):
    running, most = 0, 0

    async def answer(index):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return index

    results = asyncio.run(collect(answer_each(count, answer, concurrency)))
    assert sorted(results) == [(index, index) for index in range(count)]
    assert most == min(concurrency, count)


async def test_a_reader_that_pauses_keeps_new_questions_from_being_asked():
    begun = []

    async def answer(index):
        begun.append(index)
        return index

    results = answer_each(100, answer, 2)
    await anext(results)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(begun) <= 1 + 1 + 2 + 1  # taken, waiting, in each worker's hands, and one room made
    await results.aclose()


async def test_closing_ends_every_question_that_runs():
    ended = []

    async def answer(index):
        if index == 0:
            return index
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(index)

    results = answer_each(9, answer, 3)
    await anext(results)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await results.aclose()
    assert sorted(ended) == [1, 2, 3]


@pytest.mark.parametrize(
    ("count", "concurrency", "field"),
    [(0, 1, "requests"), (1001, 1, "requests"), (1, 65, "concurrency")],
)
def test_a_batch_out_of_bounds_is_refused_by_field(count, concurrency, field):
    with pytest.raises(RouterError) as refused:
        check_batch(count, concurrency)
    assert [one.field for one in refused.value.violations] == [field]
