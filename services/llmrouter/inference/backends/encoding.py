"""Turns the texts of requests for vectors into tokens, on a thread of its own.

The default threads of asyncio, which generation shares, take whatever is queued and never let go of
it. Here a request has one portion of its texts queued at a time, so that requests take turns, and
one that is cancelled costs no more than its portion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tokenizers import Tokenizer

from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.inference.models.embedding_folder import EmbeddingFolder

__all__ = ["EncodedText", "TextEncoder", "portions"]

_PORTION_CHARACTERS = 16_384
"""Encoding as many takes a few hundredths of a second."""
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class EncodedText:
    """The tokens of one text."""

    tokens: Sequence[int]
    """Control tokens included, within the model's context."""
    truncated: bool


class TextEncoder:
    """The tokenizer of one model.

    Args:
        folder: The model.
        tokenizer: Its tokenizer, which cuts nothing.
        cutter: The tokenizer again, cutting to the model's context.
        max_requests: Requests encoded at a time, taking turns, before QUEUE_FULL.
    """

    def __init__(
        self, folder: EmbeddingFolder, tokenizer: Tokenizer, cutter: Tokenizer, max_requests: int
    ) -> None:
        self._folder, self._tokenizer, self._cutter = folder, tokenizer, cutter
        self._control_tokens: int = tokenizer.num_special_tokens_to_add(False)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="llmrouter-encoding")
        self._max_requests, self._requests = max_requests, 0
        self._closed = False

    async def encode(self, texts: Sequence[str], *, truncate: bool) -> list[EncodedText]:
        """Return the tokens of each text; being cancelled leaves out what has not begun.

        Args:
            texts: At least one.
            truncate: Cut texts past the context rather than refuse them.

        Raises:
            RouterError: QUEUE_FULL with retry_after; CONTEXT_TOO_LONG naming both numbers;
                INVALID_ARGUMENT for a text without tokens; MODEL_UNAVAILABLE once closed.
        """
        if self._requests >= self._max_requests:
            raise RouterError(
                Reason.QUEUE_FULL,
                f"the texts of {self._requests} requests are being encoded, as many as may",
                retry_after=_RETRY_SECONDS,
            )
        found: list[EncodedText] = []
        self._requests += 1
        try:
            for portion in portions(texts, _PORTION_CHARACTERS):
                if self._closed:
                    raise RouterError(Reason.MODEL_UNAVAILABLE, "the model is being closed")
                found += await asyncio.get_running_loop().run_in_executor(
                    self._executor, self._encode, texts, portion, truncate
                )
        finally:
            self._requests -= 1
        return found

    def close(self) -> None:
        """Refuse what comes and leave what is queued; safe to call twice."""
        self._closed = True
        self._executor.shutdown(wait=False)

    def _encode(self, texts: Sequence[str], portion: range, truncate: bool) -> list[EncodedText]:
        return [self._encode_one(texts[index], index, truncate) for index in portion]

    def _encode_one(self, text: str, index: int, truncate: bool) -> EncodedText:
        if self._folder.lower_case:
            text = text.lower()
        bare = self._tokenizer.encode(text, add_special_tokens=False)
        tokens = len(bare.ids) + self._control_tokens
        longer = tokens > self._folder.context_length
        if not tokens:
            raise invalid(f"texts[{index}]", "has no tokens; it must hold text")
        if longer and not truncate:
            raise self._too_long(index, tokens)
        # Adds the control tokens, having cut to what leaves room for them.
        ids: list[int] = self._cutter.post_process(bare).ids
        return EncodedText(ids, truncated=longer)

    def _too_long(self, index: int, tokens: int) -> RouterError:
        context = self._folder.context_length
        return RouterError(
            Reason.CONTEXT_TOO_LONG,
            f"texts[{index}] has {tokens} tokens, {self._folder.name} takes {context}; "
            "shorten it or set truncate",
            metadata={"prompt_tokens": str(tokens), "context": str(context)},
        )


def portions(texts: Sequence[str], most: int) -> Iterator[range]:
    """Cut `texts` into runs of at most `most` characters together, or of one longer text."""
    begin, characters = 0, 0
    for index, text in enumerate(texts):
        if index > begin and characters + len(text) > most:
            yield range(begin, index)
            begin, characters = index, 0
        characters += len(text)
    if begin < len(texts):
        yield range(begin, len(texts))
