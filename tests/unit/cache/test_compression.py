"""Payloads come back as they were, smaller where that pays."""

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.cache import compression
from llmrouter.cache.compression import Codec, Packer
from llmrouter.cache.record import RecordError

WORDS = ["the", "answer", "of", "model", "is", "that", "Paris", "capital", "France", "because"]


def prose(seed, words=60):
    chosen = random.Random(seed)  # noqa: S311
    text = " ".join(chosen.choice(WORDS) + str(chosen.randrange(30)) for _ in range(words))
    return text.encode()


@given(st.binary(max_size=3_000), st.booleans())
async def test_what_is_packed_comes_back_as_it_was(payload, twice):
    packer = Packer()
    payload = payload * 2 if twice else payload
    codec, packed = await packer.pack(payload)
    assert len(packed) <= len(payload)
    assert await packer.unpack(codec, packed) == payload


@pytest.mark.parametrize("size", [1, 127, 128, 1_000, 70_000, 1_000_000])
async def test_text_of_any_length_comes_back(size):
    packer, payload = Packer(), b"ab" * (size // 2) + b"c" * (size % 2)
    codec, packed = await packer.pack(payload)
    assert codec == (Codec.PLAIN if size < 128 else Codec.ZSTD)
    assert await packer.unpack(codec, packed) == payload


async def test_what_packing_would_not_make_smaller_stays_as_it_is():
    noise = os.urandom(5_000)
    assert await Packer().pack(noise) == (Codec.PLAIN, noise)


async def test_a_dictionary_is_learned_once_and_what_was_packed_without_it_stays_readable():
    packer = Packer()
    before = await packer.pack(prose(0))
    ready = [packer.sample(prose(seed)) for seed in range(600)]
    assert ready.count(True) == 1
    dictionary = await packer.train()
    packer.use(dictionary)
    after = await packer.pack(prose(0))
    assert len(after[1]) < 0.9 * len(before[1])
    later = Packer([dictionary])
    for codec, packed in (before, after):
        assert await packer.unpack(codec, packed) == prose(0)
        assert await later.unpack(codec, packed) == prose(0)
    with pytest.raises(RecordError, match="unpacked"):
        await Packer().unpack(*after)
    assert not later.sample(prose(1))


async def test_a_dictionary_that_would_not_pay_is_not_kept():
    packer = Packer()
    for _ in range(512):
        packer.sample(os.urandom(300))
    assert await packer.train() is None


async def test_frames_that_are_damaged_or_claim_too_much_are_refused(monkeypatch):
    packer = Packer()
    codec, packed = await packer.pack(prose(0))
    for damaged in (b"", packed[:10], b"x" * 50, packed[:-8]):
        with pytest.raises(RecordError):
            await packer.unpack(codec, damaged)
    monkeypatch.setattr(compression, "_LARGEST", 100)
    with pytest.raises(RecordError, match="too many"):
        await packer.unpack(codec, packed)
