"""Limits as callers over HTTP meet them: OpenAI's headers, statuses and codes."""

import openai
import pytest
from openai import AsyncOpenAI
from tests.unit.gateway.doubles import answer_events
from tests.unit.gateway.http.conftest import serving
from tests.unit.gateway.limits.doubles import asking

from llmrouter.common.errors import QuotaViolation, Reason, RouterError
from llmrouter.common.standing import Standing, Standings

QUESTION = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


class NoRoomError(RouterError):
    """A refusal as the limiter makes it."""

    def __init__(self, reason):
        quotas = (QuotaViolation("tenant acme", "2 requests per second"),)
        super().__init__(reason, "no room", retry_after=0.25, quotas=quotas)


@pytest.fixture
def told(api):
    """Have every request told how its limits stand, as the limiter would."""
    generate = api.chain.generate

    def telling(request, context):
        context.bill.standings.note(Standing("requests", 60, 12, 0.5))
        context.bill.standings.note(Standing("tokens", 40_000, 39_000.0, 360))
        return generate(request, context)

    api.chain.generate = telling
    return api


HEADERS = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "12",
    "x-ratelimit-reset-requests": "500ms",
    "x-ratelimit-limit-tokens": "40000",
    "x-ratelimit-remaining-tokens": "39000",
    "x-ratelimit-reset-tokens": "6m0s",
}


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_tells_what_is_left_under_openais_names(told, stream):
    told.chain.script = answer_events()
    raw = told.client.chat.completions.with_raw_response
    answer = await raw.create(**QUESTION, stream=stream)
    assert HEADERS.items() <= dict(answer.headers).items()


@pytest.mark.parametrize(
    ("reason", "code", "again"),
    [
        (Reason.RATE_LIMITED, "rate_limit_exceeded", "true"),
        (Reason.QUOTA_EXHAUSTED, "insufficient_quota", "false"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_a_429_that_says_when_to_come_back(told, reason, code, again, stream):
    told.chain.script = [NoRoomError(reason)]
    with pytest.raises(openai.RateLimitError) as refused:
        await told.client.chat.completions.create(**QUESTION, stream=stream)
    headers = refused.value.response.headers
    assert (refused.value.code, refused.value.type) == (code, "rate_limit_error")
    assert (headers["x-should-retry"], headers["retry-after-ms"]) == (again, "250")
    assert HEADERS.items() <= dict(headers).items()


async def test_openais_client_comes_back_by_itself_once_there_is_room(api):
    api.chain.scripts = {}
    scripts = [[NoRoomError(Reason.RATE_LIMITED)], answer_events()]
    generate = api.chain.generate

    def in_turn(request, context):
        api.chain.script = scripts.pop(0)
        return generate(request, context)

    api.chain.generate = in_turn
    url = f"http://{api.address}/v1"
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=1, timeout=10) as client:
        answer = await client.chat.completions.create(**QUESTION)
    assert answer.choices[0].message.content == "Paris"


async def test_without_limits_no_header_speaks_of_them(api):
    api.chain.script = answer_events()
    answer = await api.client.chat.completions.with_raw_response.create(**QUESTION)
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


async def test_health_says_what_is_wrong_with_the_limits_and_stays_well():
    wrong = ["Redis is away: requests are let in uncounted"]
    async with serving(trouble=lambda: wrong[0]) as api:

        async def health():
            return await api.client.get("/../health", cast_to=object)

        assert await health() == {"status": "degraded", "limits": wrong[0]}
        wrong[0] = ""
        assert await health() == {"status": "ok"}


def test_of_several_limits_the_one_of_which_least_is_left_is_told():
    standings = Standings()
    for limit, remaining in ((100, 50), (10, 1), (1000, 900)):
        standings.note(Standing("requests", limit, remaining, 1.5))
    assert dict(standings.told()) == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "1.5s",
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.0166, "17ms"), (59.5, "59.5s"), (61, "1m1s"), (86399, "23h59m59s")],
)
def test_times_are_written_as_openai_writes_them(seconds, text):
    standings = asking().bill.standings
    standings.note(Standing("tokens", 1, 1, seconds))
    assert dict(standings.told())["x-ratelimit-reset-tokens"] == text


def test_what_is_left_is_never_told_below_zero():
    standings = Standings()
    standings.note(Standing("dollars", 0.5, -0.25, 1))
    assert dict(standings.told())["x-ratelimit-remaining-dollars"] == "0"
