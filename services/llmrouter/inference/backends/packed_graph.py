"""Rewrites a graph so that the tokens of many sequences can stand side by side in one run.

ONNX Runtime's GroupQueryAttention computes either many tokens of a sequence or one token of many.
Our own attention finds each token's row, position and cache by itself: the graph then takes tokens
alone, [1, tokens], whoever they belong to. Everything else in a decoder treats a token without
looking at others; what is not known to do so leaves the graph to ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

__all__ = ["DecoderTensors", "pack_tokens"]

_CONTRIB = "com.microsoft"
_DOMAIN = "llmrouter"
_KEEP = "logits_to_keep"
_FAR = 2**31 - 1
"""Where a cut ends that ends nowhere before the last token."""
_ATTENTION = "GroupQueryAttention"
_ABSENT: Mapping[str, float] = {
    "do_rotary": 0, "local_window_size": -1, "softcap": 0.0, "smooth_softmax": 0,
}  # fmt: skip
"""What attention takes for attributes that a node leaves out."""
_FIXED: Mapping[str, float] = {**_ABSENT, "do_rotary": 1}
"""What our operator computes."""
_READ = frozenset({"num_heads", "kv_num_heads", "rotary_interleaved", "scale"})
_TOKENWISE = frozenset({
    ("", "Add"), ("", "Cast"), ("", "Div"), ("", "Erf"), ("", "Gelu"), ("", "Gemm"),
    ("", "MatMul"), ("", "Mul"), ("", "Pow"), ("", "Relu"), ("", "Reshape"), ("", "Sigmoid"),
    ("", "Sqrt"), ("", "Sub"), ("", "Tanh"),
    ("", "SimplifiedLayerNormalization"), ("", "LayerNormalization"), ("", "RMSNormalization"),
    (_CONTRIB, "BiasGelu"), (_CONTRIB, "FastGelu"), (_CONTRIB, "Gelu"),
    (_CONTRIB, "MatMulNBits"), (_CONTRIB, "QuickGelu"),
    (_CONTRIB, "SkipLayerNormalization"), (_CONTRIB, "SkipSimplifiedLayerNormalization"),
})  # fmt: skip
"""Operators that compute each token from that token, some on conditions; so do embeddings."""
_EMBEDDINGS = frozenset({("", "Gather"), (_CONTRIB, "GatherBlockQuantized")})
_SIZES = frozenset({("", "Shape"), ("", "Concat")})
"""Operators that tell sizes, how many tokens there are among them."""
_HEAD = frozenset({"Reshape", "Gemm", "MatMul", "MatMulNBits", "Cast"})
_MULTIPLE = 8
"""Of which the size of a head must be one."""
_NORMS = frozenset({"SimplifiedLayerNormalization", "LayerNormalization", "RMSNormalization"})


@dataclass(frozen=True, slots=True)
class DecoderTensors:
    """What a graph calls its tensors, and how large they are; in names %d is the layer."""

    input_ids: str
    logits: str
    past_key: str
    past_value: str
    layers: int
    kv_heads: int
    head_size: int
    vocabulary: int


def pack_tokens(graph: Any, names: DecoderTensors) -> bool:
    """Turn `graph` into one over tokens that stand side by side.

    Returns:
        Whether it could be; otherwise the graph is as it was.
    """
    if names.head_size % _MULTIPLE or not _floats(graph, names):
        return False
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    fed = {value.name for value in graph.input}
    attention = [node for node in graph.node if _is(node, _CONTRIB, _ATTENTION)]
    replaced = [_attention(node, names, initializers, fed) for node in attention]
    layers = [one[0] for one in replaced if one is not None]
    if len(layers) != len(replaced) or sorted(layers) != list(range(names.layers)):
        return False
    by_output = {id(node): one[1] for node, one in zip(attention, replaced, strict=True) if one}
    nodes = [by_output.get(id(node), node) for node in graph.node]
    nodes = _with_kept_rows(nodes, names.logits, initializers)
    nodes = _needed(nodes, names.logits)
    if not nodes or not _tokenwise(nodes, names, initializers):
        return False
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.append(
        helper.make_tensor_value_info(names.input_ids, TensorProto.INT64, ["one", "tokens"])
    )
    graph.output.append(
        helper.make_tensor_value_info(
            names.logits, TensorProto.FLOAT, ["one", "kept", names.vocabulary]
        )
    )
    return True


def _floats(graph: Any, names: DecoderTensors) -> bool:
    """Whether keys, values and logits are float32, as our attention has them."""
    kept = {names.past_key.replace("%d", "0"), names.past_value.replace("%d", "0"), names.logits}
    return all(
        value.type.tensor_type.elem_type == TensorProto.FLOAT
        for value in [*graph.input, *graph.output]
        if value.name in kept
    )


def _input(node: Any, index: int) -> str:
    """Return an input's name; none for one that is not there, and nodes are untrusted."""
    return str(node.input[index]) if index < len(node.input) else ""


def _kind(node: Any) -> tuple[str, str]:
    return str(node.domain), str(node.op_type)


def _is(node: Any, domain: str, kind: str) -> bool:
    return _kind(node) == (domain, kind)


