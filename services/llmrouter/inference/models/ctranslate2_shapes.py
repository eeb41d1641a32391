"""Whether the variables of a CTranslate2 model fit each other, since the library believes them.

It divides by the number of heads and reads as many values as the first matrix promises. So each
variable of a Transformer must have the shape that the others give it, and one that no rule here
speaks of is refused: nobody knows what is read by it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import NoReturn

from llmrouter.inference.models.ctranslate2_weights import Variable, Weights
from llmrouter.inference.models.untrusted_json import broken_file

__all__ = ["check_shapes"]

_DECODER_ONLY, _ENCODER_DECODER = "TransformerDecoderSpec", "TransformerSpec"
_MATRIX_TYPES = ("float32", "float16", "bfloat16", "int8", "int16")
_FLOAT_TYPES = ("float32", "float16", "bfloat16")
_QUANTISED = ("int8", "int16")
_MAX_HEADS = 1024
_MAX_WIDTH = 1 << 20
_FAR = 1 << 24
_SU_SCALING = 1
"""Of `rotary_scaling_type`: rotations divided by tables, which the library reads unasked."""
_SETTINGS: dict[str, tuple[float, float]] = {
    "activation": (0, 6),
    "alibi": (0, 1),
    "alibi_use_positive_positions": (0, 1),
    "embeddings_merge": (0, 1),
    "final_logit_softcapping": (0, math.inf),
    "layer_norm_use_residual": (0, 1),
    "layer_scalar": (-math.inf, math.inf),
    "max_position_embeddings": (1, _FAR),
    "multi_query": (0, 1),
    "multi_query_attention": (0, 1),
    "multiply_by_sqrt_depth": (-math.inf, math.inf),
    "original_max_position_embeddings": (1, _FAR),
    "pre_norm": (0, 1),
    "queries_scale": (-math.inf, math.inf),
    "relative_attention_max_distance": (1, _FAR),
    "rotary_base": (1e-6, math.inf),
    "rotary_high_freq_factor": (1e-6, math.inf),
    "rotary_interleave": (0, 1),
    "rotary_low_freq_factor": (1e-6, math.inf),
    "rotary_scaling_factor": (1e-6, math.inf),
    "scale_alibi": (0, 1),
    "scale_embeddings": (-math.inf, math.inf),
    "scale_outputs": (-math.inf, math.inf),
    "sliding_window": (1, _FAR),
    "start_from_zero_embedding": (0, 1),
}
"""Settings whose bounds do not depend on others, by the last part of their names."""


def check_shapes(weights: Weights, *, encodes: bool, vocab_size: int, remedy: str) -> int | None:
    """Return the positions that the model has learned; None where it has no table of them.

    Args:
        weights: What the file claims.
        encodes: Whether the folder is that of a model with an encoder.
        vocab_size: Tokens of the folder's vocabulary.
        remedy: What helps against a wrong file, for the error.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the variable, what it is and what it must be.
    """
    return _Check(weights, vocab_size, remedy).run(encodes)


def _scopes(names: Iterable[str]) -> Iterator[str]:
    """Tell every scope that a name lies in: of `a/b/c`, `a/b` and `a`."""
    for name in names:
        end = name.rfind("/")
        while end > 0:
            yield name[:end]
            end = name.rfind("/", 0, end)


class _Check:
    """The rules over one model; every variable that a rule speaks of is ticked off."""

    def __init__(self, weights: Weights, vocab_size: int, remedy: str) -> None:
        self._weights, self._vocab_size, self._remedy = weights, vocab_size, remedy
        self._open = dict(weights.variables)
        self._scopes = set(_scopes(weights.variables))

    def run(self, encodes: bool) -> int | None:
        wanted = _ENCODER_DECODER if encodes else _DECODER_ONLY
        if self._weights.specification != wanted:
            self._fail(f"holds a {self._weights.specification}, the vocabulary is a {wanted}'s")
        positions: list[int] = []
        read = 0
        if encodes:
            read = self._stack("encoder", "embeddings_0", 0, positions)
        self._stack("decoder", "embeddings", read, positions)
        self._settings()
        for name in self._open:
            self._fail(f"has the variable '{name}', which is not known here")
        return min(positions, default=None)

    def _stack(self, name: str, embeddings: str, read: int, positions: list[int]) -> int:
        """Check an encoder or decoder; `read` is the width of what its layers attend to, 0 of none.

        Returns its width.
        """
        heads = self._integer(f"{name}/num_heads", 1, _MAX_HEADS)
        embedded = self._columns(f"{name}/{embeddings}/weight")
        self._matrix(f"{name}/{embeddings}", self._vocab_size, embedded)
        width = embedded
        if self._has(f"{name}/project_in"):
            width = self._rows(f"{name}/project_in/weight")
            self._matrix(f"{name}/project_in", width, embedded)
        if name == "decoder":
            self._outputs(embedded, width)
        table = f"{name}/position_encodings/encodings"
        if table in self._open:
            positions.append(self._rows(table))
            self._array(table, (positions[-1], width))
        self._norms(name, ("layer_norm", "layernorm_embedding"), width)
        layers = self._layers(name)
        for index in range(layers):
            self._layer(f"{name}/layer_{index}", heads, width, read)
        if name == "decoder":
            self._alignment(layers, heads)
        return width

    def _outputs(self, embedded: int, width: int) -> None:
        leaving = width
        if self._has("decoder/project_out"):
            leaving = embedded
            self._matrix("decoder/project_out", embedded, width)
        self._matrix("decoder/projection", self._vocab_size, leaving)

    def _alignment(self, layers: int, heads: int) -> None:
        self._optional("decoder/alignment_layer", -layers, layers - 1)
        self._optional("decoder/alignment_heads", 0, heads)

    def _layers(self, name: str) -> int:
        pattern = re.compile(rf"{name}/layer_(0|[1-9][0-9]{{0,4}})/")
        found = {int(hit.group(1)) for one in self._open if (hit := pattern.match(one))}
        if not found or max(found) != len(found) - 1:
            self._fail(f"has {len(found)} layers '{name}/layer_N'; their N must count from 0")
        return len(found)

    def _layer(self, scope: str, heads: int, width: int, read: int) -> None:
        self._self_attention(f"{scope}/self_attention", heads, width)
        if read:
            self._cross_attention(f"{scope}/attention", heads, width, read)
        inner = self._rows(f"{scope}/ffn/linear_0/weight")
        self._matrix(f"{scope}/ffn/linear_0", inner, width)
        self._matrix(f"{scope}/ffn/linear_1", width, inner)
        if self._has(f"{scope}/ffn/linear_0_noact"):
            self._matrix(f"{scope}/ffn/linear_0_noact", inner, width)
        self._norms(f"{scope}/ffn", ("layer_norm",), width)
        names = (
            "input_layer_norm",
            "post_attention_layer_norm",
            "pre_feedforward_layer_norm",
            "post_feedforward_layer_norm",
            "shared_layer_norm",
            "external_pre_encoder_attention_layer_norm",
            "external_post_encoder_attention_layer_norm",
        )
        self._norms(scope, names, width)

    def _self_attention(self, scope: str, heads: int, width: int) -> None:
        size, kv_heads = self._heads(scope, heads, self._columns(f"{scope}/linear_1/weight"))
        self._matrix(f"{scope}/linear_0", (heads + 2 * kv_heads) * size, width)
        self._matrix(f"{scope}/linear_1", width, heads * size)
        self._attention(scope, heads, size, width)

    def _cross_attention(self, scope: str, heads: int, width: int, read: int) -> None:
        size, kv_heads = self._heads(scope, heads, self._columns(f"{scope}/linear_2/weight"))
        self._matrix(f"{scope}/linear_0", heads * size, width)
        self._matrix(f"{scope}/linear_1", 2 * kv_heads * size, read)
        self._matrix(f"{scope}/linear_2", width, heads * size)
        self._attention(scope, heads, size, width)

    def _heads(self, scope: str, heads: int, columns: int) -> tuple[int, int]:
        """Return the size of a head, and how many heads keys and values have."""
        size = self._optional(f"{scope}/head_dim", 1, _MAX_WIDTH) or columns // heads
        if size * heads != columns:
            self._fail(f"has {heads} heads of {size} in '{scope}', whose width is {columns}")
        kv_heads = self._optional(f"{scope}/num_heads_kv", 1, heads) or heads
        multi_query = self._open.get(f"{scope}/multi_query")
        if multi_query is not None and multi_query.value:
            kv_heads = 1
        if heads % kv_heads:
            self._fail(f"has {kv_heads} heads of keys for {heads} in '{scope}'; they must divide")
        return size, kv_heads

    def _attention(self, scope: str, heads: int, size: int, width: int) -> None:
        rotary = self._optional(f"{scope}/rotary_dim", 0, size)
        rotated = rotary or size
        if rotary is not None and rotated % 2:
            self._fail(f"rotates {rotated} values of a head in '{scope}'; they must be even")
        scaled = self._optional(f"{scope}/rotary_scaling_type", 0, 2)
        for name in ("rotary_scaling_long_factor", "rotary_scaling_short_factor"):
            if scaled == _SU_SCALING or f"{scope}/{name}" in self._open:
                self._array(f"{scope}/{name}", (rotated // 2,))
        self._norms(scope, ("layer_norm",), width)
        self._norms(scope, ("q_norm", "k_norm", "v_norm"), size)
        self._relative(scope, heads, size)

    def _relative(self, scope: str, heads: int, size: int) -> None:
        for name in ("relative_position_keys", "relative_position_values"):
            if f"{scope}/{name}" in self._open:
                rows = self._rows(f"{scope}/{name}")
                self._array(f"{scope}/{name}", (rows, size))
                if rows % 2 == 0:
                    self._fail(f"has {rows} rows in '{scope}/{name}'; they must be odd")
        bias = f"{scope}/relative_attention_bias"
        if bias in self._open:
            self._array(bias, (self._rows(bias), heads))
        left = self._optional(f"{scope}/relative_left_max_position", 0, _FAR) or 0
        right = self._optional(f"{scope}/relative_right_max_position", 0, _FAR) or 0
        keys = f"{scope}/relative_asymmetric_position_keys"
        self._array_if(keys, (left + right + 1, size))

    def _matrix(self, name: str, rows: int, columns: int) -> None:
        """Check a weight [rows, columns] with its scale and its bias."""
        weight = self._array(f"{name}/weight", (rows, columns), _MATRIX_TYPES)
        if weight.dtype in _QUANTISED:
            # 8 bits have a scale for each row, 16 bits one for all.
            scale = (rows,) if weight.dtype == "int8" else ()
            self._array(f"{name}/weight_scale", scale, ("float32",))
        self._array_if(f"{name}/bias", (rows,))

    def _norms(self, scope: str, names: tuple[str, ...], width: int) -> None:
        for name in names:
            if self._has(f"{scope}/{name}"):
                self._array(f"{scope}/{name}/gamma", (width,))
                self._array_if(f"{scope}/{name}/beta", (width,))

    def _settings(self) -> None:
        for name in list(self._open):
            bounds = _SETTINGS.get(name.rsplit("/", 1)[-1])
            if bounds is not None:
                self._number(name, *bounds)

    def _has(self, scope: str) -> bool:
        return scope in self._scopes

    def _rows(self, name: str) -> int:
        return self._extent(name, 0)

    def _columns(self, name: str) -> int:
        return self._extent(name, 1)

    def _extent(self, name: str, axis: int) -> int:
        shape = self._variable(name).shape
        if len(shape) != 2:
            self._fail(f"gives '{name}' the shape {list(shape)}; it must have two dimensions")
        return shape[axis]

    def _array_if(self, name: str, shape: tuple[int, ...]) -> None:
        if name in self._open:
            self._array(name, shape)

    def _array(
        self, name: str, shape: tuple[int, ...], types: tuple[str, ...] = _FLOAT_TYPES
    ) -> Variable:
        found = self._variable(name)
        if found.shape != shape:
            self._fail(f"gives '{name}' the shape {list(found.shape)}; it must be {list(shape)}")
        if found.dtype not in types:
            self._fail(f"gives '{name}' the type {found.dtype}; it must be {' or '.join(types)}")
        self._open.pop(name, None)
        return found

    def _integer(self, name: str, low: int, high: int) -> int:
        return int(self._number(name, low, high, whole=True))

    def _optional(self, name: str, low: int, high: int) -> int | None:
        return self._integer(name, low, high) if name in self._open else None

    def _number(self, name: str, low: float, high: float, *, whole: bool = False) -> float:
        found = self._variable(name)
        value = found.value
        if value is None:
            self._fail(f"gives '{name}' the shape {list(found.shape)}; it must be one number")
        self._open.pop(name, None)
        if not math.isfinite(value) or not low <= value <= high:
            self._fail(f"has '{name}' = {value}; it must be {low} to {high}")
        if whole and value != int(value):
            self._fail(f"has '{name}' = {value}; it must be a whole number")
        return value

    def _variable(self, name: str) -> Variable:
        found = self._weights.variables.get(name)
        if found is None:
            self._fail(f"lacks the variable '{name}'")
        return found

    def _fail(self, problem: str) -> NoReturn:
        raise broken_file(self._weights.file, problem, self._remedy)
