"""A caller who asks the gateways behind one name until it is ended: `calling.py ADDRESS`.

Writes a line of JSON for each question: the engine that answered, or what was told instead.
"""

import asyncio
import itertools
import json
import sys

from llmrouter_client import AsyncClient, LlmrouterError

AT_ONCE = 4
PAUSE = 0.05
TOKENS = 4
SECONDS = 30
"""A guard against waiting for ever, many times what is usual."""


async def call(client, numbers):
    for number in numbers:
        try:
            answer = await client.generate(f"{number}?", max_tokens=TOKENS, timeout=SECONDS)
            told = {"engine": answer.attempts[-1].address, "text": answer.text}
        except LlmrouterError as error:
            told = {"error": f"{error.reason}: {error.message}"}
        print(json.dumps(told), flush=True)  # noqa: T201 - this is what it is for
        await asyncio.sleep(PAUSE)


async def main(address):
    numbers = itertools.count()
    async with AsyncClient(address) as client:
        await asyncio.gather(*(call(client, numbers) for _ in range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