def _attention(
    node: Any, names: DecoderTensors, initializers: Mapping[str, Any], fed: set[str]
) -> tuple[int, Any] | None:
    """Return the layer of an attention and the operator that stands for it."""
    values = _values(node)
    if values is None or values.get("kv_num_heads") != names.kv_heads or not node.output:
        return None
    inputs = [*node.input, *[""] * 16]
    query, key, value, past_key, past_value, _, _, cosines, sines = inputs[:9]
    layer = _layer(past_key, past_value, names)
    angles = all(name in initializers and name not in fed for name in (cosines, sines))
    if layer is None or not angles or any(inputs[9:]) or bool(key) != bool(value):
        return None
    operator = helper.make_node(
        "Attention" if key else "PackedAttention",
        [query, key, value, cosines, sines] if key else [query, cosines, sines],
        [node.output[0]],
        domain=_DOMAIN,
        name=node.name,
        heads=int(values["num_heads"]),
        layer=layer,
        interleaved=int(values.get("rotary_interleaved", 0)),
        scale=float(values.get("scale", 0.0)) or names.head_size**-0.5,
    )
    return layer, operator


def _values(node: Any) -> dict[str, float] | None:
    """Return the attributes of an attention that our operator can compute."""
    kinds = {AttributeProto.INT: "i", AttributeProto.FLOAT: "f"}
    if any(attribute.type not in kinds for attribute in node.attribute):
        return None
    given = {one.name: getattr(one, kinds[one.type]) for one in node.attribute}
    values = {**_ABSENT, **given}
    usual = all(values[name] == fixed for name, fixed in _FIXED.items())
    known = values.keys() <= _READ | _FIXED.keys()
    return values if known and usual and values.get("num_heads", 0) > 0 else None


def _layer(past_key: str, past_value: str, names: DecoderTensors) -> int | None:
    for layer in range(names.layers):
        if past_key == names.past_key.replace("%d", str(layer)):
            return layer if past_value == names.past_value.replace("%d", str(layer)) else None
    return None


def _with_kept_rows(nodes: list[Any], logits: str, initializers: Mapping[str, Any]) -> list[Any]:
    """Let the head compute no more than the tokens that are asked for.

    Returns:
        No nodes unless the graph cuts the last tokens out or multiplies by the head last.
    """
    producers = {output: node for node in nodes for output in node.output}
    head = first = producers.get(logits)
    while first is not None and first.op_type in _HEAD:
        first = producers.get(_input(first, 0))
    if first is not None and _cuts(first, producers, initializers):
        keep = _keep(_input(first, 0), first.output[0])
        return [keep if node is first else node for node in nodes]
    if head is None or head.op_type not in {"MatMul", "MatMulNBits"} or not head.input:
        return []
    source = _input(head, 0)
    kept = f"{source}.kept"
    small = NodeProto()
    small.CopyFrom(head)
    small.input[0] = kept
    at = nodes.index(head)
    return [*nodes[:at], _keep(source, kept), small, *nodes[at + 1 :]]


def _cuts(node: Any, producers: Mapping[str, Any], initializers: Mapping[str, Any]) -> bool:
    """Whether a node takes the last token, or the last `logits_to_keep`."""
    if not _is(node, "", "Slice"):
        return False
    start, end, axis = (_number(initializers.get(_input(node, place))) for place in (1, 2, 3))
    begin = producers.get(_input(node, 1))
    asked = begin is not None and _is(begin, "", "Neg") and _input(begin, 0) == _KEEP
    to_the_end = end is not None and end >= _FAR and not _input(node, 4)
    return (asked or start == -1) and to_the_end and axis == 1


def _number(tensor: Any | None) -> int | None:
    """Return the one whole number of a small constant; others are untrusted and not read."""
    if tensor is None or tensor.data_type != TensorProto.INT64 or list(tensor.dims) != [1]:
        return None
    if tensor.data_location == TensorProto.EXTERNAL:
        return None
    try:
        return int(numpy_helper.to_array(tensor)[0])
    except (ValueError, IndexError):  # its data is of another size than it says
        return None


def _keep(source: str, kept: str) -> Any:
    return helper.make_node("KeepRows", [source], [kept], domain=_DOMAIN, name=f"{kept}.rows")


def _needed(nodes: Iterable[Any], logits: str) -> list[Any]:
    """Return the nodes that the logits come from, in their order."""
    wanted, kept = {logits}, []
    for node in reversed(list(nodes)):
        if wanted.isdisjoint(node.output):
            continue
        wanted.update(node.input)
        kept.append(node)
    return kept[::-1]


def _tokenwise(nodes: list[Any], names: DecoderTensors, initializers: Mapping[str, Any]) -> bool:
    sizes = {out for node in nodes if _kind(node) in _SIZES for out in node.output}
    known = {*initializers, names.input_ids, *(out for node in nodes for out in node.output), ""}
    return all(
        known.issuperset(node.input)
        and _uses_sizes_as_such(node, sizes, initializers)
        and (_kind(node) in _SIZES or _is_tokenwise(node, names, initializers))
        for node in nodes
    )


def _uses_sizes_as_such(node: Any, sizes: set[str], initializers: Mapping[str, Any]) -> bool:
    """Whether the number of tokens reaches no token's values: it may shape, and be put together."""
    if _is(node, "", "Concat"):
        return all(name in sizes or name in initializers for name in node.input)
    values = node.input[:1] if _is(node, "", "Reshape") else node.input
    return sizes.isdisjoint(values)


def _is_tokenwise(node: Any, names: DecoderTensors, initializers: Mapping[str, Any]) -> bool:
    kind = _kind(node)
    integers = {one.name: one.i for one in node.attribute if one.type == AttributeProto.INT}
    if kind in _EMBEDDINGS:
        axis = integers.get("axis", 0) or integers.get("gather_axis", 0)
        found = _input(node, 0) in initializers and _input(node, 1) == names.input_ids
        return found and not axis
    if node.op_type in _NORMS:
        return bool(integers.get("axis", -1) == -1)
    if kind in {("", "MatMul"), ("", "Gemm")}:
        return _input(node, 1) in initializers and not integers.get("transA", 0)
    return kind[0] == _DOMAIN or kind in _TOKENWISE
