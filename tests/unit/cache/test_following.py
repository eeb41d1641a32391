"""A service keeps in step with its shared store, and lets go of it when it closes."""

import asyncio

from llmrouter.cache.claims import Claims
from llmrouter.cache.compression import Packer
from llmrouter.cache.following import Following
from llmrouter.cache.leases import Leases
from llmrouter.cache.shared_store import SharedNews
from llmrouter.common.errors import Reason, RouterError

NEWS = SharedNews(b"i" * 16, 1, 0, has_dictionary=False, marks=())


class Hanging:
    """The first look answers; the next one, cancelled, fails as a broken connection does."""

    def __init__(self):
        self.looks = 0
        self.hangs = asyncio.Event()

    async def look(self):
        self.looks += 1
        if self.looks == 2:
            self.hangs.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise RouterError(Reason.STORE_FAILED, "connection closed") from None
        return NEWS


async def test_closing_ends_a_look_whose_cancelling_was_taken_for_a_failure():
    invalidations = Hanging()
    following = Following(None, invalidations, Packer(), Claims(Leases()))
    await following.start()
    await invalidations.hangs.wait()
    await asyncio.wait_for(following.close(), 30)
    assert invalidations.looks == 2
