"""What is believed of an embedding folder's files, and what is refused."""

import json

import pytest
from tests.integration.embedding.tiny_encoder import CONTEXT, write_encoder

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.validation import MAX_TEXTS
from llmrouter.inference.models.embedding_folder import Pooling, read_embedding_folder
from llmrouter.inference.models.kinds import Kind, kind_of
from llmrouter.inference.models.store import ModelStore
from llmrouter.v1 import embedding_pb2


def write_modules(path, *kinds, transformer="", pooling="1_Pooling"):
    paths = {"Transformer": transformer, "Pooling": pooling}
    modules = [
        {
            "idx": at,
            "name": str(at),
            "path": paths.get(kind, f"{at}_{kind}"),
            "type": f"sentence_transformers.models.{kind}",
        }
        for at, kind in enumerate(kinds)
    ]
    (path / "modules.json").write_text(json.dumps(modules))


def test_a_folder_is_read_with_its_pooling_and_its_shorter_context(tmp_path):
    folder = read_embedding_folder(write_encoder(tmp_path / "tiny"))
    assert (folder.name, folder.context_length, folder.pooling) == ("tiny", CONTEXT, Pooling.MEAN)
    assert folder.normalised


def test_what_is_not_said_takes_the_mean_and_the_positions(tmp_path):
    path = write_encoder(tmp_path / "tiny")
    (path / "1_Pooling/config.json").unlink()
    (path / "sentence_bert_config.json").unlink()
    folder = read_embedding_folder(path)
    assert (folder.pooling, folder.context_length) == (Pooling.MEAN, 64)


@pytest.mark.parametrize(
    ("modules", "normalised"),
    [
        (["Transformer", "Pooling", "Normalize"], True),
        (["Transformer", "Pooling"], False),
    ],
)
def test_the_modules_say_whether_vectors_are_normalised(tmp_path, modules, normalised):
    path = write_encoder(tmp_path / "tiny")
    write_modules(path, *modules)
    assert read_embedding_folder(path).normalised is normalised


@pytest.mark.parametrize(
    "modules",
    [
        ["Transformer", "Pooling", "Dense"],
        ["Transformer", "Pooling", "Dense", "Normalize"],
        ["Transformer", "Pooling", "Normalize", "Dense"],
        ["Transformer", "Normalize", "Pooling"],
        ["Transformer", "WeightedLayerPooling"],
        ["Normalize"],
        [],
    ],
)
def test_steps_that_are_not_computed_here_are_refused(tmp_path, modules):
    path = write_encoder(tmp_path / "tiny")
    write_modules(path, *modules)
    with pytest.raises(RouterError, match=r"modules\.json.*supported are Transformer and Pooling"):
        read_embedding_folder(path)


def test_the_pooling_is_read_where_the_modules_say(tmp_path):
    path = write_encoder(tmp_path / "tiny")
    (path / "2_Other").mkdir()
    (path / "2_Other/config.json").write_text('{"pooling_mode_cls_token": true}')
    write_modules(path, "Transformer", "Pooling", pooling="2_Other")
    assert read_embedding_folder(path).pooling is Pooling.CLS


@pytest.mark.parametrize(("pooling", "problem"), [("../2", "leads out|missing"), ("3", "missing")])
def test_a_pooling_elsewhere_is_refused(tmp_path, pooling, problem):
    path = write_encoder(tmp_path / "tiny")
    (tmp_path / "2").mkdir()
    (tmp_path / "2/config.json").write_text('{"pooling_mode_cls_token": true}')
    write_modules(path, "Transformer", "Pooling", pooling=pooling)
    with pytest.raises(RouterError, match=problem):
        read_embedding_folder(path)


def test_an_encoder_elsewhere_is_refused(tmp_path):
    path = write_encoder(tmp_path / "tiny")
    write_modules(path, "Transformer", "Pooling", transformer="0_Transformer")
    with pytest.raises(RouterError, match=r"\[0\]\.path must be empty"):
        read_embedding_folder(path)


