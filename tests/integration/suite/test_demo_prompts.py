"""Prompts of many bytes and few tokens, and the other way round, on the demo model."""

from __future__ import annotations

import pytest
from tests.integration.models.driving import demo_folder

from llmrouter import suite
from llmrouter_client import AsyncClient, LlmrouterError

pytestmark = pytest.mark.model

CONTEXT = 1024
DASHES = ("-" * 79 + "\n") * 300
INDENTED = (" " * 48 + "return None\n") * 120
DIGITS = "1234567890" * 110
"""Each digit is a token: more of them than the context holds, though bytes promise 330."""


@pytest.fixture
async def client(tmp_path):
    model = demo_folder("int8")
    config = tmp_path / "llmrouter.yaml"
    config.write_text(
        f"cache: {{disk_max_bytes: 0}}\n"
        f"inference: {{models: [{model.path.name}], slots: 2, context: {CONTEXT}}}\n"
    )
    async with (
        suite.running(config, ports="free", store=model.path.parent) as addresses,
        AsyncClient(addresses.gateway) as client,
    ):
        yield client


@pytest.mark.parametrize("prompt", [DASHES, INDENTED])
async def test_a_prompt_that_fits_is_answered_however_many_bytes_it_has(client, prompt):
    answer = await client.generate(prompt, temperature=0.0, max_tokens=2)
    assert answer.usage.prompt_tokens < CONTEXT < len(prompt) / 5


async def test_a_prompt_that_does_not_fit_is_refused_by_its_exact_count(client):
    with pytest.raises(LlmrouterError) as refused:
        await client.generate(DIGITS, temperature=0.0, max_tokens=2)
    numbers = refused.value.metadata
    assert (refused.value.reason, numbers["context"]) == ("CONTEXT_TOO_LONG", str(CONTEXT))
    # The chat template takes some tokens too.
    assert len(DIGITS) < int(numbers["prompt_tokens"]) < len(DIGITS) + 50


async def test_of_what_no_text_of_its_size_can_fit_the_least_is_told(client):
    with pytest.raises(LlmrouterError, match=r"at least 1025 tokens") as refused:
        await client.generate("a" * (81 * CONTEXT + 1), temperature=0.0, max_tokens=2)
    assert refused.value.reason == "CONTEXT_TOO_LONG"
