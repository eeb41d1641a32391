"""A prompt whose tokens were underrated goes on to a model whose context holds it."""

import json

import pytest
from tests.integration.engine.tiny_model import TinyShape, write_tiny_folder

from llmrouter import suite
from llmrouter_client import AsyncClient, LlmrouterError

PROMPT = "abcd" * 125
"""500 tokens, a byte each; four bytes a token would make 125 of them."""


async def test_the_exact_count_leads_to_the_next_model_and_refuses_when_none_is_left(
    config, tmp_path
):
    path, _ = config
    settings = json.loads(path.read_text())
    settings["selector"]["catalog"] = [{"name": "narrow", "quality": 1.0}, {"name": "wide"}]
    path.write_text(json.dumps(settings))
    for name, context in (("narrow", 256), ("wide", 1024)):
        write_tiny_folder(tmp_path / "store" / name, TinyShape(context=context))
    async with (
        suite.running(path, store=tmp_path / "store") as addresses,
        AsyncClient(addresses.gateway) as client,
    ):
        narrow = {"model": "narrow", "max_tokens": 4, "temperature": 0.0}
        with pytest.raises(LlmrouterError) as refused:
            await client.generate(PROMPT, raw=True, **narrow)
        numbers = refused.value.metadata
        assert refused.value.reason == "CONTEXT_TOO_LONG"
        assert (numbers["prompt_tokens"], numbers["context"]) == ("500", "256")
        best = {"strategy": "quality-first", "max_tokens": 4, "temperature": 0.0}
        answer = await client.generate(PROMPT, raw=True, **best)
        tried = [(one.model, one.error_reason) for one in answer.attempts]
        assert tried == [("narrow", "CONTEXT_TOO_LONG"), ("wide", "")]
        assert answer.usage.prompt_tokens == 500
