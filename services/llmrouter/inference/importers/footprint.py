"""How much memory a model will count for once it is loaded, told before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.importers.decoder import DecoderCheckpoint
from llmrouter.inference.importers.genai_config import write_genai_config
from llmrouter.inference.importers.graph import graph_bytes
from llmrouter.inference.models.counted import Counted, count_decoder, position_bytes
from llmrouter.inference.models.folder import folder_bytes
from llmrouter.inference.models.shape import DecoderShape

__all__ = ["Footprint", "decoder_footprints"]

_CARD_BYTES = 16 << 10
"""At least as much as a card has, with all that is measured later."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a model counts for at one precision."""

    precision: str
    counted: Counted

    @property
    def total(self) -> int:
        """In bytes."""
        return self.counted.total


def decoder_footprints(
    checkpoint: DecoderCheckpoint,
    precisions: Sequence[str],
    cache_tokens: int | None,
    options: BackendOptions,
) -> list[Footprint]:
    """Return what a service would count for the folders that a checkpoint becomes.

    The files are planned to the byte, but for the card.

    Args:
        checkpoint: What would be converted; its vectors are read.
        precisions: Each of which.
        cache_tokens: Tokens, of all sequences together, whose keys and values are held while they
            run; None takes the memory that `options` gives them.
        options: How the service runs models.
    """
    with TemporaryDirectory() as place:
        checkpoint.write_texts(Path(place))
        write_genai_config(Path(place), checkpoint.model)
        beside = folder_bytes(Path(place)) + _CARD_BYTES
    return [_footprint(checkpoint, one, beside, cache_tokens, options) for one in precisions]


def _footprint(
    checkpoint: DecoderCheckpoint,
    precision: str,
    beside: int,
    cache_tokens: int | None,
    options: BackendOptions,
) -> Footprint:
    model = checkpoint.model
    shape = DecoderShape(
        size_bytes=graph_bytes(model, checkpoint.tensors, precision) + beside,
        context_length=model.context,
        layers=model.layers,
        heads=model.heads,
        kv_heads=model.kv_heads,
        head_size=model.head_size,
        hidden_size=model.hidden,
        vocab_size=model.vocab_size,
        quantised=precision != "fp32",
    )
    if cache_tokens is not None:
        options = replace(options, cache_bytes=cache_tokens * position_bytes(shape, options))
    return Footprint(precision, count_decoder(shape, options))
