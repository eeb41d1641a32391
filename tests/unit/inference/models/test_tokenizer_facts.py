"""What a model tells of its tokenizer: who has the same one, and what one token can hold."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.inference.models.tiny_folder import write_tiny_folder
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from llmrouter.common.generation import Message, Role
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.text import load_text
from llmrouter.inference.models.token_bytes import byte_alphabet, token_bytes
from llmrouter.inference.models.tokenizer_facts import tokenizer_facts

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


def byte_level(**options):
    """A tokenizer with a token for each byte and one for four dashes."""
    alphabet = sorted(byte_alphabet())
    pieces = {piece: index for index, piece in enumerate([*alphabet, "--", "----"])}
    model = models.BPE(vocab=pieces, merges=[("-", "-"), ("--", "--")], **options)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def facts(tokenizer):
    return tokenizer_facts(tokenizer, token_bytes(tokenizer, tokenizer.get_vocab_size()))


@given(st.text(st.sampled_from("-- aé\n") | st.characters(codec="utf-8"), max_size=100))
def test_no_text_has_fewer_tokens_than_its_bytes_over_the_longest_token(text):
    tokenizer = byte_level()
    longest = facts(tokenizer).longest_token_bytes
    assert longest == 4
    assert len(tokenizer.encode(text).ids) >= math.ceil(len(text.encode()) / longest)


def test_a_control_token_written_out_is_one_token_of_all_its_bytes():
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|very_long|>"])
    assert facts(tokenizer).longest_token_bytes == len("<|very_long|>")


def _normalising(tokenizer):
    tokenizer.normalizer = normalizers.Strip()


def _swallowing(tokenizer):
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])


def _foreign(tokenizer):
    tokenizer.decoder = decoders.WordPiece()


@pytest.mark.parametrize("change", [_normalising, _swallowing, _foreign])
def test_a_tokenizer_that_may_leave_text_out_has_no_longest_token(change):
    tokenizer = byte_level()
    change(tokenizer)
    assert facts(tokenizer).longest_token_bytes == 0


def test_a_byte_without_a_token_is_left_out_and_bounds_nothing():
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    assert tokenizer.encode("aéb").ids == [0, 1]
    assert facts(tokenizer).longest_token_bytes == 0


def test_the_same_tokenizer_has_the_same_fingerprint_and_another_one_has_not():
    assert facts(byte_level()).fingerprint == facts(byte_level()).fingerprint
    assert facts(byte_level()).fingerprint != facts(byte_level(fuse_unk=True)).fingerprint


@pytest.mark.parametrize(
    ("template", "bounded"),
    [
        (TEMPLATE, True),
        (None, True),
        (TEMPLATE.replace("m.content", "m.content | trim"), False),
        ("{{ messages[-1].content }}", False),
        ("{{ raise_exception('no') }}", False),
    ],
)
def test_a_template_that_leaves_text_out_takes_the_bound_away(tmp_path, template, bounded):
    folder = write_tiny_folder(tmp_path / "tiny", template)
    (folder / "tokenizer.json").write_text(byte_level().to_str())
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"]["vocab_size"] = byte_level().get_vocab_size()
    (folder / "genai_config.json").write_text(json.dumps(config))
    text = load_text(read_folder(folder))
    assert (text.tokenizer_facts().longest_token_bytes > 0) is bounded
    if template == TEMPLATE:
        assert text.encode_chat([Message(Role.USER, ("-" * 8,))])[-2:] == text.encode("-" * 8)
