"""A provider on the loopback that answers by script, and remembers what it was asked."""

import asyncio
import contextlib
import json

from aiohttp import web


class FakeProvider:
    """`script` is a list of: bytes to send, seconds to wait, or a Response to answer with."""

    def __init__(self):
        self.script = []
        self.asked = []
        self.left = 0
        self.base_url = ""
        self.at_once = self.most_at_once = 0

    async def answer(self, request):
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((request.path, headers, await request.json()))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._play(request)
        except (asyncio.CancelledError, ConnectionError):
            self.left += 1
            raise
        finally:
            self.at_once -= 1

    async def _play(self, request):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        begun = False
        for step in self.script:
            if isinstance(step, dict):
                return web.Response(**step)
            if isinstance(step, (int, float)):
                await asyncio.sleep(step)
                continue
            if not begun:
                await response.prepare(request)
                begun = True
            await response.write(step)
        if not begun:
            await response.prepare(request)
        return response


@contextlib.asynccontextmanager
async def providing():
    """Run one on a free port."""
    fake = FakeProvider()
    app = web.Application()
    app.router.add_post("/{path:.*}", fake.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fake.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield fake
    finally:
        await runner.cleanup()


def events(*bodies):
    """Return server-sent events; a string stays as it is."""
    told = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
    return "".join(f"data: {one}\n\n" for one in told).encode()


def chunk(content=None, *, index=0, reason=None, **more):
    """Return one chunk of a chat."""
    delta = {} if content is None else {"content": content}
    return {"choices": [{"index": index, "delta": delta, "finish_reason": reason, **more}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}
ANSWER = events(chunk(""), chunk("Par"), chunk("is"), chunk(reason="stop"), USAGE, "[DONE]")