def test_lower_case_is_told_of_and_must_be_true_or_false(tmp_path):
    path = write_encoder(tmp_path / "tiny")
    assert not read_embedding_folder(path).lower_case
    (path / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    assert read_embedding_folder(path).lower_case
    (path / "sentence_bert_config.json").write_text('{"do_lower_case": "no"}')
    with pytest.raises(RouterError, match="do_lower_case"):
        read_embedding_folder(path)


DISTILBERT = {
    "activation": "gelu", "architectures": ["DistilBertForMaskedLM"], "dim": 4, "hidden_dim": 16,
    "max_position_embeddings": 512, "model_type": "distilbert", "n_heads": 2, "n_layers": 1,
    "pad_token_id": 0, "sinusoidal_pos_embds": False, "tie_weights_": True, "vocab_size": 9,
}  # fmt: skip
"""The fields that such a model's config.json has."""


def test_a_distilbert_says_its_width_in_a_field_of_its_own(tmp_path):
    path = write_encoder(tmp_path / "tiny")
    (path / "config.json").write_text(json.dumps(DISTILBERT))
    folder = read_embedding_folder(path)
    assert (folder.architecture, folder.dimensions) == ("distilbert", 4)


def test_the_most_vectors_of_the_most_values_fit_in_a_message(tmp_path):
    most = 8_000
    assert read_embedding_folder(write_encoder(tmp_path / "a", hidden_size=most)).dimensions == most
    with pytest.raises(RouterError, match="hidden_size"):
        read_embedding_folder(write_encoder(tmp_path / "b", hidden_size=most + 1))
    one = embedding_pb2.Embedding(values=[1 / 3] * most, tokens=1 << 20, truncated=True)
    answer = embedding_pb2.EmbedResponse(embeddings=[one] * MAX_TEXTS, model="m" * 256)
    assert answer.ByteSize() <= 8 << 20  # what channels and servers take


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "llama"),
        ("vocab_size", -1),
        ("vocab_size", "9"),
        ("hidden_size", 10**9),
        ("max_position_embeddings", 0),
        ("pad_token_id", 10**6),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(tmp_path, field, value):
    with pytest.raises(RouterError, match=field) as refused:
        read_embedding_folder(write_encoder(tmp_path / "tiny", **{field: value}))
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        '{"pooling_mode_mean_sqrt_len_tokens": true}',
        '{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}',
        '{"pooling_mode_mean_tokens": true, "pooling_mode_lasttoken": true}',
        '{"pooling_mode_mean_tokens": true, "pooling_mode_weightedmean_tokens": true}',
        '{"pooling_mode_mean_tokens": 1}',
        '{"pooling_mode": "lasttoken"}',
    ],
)
def test_a_pooling_that_is_not_known_is_refused(tmp_path, content):
    path = write_encoder(tmp_path / "tiny")
    (path / "1_Pooling/config.json").write_text(content)
    with pytest.raises(RouterError, match="1_Pooling"):
        read_embedding_folder(path)


@pytest.mark.parametrize("content", ["{}", "[1]", "nonsense"])
def test_modules_that_are_none_are_refused(tmp_path, content):
    path = write_encoder(tmp_path / "tiny")
    (path / "modules.json").write_text(content)
    with pytest.raises(RouterError, match=r"modules\.json"):
        read_embedding_folder(path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    path = write_encoder(tmp_path / "tiny")
    (path / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    (path / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(RouterError, match="leads out"):
        read_embedding_folder(path)


def test_the_store_lists_embedding_models_beside_others(tmp_path):
    write_encoder(tmp_path / "tiny")
    store = ModelStore(tmp_path)
    assert store.names() == ["tiny"]
    assert kind_of(store.path("tiny")) is Kind.EMBEDDING
    assert store.model("tiny").context_length == CONTEXT
