"""The question of the demo, with the demo's own model, through all four services."""

from __future__ import annotations

import pytest
from tests.integration.models.driving import demo_folder

from llmrouter import suite
from llmrouter_client import AsyncClient

pytestmark = pytest.mark.model

QUESTION = "What is the capital of France? Answer in one sentence."
GREEDY = {"temperature": 0.0, "max_tokens": 32}


async def test_a_real_model_says_that_the_capital_is_paris_and_the_cache_says_it_again(tmp_path):
    model = demo_folder("fp32")
    config = tmp_path / "llmrouter.yaml"
    config.write_text(
        f"cache: {{disk_max_bytes: 0}}\n"
        f"inference: {{models: [{model.path.name}], slots: 2, context: 256}}\n"
    )
    async with (
        suite.running(config, ports="free", store=model.path.parent) as addresses,
        AsyncClient(addresses.gateway) as client,
    ):
        pieces = [piece async for piece in client.stream(QUESTION, **GREEDY)]
        whole = await client.generate(QUESTION, **GREEDY)
    assert "Paris" in whole.text
    assert len(pieces) > 5
    assert (whole.model, whole.cached) == (model.path.name, True)
