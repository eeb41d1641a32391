"""What of a turn waits for its reader takes little memory, however small its pieces are."""

import asyncio

import pytest
from tests.support.traced import traced

from llmrouter.common import merging
from llmrouter.common.generation import Delta, Finished, TokenLogprob, TopLogprob
from llmrouter.gateway import reply as reply_module
from llmrouter.gateway.reply import Credit, Reply

MOST = 24 << 10


def logprobs_of(number, tops):
    if tops is None:
        return ()
    top = tuple(
        TopLogprob(5000 + number + i, -i / 7, f"t{number}{i}".encode()) for i in range(tops)
    )
    return (TokenLogprob(5000 + number, -number / 7, f"w{number}".encode(), top),)


async def fill(reply, tops):
    """Put deltas until there is no room for more; return how many there are."""
    number = 0
    while True:
        number += 1
        delta = Delta(0, f"w{number} ", 1, logprobs_of(number, tops), (1000 + number,))
        try:
            await asyncio.wait_for(reply.put(delta), 0.01)
        except TimeoutError:
            return number


@pytest.mark.parametrize("tops", [None, 0, 20], ids=["text", "logprobs", "top 20"])
async def test_what_waits_takes_at_most_so_many_bytes(tops):
    credit = Credit()
    credit.grant(1)
    reply = Reply(credit)
    with traced(__file__, reply_module.__file__, merging.__file__) as taken:
        count = await fill(reply, tops)
        assert count > 1
        assert taken() <= MOST


async def test_many_that_merge_on_the_way_lose_nothing():
    reply = Reply(Credit())
    for number in range(1000):
        await reply.put(Delta(0, f"{number} ", 1))
    await reply.put(Finished())
    whole = await reply.take()
    assert (whole.text, whole.tokens) == ("".join(f"{number} " for number in range(1000)), 1000)
    assert await reply.take() == Finished()
