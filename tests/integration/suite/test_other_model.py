"""What one model cannot honour is asked of the next, and told with field and bound by the last."""

import json

import pytest
from tests.integration.engine.tiny_model import TinyShape, write_tiny_folder

from llmrouter import suite
from llmrouter_client import AsyncClient, LlmrouterError

SMALL, LARGE = 288, 352
"""Tokens of the vocabularies."""


async def test_a_bias_of_a_token_that_one_model_lacks_leads_to_another(config, tmp_path):
    path, _ = config
    settings = json.loads(path.read_text())
    settings["selector"]["catalog"] = [{"name": "small", "quality": 1.0}, {"name": "large"}]
    path.write_text(json.dumps(settings))
    for name, vocabulary in (("small", SMALL), ("large", LARGE)):
        write_tiny_folder(tmp_path / "store" / name, TinyShape(vocabulary=vocabulary))
    asked = {"strategy": "quality-first", "max_tokens": 2, "temperature": 0.0}
    async with (
        suite.running(path, store=tmp_path / "store") as addresses,
        AsyncClient(addresses.gateway) as client,
    ):
        answer = await client.generate("abcd", **asked, logit_bias={SMALL: 1})
        with pytest.raises(LlmrouterError) as refused:
            await client.generate("abcd", **asked, logit_bias={LARGE: 1})
    tried = [(one.model, one.error_reason) for one in answer.attempts]
    assert tried == [("small", "UNSUPPORTED_OPTION"), ("large", "")]
    [violation] = refused.value.violations
    assert (refused.value.reason, refused.value.metadata["attempts"]) == ("UNSUPPORTED_OPTION", "2")
    assert violation.field == f"sampling.logit_bias[{LARGE}]"
    assert f"0 to {LARGE - 1}" in violation.description
