"""The strategy `cascade` and ensembles, from a client through the whole suite."""

import pytest
from tests.integration.routing.scripted import Script, suite

from llmrouter.common.errors import Reason
from llmrouter.v1 import selector_pb2
from llmrouter_client import AsyncClient, Delta, LlmrouterError

CATALOG = {
    "small": {"quality": 0.3, "input_price": 1, "output_price": 1},
    "large": {"quality": 0.9, "input_price": 50, "output_price": 50},
}
CASCADE = {"strategy": "cascade", "temperature": 0}


def paired(small, large):
    return {"small": small, "large": large}


@pytest.fixture
async def suited(tmp_path):
    """Starts a suite of these scripts and a client of it."""
    stack = []

    async def start(scripts, catalog=CATALOG, **settings):
        running = suite(tmp_path, scripts, catalog, **settings)
        stack.append(running)
        made = await running.__aenter__()
        client = AsyncClient(made.gateway)
        stack.append(client)
        return made, client

    yield start
    for one in reversed(stack):
        await one.__aexit__(None, None, None)


async def test_a_sure_cheap_model_answers_alone_and_the_cost_is_told(suited):
    running, client = await suited(paired(Script("Paris", 0.9), Script("Paris", 0.9)))
    answer = await client.generate("Which city?", **CASCADE)
    assert (answer.text, answer.model) == ("Paris", "small")
    assert running.inference.asked == ["small"]
    assert answer.cost == pytest.approx(2000 / 1e6)
    assert answer.choices[0].logprobs == ()
    assert answer.attempts[0].confidence == pytest.approx(0.9)


async def test_an_unsure_cheap_model_leads_to_the_dear_one_and_both_are_paid(suited):
    running, client = await suited(paired(Script("Lyon", 0.2), Script("Paris", 0.9)))
    answer = await client.generate("Which city?", **CASCADE)
    assert (answer.text, answer.model) == ("Paris", "large")
    small, large = answer.attempts
    assert (small.model, small.set_aside) == ("small", "confidence 0.20 is below 0.40")
    assert answer.cost == pytest.approx(small.cost + large.cost) == pytest.approx(0.102)
    costs = (await running.selector.ListCosts(selector_pb2.ListCostsRequest(kind="model"))).costs
    assert {one.name: one.actual for one in costs} == pytest.approx({"small": 0.002, "large": 0.1})
    plan = (
        await running.selector.Explain(selector_pb2.ExplainRequest(plan_id=answer.plan_id))
    ).plan
    assert plan.mode == selector_pb2.PLAN_MODE_CASCADE
    rated = await client.rate(answer, verdict=True)
    assert rated.model == "large"


async def test_the_caller_says_how_sure_it_must_be(suited):
    _, client = await suited(paired(Script("Lyon", 0.5), Script("Paris", 0.9)))
    for wish, model in ((0.4, "small"), (0.95, "large")):
        answer = await client.generate("Which city?", min_confidence=wish, **CASCADE)
        assert answer.model == model


async def test_the_operator_says_how_sure_it_must_be(suited):
    gateway = {"cascade": {"threshold": 0.1}}
    _, client = await suited(paired(Script("Lyon", 0.2), Script("Paris")), gateway=gateway)
    assert (await client.generate("Which city?", **CASCADE)).model == "small"


async def test_a_cascade_is_never_answered_by_what_a_model_said_unjudged(suited):
    _, client = await suited(paired(Script("Lyon", 0.2), Script("Paris", 0.9)))
    assert (await client.generate("Which city?", model="small", temperature=0)).text == "Lyon"
    assert (await client.generate("Which city?", **CASCADE)).text == "Paris"


async def test_where_the_dear_model_fails_the_unsure_answer_is_given(suited):
    scripts = paired(Script("Lyon", 0.2), Script(error=Reason.QUEUE_FULL))
    _, client = await suited(scripts)
    async with client.stream("Which city?", **CASCADE) as stream:
        events = [event async for event in stream]
    assert "".join(one.text for one in events if isinstance(one, Delta)) == "Lyon"
    assert "not sure" in stream.started.reason
    assert [one.error_reason for one in events[-1].attempts] == ["QUEUE_FULL", ""]


TRIO = {name: {"quality": 0.5, "input_price": 1, "output_price": 1} for name in "abc"}
VOTERS = {"a": Script("Lyon", 0.5), "b": Script("Paris", 0.9), "c": Script("lyon.", 0.7)}
WISE = {"quality": 0.1, "input_price": 3, "output_price": 3}


async def asked(client, **ensemble):
    return await client.generate("Which city?", temperature=0, ensemble={"models": 3, **ensemble})


async def test_an_ensemble_answers_by_vote_or_by_confidence(suited):
    running, client = await suited(VOTERS, TRIO)
    voted = await asked(client)
    assert voted.text.strip(".").lower() == "lyon"
    assert "2 of 3 answers agree" in voted.reason
    surest = await asked(client, election="confidence")
    assert (surest.text, surest.model) == ("Paris", "b")
    assert surest.cost == pytest.approx(3 * 0.002)
    assert running.inference.asked.count("b") == 2


async def test_an_ensemble_answers_by_a_judge(suited):
    def prefers_paris(question):
        return next(str(place) for place in (1, 2, 3) if f"Answer {place}:\nParis" in question)

    scripts = {**VOTERS, "wise": Script(prefers_paris)}
    running, client = await suited(scripts, {**TRIO, "wise": WISE})
    answer = await asked(client, election="judge", judge="wise")
    assert answer.text == "Paris"
    assert answer.reason == "b was elected: the judge prefers b"
    assert answer.cost == pytest.approx(3 * 0.002 + 0.006)
    assert running.inference.asked[-1] == "wise"


async def refused(client, **options):
    with pytest.raises(LlmrouterError) as caught:
        await client.generate("Which city?", temperature=0, **options)
    return f"{caught.value.reason}: {caught.value}"


async def test_what_cannot_be_meant_is_refused_naming_the_field(suited):
    _, client = await suited(VOTERS, TRIO)
    assert "only 3 may answer: a, b, c" in await refused(client, ensemble={"models": 4})
    judge = {"models": 2, "election": "judge"}
    for options, told in (
        ({"ensemble": {"models": 1}}, "routing.ensemble.models is 1; it must be 2 to 8"),
        ({"ensemble": {"models": 9}}, "routing.ensemble.models is 9"),
        ({"ensemble": judge}, "routing.ensemble.judge is empty; name the model that judges"),
        ({"ensemble": {"models": 2, "judge": "a"}}, "routing.ensemble.judge is given with"),
        ({"ensemble": {**judge, "judge": "nobody"}}, "UNKNOWN_MODEL"),
        ({"ensemble": {"models": 2}, "model": "a"}, "routing.ensemble is given beside the model"),
        ({"ensemble": {"models": 2}, "n": 2}, "sampling.n is 2; an ensemble gives one answer"),
        ({"ensemble": {"models": 2, "election": "luck"}}, "routing.ensemble.election is 'luck'"),
        ({"ensemble": {"models": 2, "size": 2}}, "routing.ensemble has 'size'"),
        ({"min_confidence": 1.5}, "routing.min_confidence is 1.5; 0 to 1"),
        ({"strategy": "casacde"}, "UNKNOWN_STRATEGY"),
    ):
        assert told in await refused(client, **options)
