"""The demo model on CTranslate2, where both of its unquantised folders are in the store."""

import contextlib

import pytest
from tests.integration.models.driving import DEMO, Runner, demo_folder

from llmrouter.common.generation import Message, Role, SamplingOptions
from llmrouter.inference.backends.base import BackendOptions, BackendRequest, TokenDelta
from llmrouter.inference.models.text import load_text

pytest.importorskip("ctranslate2", reason="needs the extra `ctranslate2`")

from llmrouter.inference.backends.ctranslate2 import CTranslate2Backend

pytestmark = pytest.mark.model
QUESTIONS = (
    "What is the capital of France?",
    "Why is the sky blue? Answer in one sentence.",
    "Write the first two lines of a song about tea.",
)


@pytest.mark.parametrize("question", QUESTIONS)
async def test_it_says_what_the_unquantised_onnx_folder_says(question):
    exact = demo_folder("fp32")
    path = exact.path.parent / f"{DEMO}-ct2-fp32"
    if not (path / "llmrouter.json").is_file():
        pytest.skip(f"{path.name} is not in the store: import it with --importer gguf-ctranslate2")
    text = load_text(exact)
    prompt = text.encode_chat([Message(Role.USER, (question,))])
    backend = await CTranslate2Backend.load(path, BackendOptions())
    said = ""
    try:
        request = BackendRequest(prompt, SamplingOptions(temperature=0.0, max_tokens=24))
        async with contextlib.aclosing(backend.generate(request)) as events:
            async for event in events:
                said += event.text if isinstance(event, TokenDelta) else ""
    finally:
        await backend.close()
    assert said == text.decode(Runner(exact).greedy(prompt, 24))
