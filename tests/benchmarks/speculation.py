"""What drafting from the text itself brings: each question with drafts and without, in turn.

The ratio of a pair compares runs that follow each other; the figure is the median over the pairs.
"""

import asyncio
import statistics
from contextlib import AsyncExitStack

from rich.progress import track
from tests.benchmarks.report import Report

from llmrouter.common.generation import Message, Role, SamplingOptions
from llmrouter.common.settings import data_directory
from llmrouter.inference.backends.base import BackendFinished, BackendOptions, BackendRequest
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.text import load_text

MODEL = "smollm2-135m-instruct-int8"
PAIRS = 9
MAX_TOKENS = 96
HARBOUR = (
    "The lighthouse keeper counted the ships as they came in: one at dawn, two before noon, and a "
    "third, slower than the others, when the fog had already closed over the harbour."
)
LIBRARY = (
    "The library opens at nine on weekdays and at ten on Saturdays. Members may borrow six books "
    "for three weeks. Late returns cost twenty cents a day."
)
QUESTIONS = {
    "quote": "Summarise the following text in one sentence, then quote it word for word.\n\n"
    f"Text: {HARBOUR}",
    "paraphrase": f"Summarize this notice and quote its second sentence: {LIBRARY}",
    "open": "Why is the sky blue?",
}
STREAMS = (2, 4)
TARGETS = {"quote_over_plain": ("at_least", 1.5), "open_over_plain": ("at_least", 0.95)}


def run():
    """Return tokens per second of decoding per question and side, and the ratios."""
    return Report("speculation", asyncio.run(_measure()), TARGETS)


async def _measure():
    folder = data_directory() / "models" / MODEL
    text = load_text(read_folder(folder))
    asks = {
        name: BackendRequest(
            text.encode_chat([Message(Role.USER, (said,))]),
            SamplingOptions(temperature=0, max_tokens=MAX_TOKENS),
        )
        for name, said in QUESTIONS.items()
    }
    figures = {"quote_prompt_tokens": float(len(asks["quote"].prompt_tokens))}
    async with AsyncExitStack() as stack:
        sides = []
        for tokens in (0, BackendOptions().speculation_tokens):
            options = BackendOptions(
                threads=2, slots=4, context=1024, speculation_tokens=tokens, speculation_always=True
            )
            sides.append(await OnnxRuntimeBackend.load(folder, options))
            stack.push_async_callback(sides[-1].close)
        for name, ask in asks.items():
            figures |= await _compare(name, sides, [ask])
        now = sides[1].statistics()
        figures["accepted_share_alone"] = now.accepted_tokens / now.drafted_tokens
        for streams in STREAMS:
            figures |= await _compare(f"quote_{streams}_streams", sides, [asks["quote"]] * streams)
    return figures


async def _compare(name, sides, asks):
    """One pair more than counted: the first warms both sides up, their prefixes too."""
    pairs = [
        [await _rate(side, asks) for side in sides]
        for _ in track(range(PAIRS + 1), f"{name}, in turn")
    ][1:]
    return {
        f"{name}_plain_tokens_per_second": statistics.median(plain for plain, _ in pairs),
        f"{name}_drafted_tokens_per_second": statistics.median(drafted for _, drafted in pairs),
        f"{name}_over_plain": statistics.median(drafted / plain for plain, drafted in pairs),
    }


async def _rate(backend, asks):
    """Mean over the streams of tokens per second after the first token."""
    ends = await asyncio.gather(*(_end(backend, ask) for ask in asks))
    return statistics.mean((end.completion_tokens - 1) / end.decode for end in ends)


async def _end(backend, ask):
    async for event in backend.generate(ask):
        if isinstance(event, BackendFinished):
            return event
    raise AssertionError("the stream ended without its last event")
