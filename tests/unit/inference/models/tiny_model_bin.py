"""A CTranslate2 `model.bin` written byte by byte, so that any part of it can lie."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

TYPES = ("float32", "int8", "int16", "int32", "float16")
_REVISIONS = {"TransformerSpec": 7}
"""Of specifications, as CTranslate2 4 loads them; of others it is 8."""
WIDTH, HEADS, INNER = 8, 2, 6

Arrays = dict[str, np.ndarray]


def decoder_only(vocab: int, positions: int = 0) -> Arrays:
    """The variables of a decoder of one layer, as CTranslate2's converters name them."""
    return _stack("decoder", "embeddings", vocab, positions) | {
        "decoder/projection/weight": _matrix(vocab, WIDTH),
        "decoder/alignment_layer": np.int16(-1),
        "decoder/alignment_heads": np.int16(1),
    }


def encoder_decoder(vocab: int, positions: int = 0) -> Arrays:
    """Those of an encoder and of a decoder that attends to it."""
    cross = "decoder/layer_0/attention"
    return (
        _stack("encoder", "embeddings_0", vocab, positions)
        | decoder_only(vocab, positions * 2)
        | {
            f"{cross}/linear_0/weight": _matrix(WIDTH, WIDTH),
            f"{cross}/linear_1/weight": _matrix(2 * WIDTH, WIDTH),
            f"{cross}/linear_2/weight": _matrix(WIDTH, WIDTH),
        }
    )


def model_bin(
    variables: Mapping[str, np.ndarray],
    aliases: Sequence[tuple[str, str]] = (),
    *,
    specification: str = "TransformerDecoderSpec",
    version: int = 6,
) -> bytes:
    """Return the file with these variables."""
    parts = [struct.pack("<I", version), _text(specification)]
    parts.append(struct.pack("<I", _REVISIONS.get(specification, 8)))
    parts.append(struct.pack("<I", len(variables)))
    for name, value in variables.items():
        array = np.asarray(value)
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        kind = struct.pack("<BI", TYPES.index(array.dtype.name), array.nbytes)
        parts += [_text(name), shape, kind, array.tobytes()]
    parts.append(struct.pack("<I", len(aliases)))
    parts += [_text(one) for pair in aliases for one in pair]
    return b"".join(parts)


def _stack(name: str, embeddings: str, vocab: int, positions: int) -> Arrays:
    layer = f"{name}/layer_0"
    found = {
        f"{name}/num_heads": np.int16(HEADS),
        f"{name}/pre_norm": np.int8(1),
        f"{name}/{embeddings}/weight": _matrix(vocab, WIDTH),
        f"{name}/layer_norm/gamma": np.ones(WIDTH, np.float32),
        f"{name}/layer_norm/beta": np.zeros(WIDTH, np.float32),
        f"{layer}/self_attention/linear_0/weight": _matrix(3 * WIDTH, WIDTH),
        f"{layer}/self_attention/linear_0/bias": np.zeros(3 * WIDTH, np.float32),
        f"{layer}/self_attention/linear_1/weight": _matrix(WIDTH, WIDTH),
        f"{layer}/self_attention/layer_norm/gamma": np.ones(WIDTH, np.float32),
        f"{layer}/ffn/linear_0/weight": _matrix(INNER, WIDTH),
        f"{layer}/ffn/linear_1/weight": _matrix(WIDTH, INNER),
    }
    if positions:
        found[f"{name}/position_encodings/encodings"] = _matrix(positions, WIDTH)
    return found


def _matrix(rows: int, columns: int) -> np.ndarray:
    return np.full((rows, columns), 0.1, np.float32)


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"
