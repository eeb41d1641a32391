"""An answer that breaks off: who goes on with it, from what, and what is told of it."""

from dataclasses import replace

import pytest
from tests.unit.gateway.doubles import (
    CONTEXT,
    FIRST,
    GREEDY,
    PLAN,
    SECOND,
    Replanner,
    Reporter,
    Runner,
    answer_events,
    collect,
    error,
    planned,
    text,
)

from llmrouter.common.continuation import Continuation, Switched, Switching
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    Delta,
    Finished,
    FormatKind,
    ResponseFormat,
    RoutingWishes,
    SamplingOptions,
    Started,
    Usage,
)
from llmrouter.common.plan_mode import PlanMode
from llmrouter.common.prices import Prices
from llmrouter.gateway.answers import AnswerBuilder
from llmrouter.gateway.execution import Execution
from llmrouter.gateway.plan import Candidate, Plan, Tried

REPLICA = Candidate("first", "v1", "three:3")
BEGIN = [
    Started("request-1", "first", "v1", "because", prompt_tokens=9),
    Delta(0, "The ", 2, token_ids=(5, 6)),
    Delta(0, "capital", 1, token_ids=(7,)),
]
REST = answer_events("second", "v2", (" is", " Paris"))
SAID = Continuation("The capital", (5, 6, 7), 3)


def asked(switching=Switching.ANY, **sampling):
    return replace(
        GREEDY,
        sampling=SamplingOptions(temperature=0, **sampling),
        routing=RoutingWishes(switching=switching),
    )


async def execute(runner, plan=PLAN, request=GREEDY, *, replanner=None, **settings):
    reporter = Reporter()
    execution = Execution(runner, reporter, replanner or Replanner(), **settings)
    return await collect(execution.generate(planned(request, plan), CONTEXT))


async def test_another_model_goes_on_with_the_text_and_the_stream_says_so():
    runner = Runner(first=[*BEGIN, error()], second=REST)
    events = await execute(runner)
    assert text(events) == "The capital is Paris"
    assert [type(event) for event in events].count(Started) == 1
    assert events[3] == Switched(
        from_model="first",
        from_version="v1",
        from_address="one:1",
        model="second",
        version="v2",
        address="two:2",
        reason="ANSWER_BROKEN_OFF",
        tokens=3,
    )
    assert runner.begun == [None, Continuation("The capital", (), 3)]


async def test_the_same_version_goes_first_and_by_the_tokens_themselves():
    plan = Plan("plan-1", (FIRST, SECOND, REPLICA))
    again = answer_events("first", "v1", (" is",))
    runner = Runner(first=[*BEGIN, error()], second=REST)
    runner.infer_first = iter([runner.scripts["first"], again])

    def infer(candidate, request, context, begun=None):
        if candidate.model == "first":
            runner.scripts["first"] = next(runner.infer_first)
        return Runner.infer(runner, candidate, request, context, begun)

    runner.infer = infer
    events = await execute(runner, plan)
    assert text(events) == "The capital is"
    assert runner.calls == ["first", "first"]
    assert runner.begun == [None, SAID]
    assert events[-1].usage == Usage(9, 4)
    assert [one.address for one in events[-1].attempts] == ["one:1", "three:3"]


async def test_the_end_tells_what_all_parts_took_and_cost():
    priced = replace(FIRST, prices=Prices(1.0, 10.0))
    runner = Runner(first=[*BEGIN, error()], second=REST)
    events = await execute(runner, Plan("p", (priced, SECOND)))
    end = events[-1]
    assert end.usage == Usage(9, 5)
    lost, went_on = end.attempts
    assert (lost.error_reason, lost.usage) == ("ANSWER_BROKEN_OFF", Usage(9, 3))
    assert (went_on.error_reason, went_on.usage) == ("", Usage(3, 2))
    assert end.cost == pytest.approx(priced.prices.cost(Usage(9, 3)))


async def test_it_may_break_off_again_and_again():
    third = Candidate("third", "v3", "three:3")
    runner = Runner(
        first=[*BEGIN, error()],
        second=[*REST[:2], error(Reason.GENERATION_FAILED)],
        third=answer_events("third", "v3", (" Paris",)),
    )
    events = await execute(runner, Plan("p", (FIRST, SECOND, third)))
    assert text(events) == "The capital is Paris"
    assert [one.tokens for one in events if isinstance(one, Switched)] == [3, 4]
    assert runner.begun[2] == Continuation("The capital is", (), 4)
    assert events[-1].usage == Usage(9, 5)


