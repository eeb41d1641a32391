"""What packing answers saves and costs, on paragraphs of Python's own documentation."""

import asyncio
import statistics
import time
from pydoc_data.topics import topics

from llmrouter.cache.compression import Packer
from llmrouter.v1 import cache_pb2
from llmrouter.v1 import generation_pb2 as g


def _answers():
    """Answers of 100 to 2,000 bytes, as they are stored."""
    paragraphs = (part.strip() for text in topics.values() for part in text.split("\n\n"))
    return [
        cache_pb2.CachedAnswer(
            model="smollm2-135m-instruct-int8", version="0123456789ab",
            choices=[g.Choice(text=text, reason=g.FINISH_REASON_STOP)],
            usage=g.Usage(prompt_tokens=100 + len(text) % 77, completion_tokens=len(text) // 4),
        ).SerializeToString()
        for text in dict.fromkeys(paragraphs)
        if 100 <= len(text) <= 2_000
    ]  # fmt: skip


async def _measure(packer, payloads):
    packing, unpacking, packed_bytes = [], [], 0
    for payload in payloads:
        began = time.perf_counter()
        codec, packed = await packer.pack(payload)
        between = time.perf_counter()
        assert await packer.unpack(codec, packed) == payload
        unpacking.append(time.perf_counter() - between)
        packing.append(between - began)
        packed_bytes += len(packed)
    share = packed_bytes / sum(map(len, payloads))
    return share, statistics.median(packing) * 1e6, statistics.median(unpacking) * 1e6


async def _run():
    answers = _answers()
    packer, judged = Packer(), answers[1::2]
    plain = await _measure(packer, judged)
    for payload in answers[::2]:
        if packer.sample(payload):
            break
    dictionary = await packer.train()
    if dictionary is not None:
        packer.use(dictionary)
    learned = await _measure(packer, judged)
    return {
        "packing_answers": float(len(judged)),
        "packing_mean_bytes": sum(map(len, judged)) / len(judged),
        "packed_share_plain": plain[0],
        "packed_share_with_dictionary": learned[0],
        "pack_with_dictionary_us": learned[1],
        "unpack_with_dictionary_us": learned[2],
    }


def measure_packing():
    """Shares of the bytes before, and medians in microseconds, of answers it did not learn from."""
    return asyncio.run(_run())
