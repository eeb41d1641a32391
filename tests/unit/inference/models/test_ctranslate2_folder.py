"""What is believed of a CTranslate2 folder's files, and what is refused."""

import json

import pytest
from tests.unit.inference.models.tiny_model_bin import decoder_only, encoder_decoder, model_bin

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.ctranslate2_folder import read_ctranslate2_folder
from llmrouter.inference.models.kinds import Kind, kind_of

TOKENS = ["<none>", "<end>", "a", "b"]


@pytest.fixture
def folder(tmp_path):
    """Files as CTranslate2's own converters leave them, and a tokenizer."""
    path = tmp_path / "tiny"
    path.mkdir()
    write(path, "config.json", {"eos_token": "<end>", "layer_norm_epsilon": 1e-5})
    write(path, "vocabulary.json", TOKENS)
    write(path, "tokenizer.json", {})
    (path / "model.bin").write_bytes(model_bin(decoder_only(len(TOKENS))))
    return path


def write(folder, name, content):
    (folder / name).write_text(json.dumps(content))


def test_a_foreign_folder_takes_its_end_from_the_vocabulary_and_a_modest_context(folder):
    read = read_ctranslate2_folder(folder)
    assert (read.name, read.version, read.architecture) == ("tiny", "unversioned", "unknown")
    assert (read.eos_token_ids, read.vocab_size, read.context_length) == ((1,), 4, 2048)
    assert kind_of(folder) is Kind.CTRANSLATE2


def test_our_own_folders_say_their_context_and_all_their_ends(folder):
    write(folder, "config.json", {"context_length": 64, "eos_token_ids": [1, 3]})
    read = read_ctranslate2_folder(folder)
    assert (read.eos_token_ids, read.context_length) == ((1, 3), 64)


@pytest.mark.parametrize("told", [{"unk_token": ""}, {"layer_norm_epsilon": None}])
def test_what_converters_leave_empty_is_taken(folder, told):
    write(folder, "config.json", {"eos_token": "<end>", **told})
    assert read_ctranslate2_folder(folder).eos_token_ids == (1,)


@pytest.mark.parametrize(("told", "context"), [({}, 33), ({"context_length": 9}, 9)])
def test_the_context_is_no_longer_than_the_positions_that_were_learned(folder, told, context):
    write(folder, "config.json", {"eos_token": "<end>", **told})
    learned = decoder_only(len(TOKENS), positions=33)
    (folder / "model.bin").write_bytes(model_bin(learned))
    assert read_ctranslate2_folder(folder).context_length == context


def test_weights_of_another_vocabulary_are_refused(folder):
    write(folder, "vocabulary.json", [*TOKENS, "c"])
    with pytest.raises(RouterError, match=r"model\.bin.*decoder/embeddings/weight"):
        read_ctranslate2_folder(folder)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({}, "eos_token"),
        ({"eos_token": "<other>"}, "eos_token"),
        ({"eos_token": 7}, "eos_token"),
        ({"eos_token_ids": []}, "eos_token_ids"),
        ({"eos_token_ids": [4]}, "eos_token_ids"),
        ({"eos_token_ids": ["1"]}, "eos_token_ids"),
        ({"eos_token": "<end>", "unk_token": 7}, "unk_token"),
        ({"eos_token": "<end>", "bos_token": None}, "bos_token"),
        ({"eos_token": None, "eos_token_ids": [1]}, "eos_token"),
        ({"eos_token": "<end>", "layer_norm_epsilon": "x"}, "layer_norm_epsilon"),
        ({"eos_token": "<end>", "context_length": 0}, "context_length"),
        ({"eos_token": "<end>", "context_length": 10**9}, "context_length"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(folder, config, field):
    write(folder, "config.json", config)
    with pytest.raises(RouterError, match=field) as refused:
        read_ctranslate2_folder(folder)
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


@pytest.mark.parametrize("vocabulary", [[], {}, [1], ["a", None], ["a", "b", "a"]])
def test_a_vocabulary_that_is_none_is_refused(folder, vocabulary):
    write(folder, "vocabulary.json", vocabulary)
    with pytest.raises(RouterError, match=r"vocabulary\.json"):
        read_ctranslate2_folder(folder)


def test_a_shared_vocabulary_tells_of_an_encoder(folder):
    assert not read_ctranslate2_folder(folder).encodes
    (folder / "vocabulary.json").rename(folder / "shared_vocabulary.json")
    content = model_bin(encoder_decoder(len(TOKENS)), specification="TransformerSpec")
    (folder / "model.bin").write_bytes(content)
    assert read_ctranslate2_folder(folder).encodes


def test_vocabularies_apart_are_refused_as_such(folder):
    (folder / "vocabulary.json").rename(folder / "source_vocabulary.json")
    with pytest.raises(RouterError, match="vocabularies apart"):
        read_ctranslate2_folder(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.bin"])
def test_a_link_out_of_the_folder_is_not_followed(folder, tmp_path, name):
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(RouterError, match="leads out"):
        read_ctranslate2_folder(folder)
