"""Files of weights that lie are refused in a sentence before CTranslate2 sees them."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.inference.models.tiny_model_bin import (
    HEADS,
    INNER,
    WIDTH,
    decoder_only,
    encoder_decoder,
    model_bin,
)

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.ctranslate2_shapes import check_shapes
from llmrouter.inference.models.ctranslate2_weights import read_weights

VOCAB = 5
ATTENTION = "decoder/layer_0/self_attention"
HEAD = WIDTH // HEADS


def check(tmp_path, content, *, encodes=False):
    file = tmp_path / "model.bin"
    file.write_bytes(content)
    weights = read_weights(file, "convert it again")
    return check_shapes(weights, encodes=encodes, vocab_size=VOCAB, remedy="convert it again")


def refusal(tmp_path, content, **options):
    with pytest.raises(RouterError) as refused:
        check(tmp_path, content, **options)
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE
    assert "model.bin" in refused.value.message
    assert "convert it again" in refused.value.message
    return refused.value.message


def changed(changes):
    """A whole file with these variables, of which None is left out."""
    variables = decoder_only(VOCAB) | changes
    return model_bin({name: value for name, value in variables.items() if value is not None})


def zeros(*shape, kind=np.float32):
    return np.zeros(shape, kind)


def test_whole_models_of_either_kind_are_believed(tmp_path):
    assert check(tmp_path, model_bin(decoder_only(VOCAB))) is None
    content = model_bin(encoder_decoder(VOCAB), specification="TransformerSpec")
    assert check(tmp_path, content, encodes=True) is None


def test_the_shortest_table_of_positions_is_told(tmp_path):
    assert check(tmp_path, model_bin(decoder_only(VOCAB, positions=7))) == 7
    content = model_bin(encoder_decoder(VOCAB, positions=3), specification="TransformerSpec")
    assert check(tmp_path, content, encodes=True) == 3


def test_tied_and_quantised_weights_are_believed(tmp_path):
    """As converters write them: the projection is another name, and so is its scale."""
    variables = decoder_only(VOCAB) | {
        "decoder/embeddings/weight": zeros(VOCAB, WIDTH, kind=np.int8),
        "decoder/embeddings/weight_scale": zeros(VOCAB),
        f"{ATTENTION}/linear_1/weight": zeros(WIDTH, WIDTH, kind=np.int16),
        f"{ATTENTION}/linear_1/weight_scale": np.float32(3),
    }
    del variables["decoder/projection/weight"]
    aliases = [("decoder/projection/weight", "decoder/embeddings/weight")]
    assert check(tmp_path, model_bin(variables, aliases)) is None


def longrope(kind=np.int8):
    """Rotations divided by tables, as converters of Phi-3 write them."""
    return {
        f"{ATTENTION}/rotary_dim": np.int32(0),
        f"{ATTENTION}/rotary_scaling_type": kind(1),
        f"{ATTENTION}/rotary_scaling_long_factor": zeros(HEAD // 2) + 4,
        f"{ATTENTION}/rotary_scaling_short_factor": zeros(HEAD // 2) + 1,
    }


GROUPED = {f"{ATTENTION}/linear_0/bias": None, f"{ATTENTION}/rotary_interleave": np.int8(0)}


@pytest.mark.parametrize(
    "changes",
    [
        GROUPED
        | {
            f"{ATTENTION}/num_heads_kv": np.int32(1),
            f"{ATTENTION}/linear_0/weight": zeros((HEADS + 2) * HEAD, WIDTH),
            f"{ATTENTION}/rotary_dim": np.int32(0),
        },
        GROUPED
        | {
            f"{ATTENTION}/head_dim": np.int32(6),
            f"{ATTENTION}/linear_0/weight": zeros(3 * HEADS * 6, WIDTH),
            f"{ATTENTION}/linear_1/weight": zeros(WIDTH, HEADS * 6),
            f"{ATTENTION}/q_norm/gamma": zeros(6),
        },
        {
            f"{ATTENTION}/relative_attention_bias": zeros(32, HEADS),
            f"{ATTENTION}/relative_attention_max_distance": np.int32(128),
        },
        {
            "decoder/embeddings/weight": zeros(VOCAB, 3),
            "decoder/project_in/weight": zeros(WIDTH, 3),
            "decoder/project_out/weight": zeros(3, WIDTH),
            "decoder/projection/weight": zeros(VOCAB, 3),
        },
        longrope(),
    ],
)
def test_other_shapes_that_agree_are_believed(tmp_path, changes):
    assert check(tmp_path, changed(changes)) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decoder/num_heads", np.int16(0)),
        ("decoder/num_heads", np.int16(-1)),
        ("decoder/num_heads", np.int16(3)),
        ("decoder/num_heads", zeros(4)),
        ("decoder/num_heads", None),
        ("decoder/alignment_layer", np.int16(1)),
        ("decoder/activation", np.int8(99)),
        ("decoder/scale_outputs", np.float32("nan")),
        ("decoder/embeddings/weight", zeros(VOCAB - 1, WIDTH)),
        ("decoder/embeddings/weight", zeros(VOCAB * WIDTH)),
        ("decoder/embeddings/weight", zeros(VOCAB, WIDTH, kind=np.int8)),
        ("decoder/embeddings/weight", zeros(VOCAB, WIDTH, kind=np.int32)),
        ("decoder/projection/weight", zeros(VOCAB + 1, WIDTH)),
        ("decoder/layer_norm/gamma", zeros(2)),
        ("decoder/layer_norm/beta", zeros(2)),
        ("decoder/position_encodings/encodings", zeros(9, WIDTH + 1)),
        ("decoder/layer_0/ffn/linear_0/weight", zeros(INNER, 2)),
        ("decoder/layer_0/ffn/linear_1/weight", zeros(WIDTH, 1)),
        ("decoder/layer_0/ffn/linear_1/weight", None),
        ("decoder/layer_0/ffn/linear_0_noact/weight", zeros(1, WIDTH)),
        (f"{ATTENTION}/linear_0/weight", zeros(10, WIDTH)),
        (f"{ATTENTION}/linear_0/bias", zeros(1)),
        (f"{ATTENTION}/linear_1/weight", None),
        (f"{ATTENTION}/rotary_dim", np.int32(1_000_000)),
        (f"{ATTENTION}/rotary_dim", np.int32(3)),
        (f"{ATTENTION}/num_heads_kv", np.int32(0)),
        (f"{ATTENTION}/num_heads_kv", np.int32(1)),
        (f"{ATTENTION}/head_dim", np.int32(1000)),
        (f"{ATTENTION}/relative_attention_bias", zeros(32, HEADS + 1)),
        (f"{ATTENTION}/relative_position_keys", zeros(4, HEAD)),
        (f"{ATTENTION}/q_norm/gamma", zeros(WIDTH)),
        (f"{ATTENTION}/sliding_window", np.int32(0)),
        ("decoder/what_is_this/weight", zeros(3)),
    ],
)
def test_a_variable_that_does_not_fit_the_others_is_refused_by_name(tmp_path, name, value):
    message = refusal(tmp_path, changed({name: value}))
    assert name.split("/")[-2] in message


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.float32])
@pytest.mark.parametrize("table", ["rotary_scaling_long_factor", "rotary_scaling_short_factor"])
def test_rotations_scaled_by_a_table_that_is_left_out_are_refused(tmp_path, table, kind):
    """The library reads it unasked, and the process would end with the first request."""
    message = refusal(tmp_path, changed(longrope(kind) | {f"{ATTENTION}/{table}": None}))
    assert f"lacks the variable '{ATTENTION}/{table}'" in message


def test_a_kind_of_scaling_that_is_no_whole_number_is_refused(tmp_path):
    """The library cuts it off to the kind before."""
    changes = {f"{ATTENTION}/rotary_scaling_type": np.float32(1.5)}
    assert "= 1.5; it must be a whole number" in refusal(tmp_path, changed(changes))


def test_a_layer_that_is_left_out_is_refused(tmp_path):
    late = {"decoder/layer_2/ffn/linear_0/weight": zeros(INNER, WIDTH)}
    assert "'decoder/layer_N'" in refusal(tmp_path, changed(late))


def test_a_model_of_another_kind_than_its_vocabulary_is_refused(tmp_path):
    assert "TransformerSpec" in refusal(tmp_path, model_bin(decoder_only(VOCAB)), encodes=True)
    other = model_bin(decoder_only(VOCAB), specification="WhisperSpec")
    assert "WhisperSpec" in refusal(tmp_path, other)


def test_names_given_twice_or_to_nothing_are_refused(tmp_path):
    variables = decoder_only(VOCAB)
    twice = [("decoder/num_heads", "decoder/pre_norm")]
    assert "twice" in refusal(tmp_path, model_bin(variables, twice))
    assert "nothing" in refusal(tmp_path, model_bin(variables, [("a", "nothing")]))


def test_other_versions_empty_files_and_bytes_behind_the_end_are_refused(tmp_path):
    variables = decoder_only(VOCAB)
    assert "version 5" in refusal(tmp_path, model_bin(variables, version=5))
    assert "is empty" in refusal(tmp_path, b"")
    assert "behind its end" in refusal(tmp_path, model_bin(variables) + b"x")


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    whole = model_bin(decoder_only(VOCAB))
    for length in range(1, len(whole), 41):
        refusal(tmp_path, whole[:length])


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
def test_whatever_byte_changes_the_file_is_read_or_refused(tmp_path, at, value):
    content = bytearray(model_bin(decoder_only(VOCAB)))
    content[at % len(content)] = value
    with contextlib.suppress(RouterError):
        check(tmp_path, bytes(content))
