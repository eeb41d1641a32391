"""CTranslate2's two kinds of models behind one call: a batch of prompts, a callback per token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import ctranslate2

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.ctranslate2_folder import CTranslate2Folder

__all__ = ["BatchModel", "OnToken", "open_model"]

OnToken = Callable[[int, int], bool]
"""Takes a prompt's place in the batch and a generated token; True ends that prompt's answer."""


class BatchModel(Protocol):
    """A model that answers whole batches of prompts."""

    def run(
        self,
        prompts: Sequence[list[str]],
        limits: Sequence[int],
        on_token: OnToken,
        drawing: dict[str, Any],
    ) -> None:
        """Generate until every answer has ended or every limit is reached.

        Args:
            prompts: Tokens as CTranslate2 knows them.
            limits: Tokens to generate, one limit per prompt; an answer may be told more.
            on_token: Called from CTranslate2's own thread while this call waits.
            drawing: CTranslate2's options for drawing.
        """
        ...

    def unload(self) -> None:
        """Free the weights and end CTranslate2's threads, waiting for them; safe to call twice."""
        ...


class _Decoder:
    """A decoder-only model: the answer goes on where the prompt ends."""

    def __init__(self, generator: ctranslate2.Generator, ends: Sequence[int]) -> None:
        self._generator: Any = generator
        self._ends = list(ends)

    def run(
        self,
        prompts: Sequence[list[str]],
        limits: Sequence[int],
        on_token: OnToken,
        drawing: dict[str, Any],
    ) -> None:
        lengths = [len(prompt) for prompt in prompts]
        # Prompts past the shortest are fed step by step, and these steps count.
        longest = max(map(sum, zip(limits, lengths, strict=True)))
        self._generator.generate_batch(
            list(prompts),
            max_length=longest - min(lengths),
            include_prompt_in_result=False,
            end_token=self._ends,
            callback=lambda result: on_token(result.batch_id, result.token_id),
            **drawing,
        )

    def unload(self) -> None:
        # Unloading alone leaves its threads, and a process that ends beside them is aborted: the
        # last reference waits for them.
        self._generator = None


class _EncoderDecoder:
    """A model that reads the whole prompt and answers apart from it, such as T5."""

    def __init__(self, translator: ctranslate2.Translator, ends: Sequence[int]) -> None:
        self._translator: Any = translator
        self._ends = list(ends)

    def run(
        self,
        prompts: Sequence[list[str]],
        limits: Sequence[int],
        on_token: OnToken,
        drawing: dict[str, Any],
    ) -> None:
        self._translator.translate_batch(
            list(prompts),
            beam_size=1,  # tokens of several beams cannot be told before the last
            max_input_length=0,
            max_decoding_length=max(limits),
            end_token=self._ends,
            callback=lambda result: on_token(result.batch_id, result.token_id),
            **drawing,
        )

    def unload(self) -> None:
        self._translator = None  # as above


def open_model(folder: CTranslate2Folder, threads: int) -> BatchModel:
    """Load the weights; takes a second, so call it in a thread.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the folder and what CTranslate2 says of it.
    """
    options = {"device": "cpu", "inter_threads": 1, "intra_threads": threads}
    try:
        if folder.encodes:
            translator = ctranslate2.Translator(str(folder.path), **options)
            return _EncoderDecoder(translator, folder.eos_token_ids)
        return _Decoder(ctranslate2.Generator(str(folder.path), **options), folder.eos_token_ids)
    # Out of its reach it raises IndexError too: std::out_of_range.
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        raise RouterError(
            Reason.MODEL_UNAVAILABLE, f"cannot load {folder.path}: {error}"
        ) from error
