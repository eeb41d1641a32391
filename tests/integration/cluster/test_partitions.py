"""Hosts cut off from each other, far away, or lost: what can be answered is, and all recovers.

The bounds on time are guards against waiting for ever, several times what is usual.
"""

import asyncio
import contextlib
import itertools

import grpc
import pytest
from tests.support.cluster import Cluster, Shape
from tests.support.paced.llmrouter_paced import Pace, text_of
from tests.support.waiting import until

from llmrouter.v1 import model_pb2, selector_pb2
from llmrouter.v1.model_pb2_grpc import ModelServiceStub
from llmrouter.v1.selector_pb2_grpc import SelectorServiceStub
from llmrouter_client import Delta, Switched

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("may_have_clusters"),
]

PATIENCE = 40
QUICK = Pace(step=0.002)
_numbers = itertools.count()


@pytest.fixture
def cluster(tmp_path):
    defaults = {"pace": QUICK, "settings": {"selector": {"breaker": {"open_seconds": 2}}}}
    return lambda **shape: Cluster(Shape(**{**defaults, **shape}), tmp_path)


async def ask(client, tokens=4, **options):
    """Return the text and the engine of an answer that was not asked for before."""
    prompt = f"question {next(_numbers)}"
    answer = await client.generate(prompt, max_tokens=tokens, timeout=PATIENCE, **options)
    assert answer.text == text_of(tokens)
    return answer.attempts[-1].address


async def ask_many(client, count, **options):
    return await asyncio.gather(*(ask(client, **options) for _ in range(count)))


async def running_on(cluster):
    """Return the engine that generates something."""
    for engine in cluster.all("inference"):
        async with grpc.aio.insecure_channel(engine.address) as channel:
            listed = await ModelServiceStub(channel).List(model_pb2.ModelServiceListRequest())
        if any(model.statistics.running for model in listed.models):
            return engine
    raise AssertionError("no engine generates anything")


async def until_asked(client, address):
    """Return once answers come from an engine again."""

    async def answers():
        return await ask(client) == address

    await until(answers, PATIENCE, pause=0.05)


async def test_a_stream_from_an_engine_that_is_cut_off_without_a_word_goes_on_elsewhere(
    cluster, lines
):
    async with cluster(pace=Pace(step=0.01)) as made, made.client(retries=0) as client:
        tokens, said, switches, line, lost = 600, [], [], None, None
        async with client.stream("long", max_tokens=tokens, timeout=PATIENCE) as stream:
            async for event in stream:
                if isinstance(event, Switched):
                    switches.append(event)
                if isinstance(event, Delta):
                    said.append(event.text)
                if line is None and len(said) == 20:
                    lost = await running_on(made)
                    line = lines.between(made.all("gateway")[0].host, lost.host, cut=True)
        assert "".join(said) == text_of(tokens)
        assert [one.from_address for one in switches] == [lost.address]
        # New requests are answered while it is cut off, and by it, too, once it is not.
        assert lost.address not in await ask_many(client, 20)
        line.cut = False
        await until_asked(client, lost.address)


async def test_an_engine_that_vanishes_costs_no_request_and_is_asked_again_once_it_is_back(cluster):
    async with cluster() as made, made.client(retries=0) as client:
        first, second = made.all("inference")
        first.host.unplug()
        assert set(await ask_many(client, 60)) == {second.address}
        first.host.plug_in()
        await until_asked(client, first.address)
        for engine, other in ((first, second), (second, first)):
            engine.kill()
            assert set(await ask_many(client, 60)) == {other.address}
            engine.start()
            await engine.ready()
            await until_asked(client, engine.address)


async def test_selectors_without_their_redis_go_on_and_share_again_once_it_is_back(cluster, lines):
    async with cluster(selectors=2, redis=True) as made, made.client(retries=0) as client:
        [redis], selectors = made.all("redis"), made.all("selector")
        first, second = [one.address for one in made.all("inference")]
        cuts = [lines.between(one.host, redis.host, cut=True) for one in selectors]
        await ask_many(client, 60)
        await until(lambda: all_of(trouble_of, selectors))
        await ask_many(client, 60)
        await fail_at(selectors[0], first)
        assert [await broken_at(one) for one in selectors] == [{first}, set()]
        for line in cuts:
            line.cut = False
        await until(lambda: all_of(is_well, selectors))
        # What was not shared meanwhile is, and what comes after, both ways.
        await until(lambda: broken_at(selectors[1]))
        await fail_at(selectors[1], second)
        await until(lambda: is_broken_at(selectors[0], second))


async def all_of(told, selectors):
    return all([await told(one) for one in selectors])


@contextlib.asynccontextmanager
async def asking(selector):
    async with grpc.aio.insecure_channel(selector.address) as channel:
        yield SelectorServiceStub(channel)


async def trouble_of(selector):
    async with asking(selector) as stub:
        listed = await stub.ListCatalog(selector_pb2.ListCatalogRequest(), timeout=10)
    return listed.degraded


async def is_well(selector):
    return not await trouble_of(selector)


async def fail_at(selector, address):
    """Let one selector alone hear that an engine has failed as often as opens its breaker."""
    async with asking(selector) as stub:
        for number in range(5):
            who = {"request_id": f"failing {number}", "tenant": "default"}
            asked = selector_pb2.SelectRequest(context=who, prompt_bytes=9, capabilities=["chat"])
            plan = (await stub.Select(asked, timeout=10)).plan
            [one] = [each for each in plan.candidates if each.address == address]
            told = {"model": one.model, "version": one.version, "address": address}
            outcome = selector_pb2.Outcome(**told, error_reason="GENERATION_FAILED")
            reported = selector_pb2.ReportOutcomeRequest(plan_id=plan.id, outcomes=[outcome])
            assert (await stub.ReportOutcome(reported, timeout=10)).counted


async def broken_at(selector):
    """Return the engines whose breaker is not closed to a selector."""
    async with asking(selector) as stub:
        listed = await stub.ListBreakers(selector_pb2.ListBreakersRequest(), timeout=10)
    return {one.address for one in listed.breakers}


async def is_broken_at(selector, address):
    return address in await broken_at(selector)


@pytest.mark.parametrize("role", ["selector", "cache"])
async def test_one_that_vanishes_costs_no_request(cluster, role):
    async with cluster(selectors=2) as made, made.client(retries=0) as client:
        await ask_many(client, 20)
        vanished = made.all(role)[0]
        asking = asyncio.create_task(ask_many(client, 40))
        await asyncio.sleep(0.01)
        vanished.host.unplug()
        await asking
        await ask_many(client, 40)
        vanished.host.plug_in()
        await ask_many(client, 40)


async def test_a_gateway_that_vanishes_is_passed_by(cluster):
    async with cluster(gateways=2) as made, made.client() as client:
        await ask_many(client, 20)
        made.all("gateway")[0].host.unplug()
        await ask_many(client, 20)
        made.all("gateway")[0].host.plug_in()
        await ask_many(client, 20)


async def test_over_far_and_lossy_lines_every_request_is_answered(cluster, lines):
    async with cluster(selectors=2) as made, made.client(retries=0) as client:
        [gateway] = made.all("gateway")
        far = [*made.all("inference"), *made.all("selector"), *made.all("cache")]
        made_worse = [lines.between(gateway.host, one.host, delay=0.03, loss=0.05) for one in far]
        await ask_many(client, 60)
        async with client.stream("long", max_tokens=300, timeout=PATIENCE) as stream:
            said = [event.text async for event in stream if isinstance(event, Delta)]
        assert "".join(said) == text_of(300)
        assert sum(line.lost for line in made_worse) > 10
