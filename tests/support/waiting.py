"""Waiting for what tells nobody when it comes."""

import asyncio
import inspect

__all__ = ["until"]


async def until(holds, seconds=30, pause=0.005):
    """Return what `holds()` gives, or its coroutine, as soon as that is true.

    Args:
        holds: Looks once.
        seconds: Until TimeoutError is raised; a guard, many times what is usual.
        pause: Seconds between two looks.
    """
    async with asyncio.timeout(seconds):
        while True:
            found = holds()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(pause)
