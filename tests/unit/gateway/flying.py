"""What flights are tried with: a generation that goes as a script says, and who asks."""

import asyncio

from tests.unit.gateway.doubles import near_cache

from llmrouter.common.generation import RequestContext
from llmrouter.gateway.single_flight import SingleFlight


class Scripted:
    """Each generation takes the next script; an `asyncio.Event` in one waits."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.contexts = []
        self.ended = []

    def generate(self, request, context):
        self.contexts.append(context)
        return self._play(self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0])

    async def _play(self, script):
        try:
            for step in script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, BaseException):
                    raise step  # noqa: TRY301
                else:
                    yield step
                    await asyncio.sleep(0)
            self.ended.append("finished")
        except BaseException as ended:
            self.ended.append(type(ended).__name__)
            raise


def link(following, patience=300.0, near=None):
    return SingleFlight(near or near_cache(), following, patience)


def asking(number, deadline=None):
    return RequestContext(f"request-{number}", deadline=deadline)


async def began(stream):
    """Read the first event, so that a generation is in flight."""
    return await anext(stream)
