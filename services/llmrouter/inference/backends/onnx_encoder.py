"""An encoder in ONNX form: rows of tokens in, one vector of each out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.embedding_folder import EmbeddingFolder, Pooling

__all__ = ["OnnxEncoder", "open_encoder", "pool"]

_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
_OUTPUTS = ("last_hidden_state", "token_embeddings")

Floats = NDArray[np.float32]


class OnnxEncoder:
    """A graph on ONNX Runtime; `open_encoder` makes one. Safe to use from several threads."""

    def __init__(self, folder: EmbeddingFolder, session: onnxruntime.InferenceSession) -> None:
        self._folder = folder
        self._session: Any = session
        self._inputs = [one.name for one in session.get_inputs()]
        self._output = _output_name(folder, session)

    def vectors(self, rows: Sequence[Sequence[int]], options: onnxruntime.RunOptions) -> Floats:
        """Return one vector per row, [rows, dimensions].

        Args:
            rows: Tokens, at least one each.
            options: Setting `terminate` of them on another thread ends the computation.

        Raises:
            ValueError: The graph gave an output of another shape than its tokens have.
            Exception: Whatever ONNX Runtime raises, which has kinds of its own.
        """
        ids, mask = self._pad(rows)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        inputs = {name: feeds[name] for name in self._inputs}
        hidden = np.asarray(self._session.run([self._output], inputs, options)[0])
        shape = (*ids.shape, self._folder.dimensions)
        if hidden.shape != shape:  # others might be spread over the rows without a word
            raise ValueError(f"{self._output} has the shape {hidden.shape}; it must be {shape}")
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
        options = onnxruntime.RunOptions()
        watch = threading.Timer(patience, setattr, (options, "terminate", True))
        watch.start()
        try:
            self.vectors([row], options)
        except Exception as error:  # the library raises kinds of its own
            raise RouterError(
                Reason.MODEL_UNAVAILABLE,
                f"{self._folder.model_file}: cannot compute a text of {length} tokens, as many as "
                f"the folder says, within {patience:g} s: {error}",
            ) from error
        finally:
            watch.cancel()

    def close(self) -> None:
        """Free the weights; nothing may be computing. Safe to call twice."""
        self._session = None

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


def open_encoder(folder: EmbeddingFolder, threads: int) -> OnnxEncoder:
    """Load the graph; takes a second, so call it in a thread.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file and what is wrong with it.
    """
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    # Idle threads sleep: others compute on the same cores. Shapes change from batch to batch, so
    # memory that is kept for one is not what the next needs.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.enable_mem_pattern = False
    settings.enable_cpu_mem_arena = False
    try:
        session = onnxruntime.InferenceSession(
            str(folder.model_file), settings, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the library raises kinds of its own
        raise RouterError(
            Reason.MODEL_UNAVAILABLE, f"cannot load {folder.model_file}: {error}"
        ) from error
    unknown = sorted({one.name for one in session.get_inputs()} - _INPUTS)
    if unknown:
        raise RouterError(
            Reason.MODEL_UNAVAILABLE,
            f"{folder.model_file}: needs the input '{unknown[0]}', which encoders here do not get",
        )
    return OnnxEncoder(folder, session)


def _output_name(folder: EmbeddingFolder, session: onnxruntime.InferenceSession) -> str:
    """Return the output that holds a vector per token, of the configured width."""
    for one in session.get_outputs():
        if one.name not in _OUTPUTS or len(one.shape) != 3:
            continue
        width = one.shape[-1]  # a number, or the name of a size that varies
        if not isinstance(width, int) or width == folder.dimensions:
            return str(one.name)
    raise RouterError(
        Reason.MODEL_UNAVAILABLE,
        f"{folder.model_file}: has no output {' or '.join(_OUTPUTS)} of shape "
        f"[texts, tokens, {folder.dimensions}]",
    )
