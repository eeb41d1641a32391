"""One service of four is lost and comes back: what clients see meanwhile and afterwards."""

import asyncio
import contextlib
import os
import sys

import pytest
from tests.integration.engine.tiny_model import TinyShape, write_tiny_folder
from tests.integration.suite.conftest import four_processes
from tests.support.waiting import until

from llmrouter_client import AsyncClient, Delta, LlmrouterError

GREEDY = {"temperature": 0.0, "max_tokens": 8}
LONG = {"temperature": 1.0, "max_tokens": 12_000, "min_tokens": 12_000, "seed": 1}
PATIENCE = 30


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("tall")
    write_tiny_folder(root / "tall", TinyShape(context=16_384))
    return root


async def restarted(running, name, path):
    """Start a service again that was killed; four_processes ends it."""
    await running[name].communicate()
    running[name] = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"llmrouter.{name}", "--config", str(path),
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "LLMROUTER_ENV": "production"},
    )  # fmt: skip


async def until_refused(client, reason):
    """Ask what is in no cache until it is refused for `reason`; return the refusal."""

    async def refused():
        try:
            await client.generate("new", cache=False, **GREEDY)
        except LlmrouterError as error:
            return error if error.reason == reason else None

    return await until(refused, PATIENCE, pause=0.05)


async def until_served(client):
    async def served():
        with contextlib.suppress(LlmrouterError):
            return await client.generate("new", cache=False, **GREEDY)

    return await until(served, PATIENCE, pause=0.05)


@pytest.mark.parametrize(
    ("lost", "who"),
    [("gateway", r"127.0.0.1:\d+ broke the answer off"), ("inference", "tall broke")],
)
async def test_a_service_killed_in_mid_answer_is_told_with_how_much_came(config, lost, who):
    path, ports = config
    async with (
        four_processes(path, ports) as running,
        AsyncClient(f"127.0.0.1:{ports['gateway']}") as client,
        client.stream("abcd", **LONG) as stream,
    ):
        tokens = []

        async def read():
            async for event in stream:
                if isinstance(event, Delta):
                    tokens.append(event.tokens)
                    if running[lost].returncode is None:
                        running[lost].kill()

        with pytest.raises(LlmrouterError, match=who) as broken:
            await read()
    assert (broken.value.reason, broken.value.code.name) == ("ANSWER_BROKEN_OFF", "UNAVAILABLE")
    assert int(broken.value.metadata["delivered_tokens"]) == sum(tokens) > 0


async def test_without_inference_kept_answers_are_given_and_it_serves_again_once_back(config):
    path, ports = config
    async with (
        four_processes(path, ports) as running,
        AsyncClient(f"127.0.0.1:{ports['gateway']}", retries=0) as client,
    ):
        first = await client.generate("abcd", **GREEDY)
        running["inference"].kill()
        away = await until_refused(client, "MODEL_UNAVAILABLE")
        # Five failures open its breaker, if they come before its silence is noticed.
        silent = f"127.0.0.1:{ports['inference']} does not answer"
        assert silent in away.message or "circuit breaker is open" in away.message
        assert away.retry_after == 1.0
        kept = await client.generate("abcd", **GREEDY)
        assert (kept.text, kept.version, kept.cached) == (first.text, first.version, True)
        await restarted(running, "inference", path)
        again = await until_served(client)
        assert (again.model, again.cached) == ("tall", False)
        later = await client.generate("abcd", **GREEDY)
        assert (later.text, later.cached) == (first.text, True)
