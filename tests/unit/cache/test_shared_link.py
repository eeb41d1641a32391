"""A shared store that is slow counts as away until it is quick again."""

import asyncio

import pytest

from llmrouter.cache.settings import SharedSettings
from llmrouter.cache.shared_link import SharedLink
from llmrouter.common.errors import RouterError


async def slow(client):
    await asyncio.sleep(0.2)
    return "news"


async def quick(client):
    return "news"


async def test_a_server_that_is_late_is_called_back_by_an_answer_in_time_and_by_no_other():
    link = SharedLink(SharedSettings(address="127.0.0.1:1", timeout_seconds=0.1))
    with pytest.raises(RouterError, match="no answer within 100 ms"):
        await link.ask(slow)
    assert await link.probe(slow) == "news"
    assert link.away
    with pytest.raises(RouterError, match="is away"):
        await link.ask(quick)
    while link.away:  # on a busy machine a probe may take its time
        assert await link.probe(quick) == "news"
    assert await link.ask(quick) == "news"
    await link.close()
