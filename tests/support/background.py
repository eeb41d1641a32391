"""Servers in a thread of their own, for callers that block."""

import asyncio
import contextlib
import threading

__all__ = ["in_background"]


async def _ended():
    """End what still runs: a loop that is closed over it has it told in another test."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for one in others:
        one.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextlib.contextmanager
def in_background(serving, seconds=60):
    """Enter the async context that `serving` makes in a loop of a thread; yields what it yields."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work):
        async def awaited():
            return await work()

        return asyncio.run_coroutine_threadsafe(awaited(), loop).result(seconds)

    async def made():
        return serving()

    context = run(made)
    found = run(context.__aenter__)
    try:
        yield found
    finally:
        run(lambda: context.__aexit__(None, None, None))
        run(_ended)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(seconds)
        loop.close()
