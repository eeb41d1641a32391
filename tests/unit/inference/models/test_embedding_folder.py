"""What is believed of an embedding folder's files, and what is refused."""

import json

import pytest
from tests.integration.embedding.tiny_encoder import CONTEXT, write_encoder

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.embedding_folder import Pooling, read_embedding_folder
from llmrouter.inference.models.kinds import Kind, kind_of
from llmrouter.inference.models.store import ModelStore


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
        ([{"type": "sentence_transformers.models.Normalize"}], True),
        ([{"type": "sentence_transformers.models.Pooling"}], False),
    ],
)
def test_the_modules_say_whether_vectors_are_normalised(tmp_path, modules, normalised):
    path = write_encoder(tmp_path / "tiny")
    (path / "modules.json").write_text(json.dumps(modules))
    assert read_embedding_folder(path).normalised is normalised


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


@pytest.mark.parametrize("content", ["{}", '{"pooling_mode_mean_sqrt_len_tokens": true}', "[]"])
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
