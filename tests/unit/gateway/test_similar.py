"""A question that means the same is answered from the cache, where the caller allows it."""

import math
from dataclasses import replace

import pytest
from tests.unit.gateway.doubles import (
    CONTEXT,
    DRAWN,
    GREEDY,
    Cache,
    Following,
    answer_events,
    collect,
    error,
    keyed,
    near_cache,
    started,
    text,
)

from llmrouter.common.embedding import EmbeddingResult, Vector
from llmrouter.common.errors import RouterError
from llmrouter.common.generation import (
    CacheLevel,
    CacheMode,
    CacheStatus,
    CacheWishes,
    FinishReason,
    GenerationRequest,
    Message,
    Role,
    Usage,
)
from llmrouter.common.savings import SavingsTable
from llmrouter.gateway.admission import Admission
from llmrouter.gateway.answer_cache import Found
from llmrouter.gateway.answers import Answer, Choice
from llmrouter.gateway.caching import Caching
from llmrouter.gateway.near_caching import NearCaching
from llmrouter.gateway.question_embedder import QuestionEmbedder, hashed
from llmrouter.gateway.settings import SimilarSettings
from llmrouter.gateway.similar import Similar, asked_last
from llmrouter.gateway.single_flight import SingleFlight
from llmrouter.gateway.sticky import StickyChoice

ALLOWING = replace(GREEDY, cache=CacheWishes(similar=True))
KEPT = Answer("first", "v1", (Choice("Paris", FinishReason.STOP),), Usage(3, 2))


class Embedder:
    """A model that gives every text one direction."""

    def __init__(self, failing=None):
        self.failing = failing
        self.asked = []

    async def embed(self, request, context):
        self.asked.append(request)
        if self.failing:
            raise self.failing
        return EmbeddingResult("mini", "v9", (Vector((0.6, 0.8), 3),))


class Similars:
    """A cache that has, or has not, the answer to a similar question."""

    def __init__(self, found=None, failing=None):
        self.found, self.failing = found, failing
        self.questions, self.added = [], []

    async def find_similar(self, question, min_similarity, context):
        self.questions.append((question, min_similarity))
        if self.failing:
            raise self.failing
        return self.found

    async def add_similar(self, question, key, context):
        if self.failing:
            raise self.failing
        self.added.append((question, key))


def link(cache, following, embedder=None, **settings):
    chosen = SimilarSettings(embedder="mini", **settings)
    return Similar(cache, QuestionEmbedder(embedder or Embedder(), chosen), following)


def found(answer=KEPT, similarity=0.93):
    return Found(answer, CacheLevel.DISK, 60.0), similarity


async def ask(cache, following, request=ALLOWING, embedder=None):
    return await collect(link(cache, following, embedder).generate(keyed(request), CONTEXT))


async def test_the_answer_says_that_its_question_was_another_and_how_similar():
    following = Following(*answer_events())
    events = await ask(Similars(found()), following)
    begun = started(events)
    assert (begun.cache, begun.cached, begun.similarity) == (
        CacheStatus.SIMILAR,
        CacheLevel.DISK,
        0.93,
    )
    assert "a question that means the same, 0.93 similar" in begun.reason
    assert text(events) == "Paris"
    assert following.calls == []


async def test_where_nothing_is_similar_the_question_is_answered_and_kept():
    cache = Similars()
    events = await ask(cache, Following(*answer_events()))
    assert text(events) == "Paris"
    [(question, least)] = cache.questions
    assert (question.text, question.vector, least) == ("What is it?", (0.6, 0.8), 0.8)
    assert cache.added == [(question, keyed(ALLOWING).key)]


@pytest.mark.parametrize(
    "request_",
    [GREEDY, DRAWN, replace(ALLOWING, prompt="x" * 2049)],
    ids=["not allowed", "left to chance", "too long"],
)
async def test_what_may_not_or_cannot_be_compared_is_only_answered(request_):
    cache, embedder = Similars(found()), Embedder()
    planned = keyed(request_) if request_ is not DRAWN else replace(keyed(DRAWN), key=b"")
    stream = link(cache, Following(*answer_events()), embedder).generate(planned, CONTEXT)
    assert text(await collect(stream)) == "Paris"
    assert (cache.questions, cache.added, embedder.asked) == ([], [], [])


