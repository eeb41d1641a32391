"""An encoder in ONNX form: rows of tokens in, one vector of each out."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmrouter import _native
from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.embedding_folder import EmbeddingFolder, Pooling

__all__ = ["OnnxEncoder", "open_encoder", "pool"]

_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
_OUTPUTS = ("last_hidden_state", "token_embeddings")
_VARIES = -1

Floats = NDArray[np.float32]


class OnnxEncoder:
    """A graph on ONNX Runtime; `open_encoder` makes one. Safe to use from several threads."""

    def __init__(self, folder: EmbeddingFolder, graph: _native.OrtEncoder) -> None:
        self._folder = folder
        self._graph: _native.OrtEncoder | None = graph
        self._inputs = [one.name for one in graph.inputs]
        self._output = _output_name(folder, graph)

    def vectors(self, rows: Sequence[Sequence[int]], ending: _native.RunEnding) -> Floats:
        """Return one vector per row, [rows, dimensions].

        Args:
            rows: Tokens, at least one each.
            ending: Ends the computation from another thread.

        Raises:
            EngineError: The graph failed, was ended, wanted more memory than the model may have, or
                gave an output of another shape than its tokens have.
        """
        if self._graph is None:
            raise RuntimeError("the encoder is closed")
        ids, mask = self._pad(rows)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        inputs = {name: feeds[name] for name in self._inputs}
        hidden = self._graph.run(
            self._output, width=self._folder.dimensions, feeds=inputs, ending=ending
        )
        vectors = pool(hidden, mask, self._folder.pooling)
        if self._folder.normalised:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def probe(self, tokens: Sequence[int], patience: float) -> None:
        """Compute one text that fills the context, `tokens` over and over.

        Raises:
            RouterError: MODEL_UNAVAILABLE where the graph cannot, or takes more than `patience`
                seconds.
        """
        length = self._folder.context_length
        row = [tokens[at % len(tokens)] for at in range(length)]
        ending = _native.RunEnding()
        watch = threading.Timer(patience, ending.end)
        watch.start()
        try:
            self.vectors([row], ending)
        except _native.EngineError as error:
            raise RouterError(
                Reason.MODEL_UNAVAILABLE,
                f"{self._folder.model_file}: cannot compute a text of {length} tokens, as many as "
                f"the folder says, within {patience:g} s: {error}",
            ) from error
        finally:
            watch.cancel()

    def close(self) -> None:
        """Free the weights; nothing may be computing. Safe to call twice."""
        self._graph = None

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        longest = max(len(row) for row in rows)
        ids = np.full((len(rows), longest), self._folder.pad_token_id, np.int64)
        mask = np.zeros((len(rows), longest), np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return ids, mask


def pool(hidden: Floats, mask: NDArray[np.int64], pooling: Pooling) -> Floats:
    """Return one vector per row.

    Args:
        hidden: [rows, positions, dimensions].
        mask: [rows, positions], 1 for tokens and 0 for padding; every row has a token.
        pooling: How the tokens' vectors become one.
    """
    weights = mask[:, :, None].astype(np.float32)
    match pooling:
        case Pooling.MEAN:
            pooled = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        case Pooling.CLS:
            pooled = hidden[:, 0]
        case Pooling.MAX:
            pooled = np.where(weights > 0, hidden, -np.inf).max(axis=1)
    return np.asarray(pooled, np.float32)


def open_encoder(folder: EmbeddingFolder, memory_limit: int) -> OnnxEncoder:
    """Load the graph; takes a second, so call it in a thread. ONNX Runtime is open already.

    Args:
        folder: The model.
        memory_limit: Bytes that ONNX Runtime may hold for it.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file and what is wrong with it.
    """
    try:
        graph = _native.OrtEncoder(str(folder.model_file), memory_limit=memory_limit)
    except _native.EngineError as error:
        raise RouterError(
            Reason.MODEL_UNAVAILABLE, f"cannot load {folder.model_file}: {error}"
        ) from error
    unknown = sorted({one.name for one in graph.inputs} - _INPUTS)
    if unknown:
        raise RouterError(
            Reason.MODEL_UNAVAILABLE,
            f"{folder.model_file}: needs the input '{unknown[0]}', which encoders here do not get",
        )
    return OnnxEncoder(folder, graph)


def _output_name(folder: EmbeddingFolder, graph: _native.OrtEncoder) -> str:
    """Return the output that holds a vector per token, of the configured width."""
    for one in graph.outputs:
        if one.name not in _OUTPUTS or len(one.shape) != 3:
            continue
        if one.shape[-1] in (folder.dimensions, _VARIES):
            return one.name
    raise RouterError(
        Reason.MODEL_UNAVAILABLE,
        f"{folder.model_file}: has no output {' or '.join(_OUTPUTS)} of shape "
        f"[texts, tokens, {folder.dimensions}]",
    )
