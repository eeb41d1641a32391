"""The answer to a question that means the same is found: the tenant's own, and while it lives."""

import lmdb
import pytest
from tests.unit.cache.serving import KEY, store, who

from llmrouter.cache.semantic.answers import SimilarQuestions
from llmrouter.cache.semantic.index import QuestionIndex
from llmrouter.common.errors import RouterError
from llmrouter.v1 import cache_pb2 as pb

ASKED = "What is the capital of France?"
ALSO = "Tell me what the capital of France is."
LIKE = "What is the capital of Germany?"


@pytest.fixture
async def service(opened, tmp_path, clock):
    one = await opened()
    one._similar = SimilarQuestions(tmp_path / "similar", 100, clock)
    yield one
    await one._similar.close()


def asked(text=ASKED, **more):
    return pb.SimilarQuestion(
        **{"partition": b"p" * 32, "text": text, "vector": [1.0, 2.0], **more}
    )


async def add(service, text=ASKED, tenant="default", key=KEY, **more):
    request = pb.AddSimilarRequest(context=who(tenant), question=asked(text, **more), key=key)
    await service.AddSimilar(request, None)


async def find(service, text=ALSO, tenant="default", least=0.9, **more):
    request = pb.FindSimilarRequest(
        context=who(tenant), question=asked(text, **more), min_similarity=least
    )
    response = await service.FindSimilar(request, None)
    return response if response.HasField("found") else None


async def test_a_question_that_means_the_same_finds_the_answer_and_how_similar_it_is(service):
    await store(service)
    await add(service)
    found = await find(service)
    assert found.found.answer.choices[0].text == "Paris"
    assert found.similarity == pytest.approx(1, abs=1e-3)
    assert await find(service, LIKE) is None
    assert await find(service, vector=[1.0, -2.0]) is None


@pytest.mark.parametrize("other", [{"tenant": "acme"}, {"partition": b"q" * 32}])
async def test_neither_another_tenant_nor_another_partition_finds_it(service, other):
    await store(service)
    await add(service)
    assert await find(service, **other) is None


async def test_an_answer_that_was_invalidated_is_not_found_and_its_question_forgotten(
    service, clock
):
    await store(service)
    await add(service)
    await service.Invalidate(pb.InvalidateRequest(context=who(), key=KEY), None)
    clock.now += 61
    assert await find(service) is None
    assert len(service._similar._index) == 0


async def test_a_question_waits_for_its_answer(service):
    await add(service)
    assert await find(service) is None
    await store(service)
    assert await find(service)


async def test_an_answer_that_has_expired_is_not_found(service, clock):
    await store(service, ttl=60)
    await add(service)
    clock.now += 61
    assert await find(service) is None


async def test_nothing_is_opened_before_a_question_is_kept(service, tmp_path):
    assert await find(service) is None
    assert not (tmp_path / "similar").exists()


async def test_without_room_no_question_is_kept(opened, tmp_path):
    service = await opened()
    service._similar = SimilarQuestions(tmp_path / "similar", 0)
    await add(service)
    assert await find(service) is None
    await service._similar.close()


async def test_an_index_that_fails_finds_nothing(service, tmp_path, caplog):
    (tmp_path / "similar").write_text("a file, no folder")
    await add(service)
    assert await find(service) is None
    assert "the index of questions failed" in caplog.text


async def test_damage_that_is_found_while_searching_sets_the_index_aside(
    service, tmp_path, monkeypatch
):
    def damaged(*_):
        raise lmdb.PageNotFoundError("a page of another kind")

    await store(service)
    await add(service)
    with monkeypatch.context() as patch:
        patch.setattr(QuestionIndex, "find", damaged)
        assert await find(service) is None
    assert list(tmp_path.glob("similar.corrupt-*"))
    await add(service)
    assert await find(service) is not None


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"partition": b"short"}, "question.partition"),
        ({"text": ""}, "question.text"),
        ({"text": "x" * 2049}, "question.text"),
        ({"vector": []}, "question.vector"),
        ({"vector": [0.0] * 4097}, "question.vector"),
        ({"vector": [0.0, 0.0]}, "question.vector"),
        ({"vector": [float("nan")]}, "question.vector"),
    ],
)
async def test_what_cannot_be_compared_is_refused_by_its_field(service, wrong, field):
    with pytest.raises(RouterError) as refused:
        await find(service, **{"text": ASKED, **wrong})
    assert [one.field for one in refused.value.violations] == [field]