@pytest.mark.parametrize("mode", [CacheMode.READ, CacheMode.WRITE])
async def test_reading_and_writing_are_kept_apart(mode):
    cache = Similars()
    request = replace(ALLOWING, cache=CacheWishes(mode=mode, similar=True))
    await ask(cache, Following(*answer_events()), request)
    assert bool(cache.questions) == (mode is CacheMode.READ)
    assert bool(cache.added) == (mode is CacheMode.WRITE)


async def test_a_cache_that_fails_costs_nobody_an_answer():
    assert text(await ask(Similars(failing=error()), Following(*answer_events()))) == "Paris"


async def test_the_answer_of_another_model_than_the_planned_one_is_not_taken():
    other = replace(KEPT, version="v0")
    assert text(await ask(Similars(found(other)), Following(*answer_events()))) == "Paris"


async def test_a_question_that_failed_is_not_kept():
    cache = Similars()
    with pytest.raises(RouterError):
        await ask(cache, Following(*answer_events()[:2], error()))
    assert cache.added == []


async def test_words_stand_in_for_a_model_that_does_not_answer_in_partitions_of_their_own():
    cache = Similars()
    await ask(cache, Following(*answer_events()))
    await ask(cache, Following(*answer_events()), embedder=Embedder(failing=error()))
    (by_model, _), (by_words, least) = cache.questions
    assert by_words.vector == hashed("What is it?")
    assert by_words.partition != by_model.partition
    assert least == SimilarSettings().min_similarity_of_words


def talk(*turns):
    return GenerationRequest(messages=tuple(Message(role, (said,)) for role, said in turns))


SYSTEM, USER, MODEL = Role.SYSTEM, Role.USER, Role.ASSISTANT


async def partition_of(request):
    cache = Similars()
    allowed = replace(request, sampling=GREEDY.sampling, cache=CacheWishes(similar=True))
    await ask(cache, Following(*answer_events()), allowed)
    return cache.questions[0][0].partition


async def test_only_the_last_question_may_differ():
    base = talk((SYSTEM, "Be brief."), (USER, "Where?"), (MODEL, "There."), (USER, "Why?"))
    same = talk((SYSTEM, "Be brief."), (USER, "Where?"), (MODEL, "There."), (USER, "How come?"))
    others = (
        talk((SYSTEM, "Be long."), (USER, "Where?"), (MODEL, "There."), (USER, "Why?")),
        talk((SYSTEM, "Be brief."), (USER, "When?"), (MODEL, "There."), (USER, "Why?")),
        talk((USER, "Why?")),
        GenerationRequest(prompt="Why?"),
    )
    assert await partition_of(base) == await partition_of(same)
    assert len({await partition_of(one) for one in (base, *others)}) == 5


def test_a_chat_that_ends_with_the_model_asks_nothing():
    assert asked_last(talk((USER, "Where?"), (MODEL, "There.")))[0] == ""


async def test_an_answer_to_a_similar_question_is_not_kept_as_that_of_the_question_itself():
    cache, near, sticky = Cache(), near_cache(), StickyChoice()
    similar = link(Similars(found()), Following(*answer_events()))
    caching = Caching(cache, near, sticky, similar, 5.0, 1.0)
    savings = SavingsTable()
    chain = NearCaching(near, sticky, savings, SingleFlight(near, caching, 60.0))
    for _ in range(2):
        begun = started(await collect(chain.generate(keyed(ALLOWING), CONTEXT)))
        assert (begun.cache, begun.similarity) == (CacheStatus.SIMILAR, 0.93)
    assert cache.kept == {}
    assert [(saved.kind, spared.hits) for saved, spared in savings.rows()] == [("similar", 2)]


async def test_a_gateway_that_keeps_none_refuses_the_wish_by_name():
    with pytest.raises(RouterError, match=r"cache\.similar: .*gateway\.similar"):
        await collect(Admission(Following()).generate(ALLOWING, CONTEXT))
    following = Following(*answer_events())
    assert await collect(Admission(following, similar=True).generate(ALLOWING, CONTEXT))


def cosine(one, other):
    return sum(a * b for a, b in zip(hashed(one), hashed(other), strict=True))


def test_directions_by_words_have_length_one_and_are_near_where_words_are():
    assert math.isclose(cosine("Where is Rome?", "Where is Rome?"), 1.0)
    assert cosine("Where is Rome?", "Tell me where Rome is.") > 0.5
    assert cosine("Where is Rome?", "Bake a cake.") < 0.3
    assert set(hashed("?!")) == {0.0}