async def test_who_cannot_go_on_is_passed_by():
    third = Candidate("third", "v3", "three:3")
    runner = Runner(
        first=[*BEGIN, error()],
        second=[error(Reason.UNSUPPORTED_OPTION)],
        third=answer_events("third", "v3", (" is",)),
    )
    events = await execute(runner, Plan("p", (FIRST, SECOND, third)))
    assert text(events) == "The capital is"
    [switch] = [one for one in events if isinstance(one, Switched)]
    assert (switch.from_model, switch.model) == ("first", "third")


async def test_a_spent_plan_is_followed_by_one_whose_models_can_go_on():
    other = Candidate("other", "v9", "nine:9")
    replanner = Replanner(Plan("plan-2", (other,), mode=PlanMode.CASCADE))
    runner = Runner(first=[*BEGIN, error()], other=answer_events("other", "v9", (" is",)))
    events = await execute(runner, Plan("p", (FIRST,)), replanner=replanner)
    assert text(events) == "The capital is"
    assert replanner.asked == [(Tried(FIRST, sent=True),)]


async def test_when_nobody_can_go_on_the_caller_learns_what_came():
    runner = Runner(first=[*BEGIN, error()], second=[error(Reason.QUEUE_FULL)])
    with pytest.raises(RouterError, match="first broke its answer off after 3 tokens") as failure:
        await execute(runner)
    assert failure.value.reason is Reason.ANSWER_BROKEN_OFF
    assert failure.value.metadata == {"delivered_tokens": "3", "attempts": "2"}


@pytest.mark.parametrize(
    "request_",
    [
        asked(Switching.OFF),
        asked(Switching.SAME_VERSION),
        asked(n=2),
        asked(logprobs=True),
        asked(response_format=ResponseFormat(FormatKind.JSON_OBJECT)),
    ],
    ids=["off", "same version", "several", "logprobs", "format"],
)
async def test_what_may_not_be_gone_on_with_has_broken_off(request_):
    runner, replanner = Runner(first=[*BEGIN, error()], second=REST), Replanner(PLAN)
    with pytest.raises(RouterError) as failure:
        await execute(runner, PLAN, request_)
    assert failure.value.reason is Reason.ANSWER_BROKEN_OFF
    assert runner.calls == ["first"]
    assert not replanner.asked


@pytest.mark.parametrize("request_", [asked(Switching.SAME_VERSION), asked(logprobs=True)])
async def test_a_replica_may_where_it_must_be_the_same(request_):
    replica = replace(REPLICA, model="second", version="v2")
    begin = [replace(BEGIN[0], model="second", version="v2"), *BEGIN[1:]]
    runner = Runner(first=[error()], second=[*begin, error()])
    plan = Plan("p", (FIRST, SECOND, replica))
    with pytest.raises(RouterError):
        await execute(runner, plan, request_)
    assert runner.begun == [None, None, SAID]


async def test_the_gateway_may_allow_less_than_the_request():
    runner = Runner(first=[*BEGIN, error()], second=REST)
    with pytest.raises(RouterError):
        await execute(runner, switching=Switching.OFF)
    assert runner.calls == ["first"]


@pytest.mark.parametrize("reason", [Reason.SLOW_READER, Reason.DEADLINE_EXCEEDED])
async def test_what_nobody_can_mend_is_told_at_once(reason):
    runner = Runner(first=[*BEGIN, error(reason)], second=REST)
    with pytest.raises(RouterError) as failure:
        await execute(runner)
    assert failure.value.reason is reason
    assert failure.value.metadata["delivered_tokens"] == "3"


@pytest.mark.parametrize(("version", "kept"), [("v1", True), ("v2", False)])
def test_only_an_answer_of_one_version_is_complete_to_be_kept(version, kept):
    builder = AnswerBuilder()
    switch = Switched(
        from_model="first",
        from_version="v1",
        from_address="one:1",
        model="first",
        version=version,
        address="two:2",
        reason="DRAINING",
        tokens=2,
    )
    for event in (*answer_events()[:2], switch, *answer_events()[2:]):
        builder.add(event)
    assert (builder.complete() is not None) is kept
    assert builder.choices()[0].text == "Paris"


async def test_a_delta_without_its_tokens_leaves_the_text_to_go_on_from():
    unknown = [*BEGIN, Delta(0, "?", 1)]
    plan = Plan("p", (FIRST, REPLICA))
    runner = Runner(first=[*unknown, error()])
    with pytest.raises(RouterError):
        await execute(runner, plan)
    assert runner.begun[1] == Continuation("The capital?", (), 4)


async def test_an_end_token_does_not_count_as_said():
    told = [*BEGIN, Delta(0, "!", 2, token_ids=(8,))]
    runner = Runner(first=[*told, error()], second=[*REST[:1], *REST[-2:]])
    events = await execute(runner)
    assert runner.begun[1].tokens == 4
    assert events[-1].usage.completion_tokens == 4 + Finished(Usage(3, 2)).usage.completion_tokens
