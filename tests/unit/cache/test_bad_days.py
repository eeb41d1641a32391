"""An answer that has expired is found by its question as well, over restarts, while it is kept."""

import pytest
from tests.unit.cache.serving import KEY, answer, late, lookup, store

from llmrouter.common.errors import RouterError
from llmrouter.common.wire import seconds
from llmrouter.v1 import generation_pb2 as generation

QUESTION, OTHER = b"q" * 32, b"o" * 32


async def test_an_expired_answer_is_found_by_its_key_and_by_its_question(opened, clock):
    service = await opened(stale_seconds=100)
    await store(service, ttl=10, question=QUESTION)
    clock.now += 15
    assert not (await lookup(service)).HasField("found")
    for asked in ({"key": KEY}, {"question": QUESTION}, {"key": OTHER, "question": QUESTION}):
        found = (await late(service, **asked)).found
        assert (found.answer, seconds(found.remaining)) == (answer(), -5)
    clock.now += 95
    assert not (await late(service, question=QUESTION)).HasField("found")


@pytest.mark.parametrize("memory", [0, 1 << 20])
async def test_after_a_restart_the_disk_leads_from_the_question_to_the_answer(
    opened, clock, tmp_path, memory
):
    chosen = {"disk_path": tmp_path / "answers", "memory_max_bytes": memory}
    first = await opened(**chosen)
    await store(first, ttl=10, question=QUESTION)
    await first._tiers.close()
    first._tiers._far = None
    clock.now += 15
    found = (await late(await opened(**chosen), question=QUESTION)).found
    assert (found.answer, found.level) == (answer(), generation.CACHE_LEVEL_DISK)


async def test_the_last_answer_to_a_question_is_found_whoever_gave_it(opened):
    service = await opened()
    await store(service, "by the first", question=QUESTION)
    await store(service, "by the second", key=OTHER, question=QUESTION)
    found = (await late(service, question=QUESTION)).found
    assert found.answer.choices[0].text == "by the second"
    assert (await late(service, key=KEY, question=QUESTION)).found.answer == answer("by the first")


async def test_without_a_question_an_answer_is_found_by_its_key_alone(opened):
    service = await opened()
    await store(service)
    assert not (await late(service, question=QUESTION)).HasField("found")
    assert not (await lookup(service, key=QUESTION)).HasField("found")


async def test_an_answer_that_is_found_by_its_key_is_asked_no_question(opened):
    service = await opened()
    await store(service)
    assert (await late(service, key=KEY, question=b"x")).HasField("found")


@pytest.mark.parametrize(("asked", "field"), [({}, "key"), ({"question": b"short"}, "question")])
async def test_a_question_of_another_length_is_refused(opened, asked, field):
    service = await opened()
    await store(service)
    with pytest.raises(RouterError, match=f"{field}: has"):
        await late(service, **asked)
    with pytest.raises(RouterError, match="question: has"):
        await store(service, question=b"short")
