"""The thread that turns texts into tokens: turns, cancelling, bounds."""

import asyncio
import threading

import pytest
from tests.integration.embedding.tiny_encoder import CONTEXT, write_encoder

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.backends.encoding import TextEncoder, portions
from llmrouter.inference.models.embedding_folder import read_embedding_folder
from llmrouter.inference.models.text_files import load_tokenizer

LONG = "red " * 5000
"""A portion of its own."""


class Gated:
    """A tokenizer that waits to be let through; what it encodes is noted."""

    def __init__(self, tokenizer):
        self.tokenizer, self.encoded = tokenizer, []
        self.gate, self.at_gate = threading.Event(), threading.Event()

    def num_special_tokens_to_add(self, is_pair):
        return self.tokenizer.num_special_tokens_to_add(is_pair)

    def encode(self, text, **options):
        self.encoded.append(text.split()[0])
        self.at_gate.set()
        self.gate.wait(20)
        return self.tokenizer.encode(text, **options)


@pytest.fixture
def folder(tmp_path):
    return read_embedding_folder(write_encoder(tmp_path / "tiny"))


@pytest.fixture
def tokenizers(folder):
    """The tokenizer that waits, and the one that cuts."""
    cutter = load_tokenizer(folder.path, folder.vocab_size)
    cutter.enable_truncation(folder.context_length)
    return Gated(load_tokenizer(folder.path, folder.vocab_size)), cutter


@pytest.fixture
def encoder(folder, tokenizers):
    made = TextEncoder(folder, *tokenizers, max_requests=2)
    yield made
    tokenizers[0].gate.set()
    made.close()


async def begun(encoder, tokenizers, *texts):
    task = asyncio.create_task(encoder.encode(texts, truncate=True))
    await asyncio.to_thread(tokenizers[0].at_gate.wait, 20)
    return task


@pytest.mark.parametrize("text", ["red", "red " * (CONTEXT - 2), "red green " * 20])
async def test_encoded_once_a_text_has_the_tokens_of_the_tokenizer_that_cuts(
    encoder, tokenizers, text
):
    tokenizers[0].gate.set()
    (found,) = await encoder.encode([text], truncate=True)
    assert found.tokens == tokenizers[1].encode(text).ids
    assert found.truncated is (len(text.split()) > CONTEXT - 2)
    assert len(tokenizers[0].encoded) == 1


async def test_a_request_that_is_cancelled_costs_the_text_that_has_begun(encoder, tokenizers):
    task = await begun(encoder, tokenizers, *[LONG] * 64)
    task.cancel()
    await asyncio.wait([task])
    tokenizers[0].gate.set()
    await encoder.encode(["blue"], truncate=True)
    assert tokenizers[0].encoded == ["red", "blue"]


async def test_encoding_leaves_the_threads_of_others_alone(encoder, tokenizers):
    task = await begun(encoder, tokenizers, LONG)
    waiting = [asyncio.create_task(encoder.encode(["red"], truncate=True)) for _ in range(100)]
    async with asyncio.timeout(15):
        assert await asyncio.to_thread(lambda: 7) == 7
    tokenizers[0].gate.set()
    await task
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_requests_take_turns(encoder, tokenizers):
    tokens, _ = tokenizers
    first = await begun(encoder, tokenizers, *[LONG] * 3)
    second = asyncio.create_task(encoder.encode(["blue"], truncate=True))
    await asyncio.sleep(0)
    tokens.gate.set()
    await asyncio.gather(first, second)
    assert tokens.encoded == ["red", "blue", "red", "red"]


async def test_more_requests_than_may_be_encoded_are_refused(encoder, tokenizers):
    tasks = [await begun(encoder, tokenizers, "red"), await begun(encoder, tokenizers, "red")]
    await asyncio.sleep(0)
    with pytest.raises(RouterError) as refused:
        await encoder.encode(["red"], truncate=True)
    assert refused.value.reason is Reason.QUEUE_FULL
    assert refused.value.retry_after > 0
    tokenizers[0].gate.set()
    await asyncio.gather(*tasks)
    await encoder.encode(["red"], truncate=True)


async def test_closing_refuses_what_comes_and_what_has_not_begun(encoder, tokenizers):
    task = await begun(encoder, tokenizers, LONG, LONG)
    encoder.close()
    tokenizers[0].gate.set()
    for refused in (task, encoder.encode(["red"], truncate=True)):
        with pytest.raises(RouterError) as closing:
            await refused
        assert closing.value.reason is Reason.MODEL_UNAVAILABLE


def test_texts_are_cut_into_portions_of_bounded_length():
    texts = ["aaaa", "bb", "c", "dddddddd", "", "e"]
    assert list(portions(texts, 6)) == [range(2), range(2, 3), range(3, 4), range(4, 6)]
    assert list(portions(texts, 1000)) == [range(6)]
    assert list(portions([], 6)) == []
