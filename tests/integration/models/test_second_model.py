"""The larger model of the catalog as it lies in the store, beside the demo model."""

from __future__ import annotations

import pytest
from tests.integration.models.driving import demo_folder, stored_folder

from llmrouter import suite
from llmrouter.common.generation import Message, Role
from llmrouter.inference.models.text import load_text
from llmrouter_client import AsyncClient

pytestmark = pytest.mark.model

MODEL = "qwen2.5-coder-0.5b-instruct"
SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"


@pytest.mark.parametrize(("precision", "most_lost"), [("int8", 0.01), ("int4", 0.08)])
def test_its_card_says_what_it_is_and_what_its_precision_costs(
    precision: str, most_lost: float
) -> None:
    folder = stored_folder(MODEL, precision)
    card = folder.card
    assert card is not None
    assert (card.licence, card.source.sha256) == ("Apache-2.0", SHA256)
    assert (folder.layers, folder.heads, folder.kv_heads, folder.vocab_size) == (24, 14, 2, 151_936)
    assert 490_000_000 < card.parameters < 640_000_000
    quality = card.quality
    assert quality is not None
    assert quality.reference_perplexity < 30
    assert quality.perplexity <= quality.reference_perplexity * (1 + most_lost)


def test_its_template_opens_and_closes_turns_by_control_tokens() -> None:
    text = load_text(stored_folder(MODEL, "int8"))
    ids = text.encode_chat([Message(Role.USER, ("Hi",))])
    assert text.encode("<|im_start|>") == [151_644]
    assert text.encode("<|im_end|>") == [151_645]
    assert (ids.count(151_644), ids.count(151_645)) == (3, 2)


async def test_quality_first_takes_it_and_it_knows_what_6_times_7_is(tmp_path) -> None:
    better, other = stored_folder(MODEL, "int8"), demo_folder("int8")
    config = tmp_path / "llmrouter.yaml"
    config.write_text(
        "cache: {disk_max_bytes: 0}\n"
        f"inference: {{models: [{better.path.name}, {other.path.name}], slots: 2, context: 256}}\n"
    )
    async with (
        suite.running(config, ports="free", store=better.path.parent) as addresses,
        AsyncClient(addresses.gateway) as client,
    ):
        answer = await client.generate(
            "What is 6 times 7?", temperature=0.0, max_tokens=32, strategy="quality-first"
        )
    assert answer.model == better.path.name
    assert "42" in answer.text
