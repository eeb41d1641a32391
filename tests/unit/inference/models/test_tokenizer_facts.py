"""What a model tells of its tokenizer: who has the same one, and what one token can hold."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.unit.inference.models.tiny_folder import write_tiny_folder
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from llmrouter.common.generation import Message, Role
from llmrouter.common.text_bytes import text_bytes
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.text import load_text
from llmrouter.inference.models.token_bytes import byte_alphabet, token_bytes
from llmrouter.inference.models.tokenizer_facts import tokenizer_facts

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


def byte_level(*, without="", **options):
    """A tokenizer with a token for each byte, but those left out, and one for four dashes."""
    alphabet = sorted(set(byte_alphabet()) - set(without))
    pieces = {piece: index for index, piece in enumerate([*alphabet, "--", "----"])}
    # Merged pieces would need names with the prefix.
    merges = [] if options.get("continuing_subword_prefix") else [("-", "-"), ("--", "--")]
    model = models.BPE(vocab=pieces, merges=merges, **options)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def facts(tokenizer):
    return tokenizer_facts(tokenizer, token_bytes(tokenizer, tokenizer.get_vocab_size()))


def test_the_longest_token_is_told_in_bytes_of_text():
    assert facts(byte_level()).longest_token_bytes == 4


KEEPING_CUTS = [
    pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False),
    pre_tokenizers.Digits(individual_digits=True),
    pre_tokenizers.Split(Regex(r"\w+"), "isolated"),
    pre_tokenizers.Split("a", "merged_with_previous"),
    pre_tokenizers.Punctuation("contiguous"),
]
OTHER_CUTS = [
    pre_tokenizers.Whitespace(),
    pre_tokenizers.WhitespaceSplit(),
    pre_tokenizers.Metaspace(),
    pre_tokenizers.Split(" ", "removed"),
    pre_tokenizers.Split(Regex(r"\w+"), "removed", invert=True),
    pre_tokenizers.Punctuation("removed"),
]
KEEPING_ADDED = [
    AddedToken("<|very_long|>", special=True),
    AddedToken("-é-", normalized=False),
    AddedToken("aa", single_word=True),
]
OTHER_ADDED = [
    AddedToken("<mask>", special=True, lstrip=True),
    AddedToken("--a", rstrip=True),
]
NORMALIZERS = [normalizers.NFC(), normalizers.Strip(), normalizers.Replace("a", "")]
AROUND = [("<|very_long|>", 258)]
KEEPING_PROCESSOR = processors.TemplateProcessing("<|very_long|> $A", "$A $B", AROUND)
OTHER_PROCESSOR = processors.TemplateProcessing("<|very_long|>", "$A $B", AROUND)

OTHERS = ["byte", "prefix", "suffix", "normalizer", "cut", "added", "processor"]
WRITTEN = [one.content for one in [*KEEPING_ADDED, *OTHER_ADDED]]


@st.composite
def tokenizers(draw):
    """Tokenizers of parts that keep a text, and some with one part that may not."""
    other = draw(
        st.sampled_from(["", "", "byte", "prefix", "suffix", "normalizer", "cut", "added"])
    )
    options = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "fuse_unk": st.booleans(),
                "unk_token": st.just("-"),
                "byte_fallback": st.booleans(),
                "ignore_merges": st.booleans(),
            },
        )
    )
    if other == "prefix":
        options["continuing_subword_prefix"] = "##"
    if other == "suffix":
        options["end_of_word_suffix"] = "</w>"
    known = "\u0101\u0104\u0121"  # the bytes 1, 4 and 127
    without = draw(st.sampled_from(["a", "Ġ", "Ã", "ó"] if other == "byte" else known))
    made = byte_level(without=without, **options)
    if other == "normalizer":
        made.normalizer = draw(st.sampled_from(NORMALIZERS))
    cuts = draw(st.permutations(draw(st.lists(st.sampled_from(KEEPING_CUTS), max_size=2))))
    cuts = [*cuts, made.pre_tokenizer]
    if other == "cut":
        cuts.insert(draw(st.integers(0, len(cuts))), draw(st.sampled_from(OTHER_CUTS)))
    made.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    made.add_tokens(draw(st.lists(st.sampled_from(KEEPING_ADDED), unique_by=str)))
    if other == "added":
        made.add_tokens([draw(st.sampled_from(OTHER_ADDED))])
    kept = draw(st.sampled_from([None, KEEPING_PROCESSOR]))
    made.post_processor = OTHER_PROCESSOR if other == "processor" else kept
    return made


FRAGMENTS = [*"-a é\x01\U00050000", *WRITTEN, "<mask> "]
TEXTS = st.tuples(st.sampled_from(FRAGMENTS), st.integers(1, 40)).map(lambda one: one[0] * one[1])


@settings(max_examples=400, deadline=None)
@given(
    tokenizers(),
    st.lists(TEXTS | st.sampled_from(WRITTEN)),
)
def test_no_text_has_fewer_tokens_than_its_bytes_over_the_longest_token(tokenizer, parts):
    longest = facts(tokenizer).longest_token_bytes
    text = "".join(parts)
    event(f"bounded: {longest > 0}")
    if longest:
        for whole in (True, False):
            found = tokenizer.encode(text, add_special_tokens=whole).ids
            assert len(found) >= math.ceil(text_bytes(text) / longest)


def test_a_usual_tokenizer_is_bounded_with_all_that_keeps_a_text():
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*KEEPING_CUTS, tokenizer.pre_tokenizer])
    tokenizer.post_processor = KEEPING_PROCESSOR
    tokenizer.add_tokens(KEEPING_ADDED)
    assert facts(tokenizer).longest_token_bytes == len("<|very_long|>")


def test_bytes_that_tokenizers_often_drop_are_not_counted():
    tokenizer = byte_level(without="\u0104")  # stands for the byte 4
    assert tokenizer.encode("\x04\x04a").ids == tokenizer.encode("a").ids
    assert facts(tokenizer).longest_token_bytes == 4
    assert (text_bytes("\x04\x04a"), text_bytes("é\t\U00050000")) == (1, 6)


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


def _removing(tokenizer):
    removing = pre_tokenizers.Split(" ", "removed")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([removing, tokenizer.pre_tokenizer])


def _not_in_bytes(tokenizer):
    tokenizer.pre_tokenizer = pre_tokenizers.Digits()


def _marking_inner_pieces(tokenizer):
    vocab = {piece: place for piece, place in tokenizer.get_vocab().items() if len(piece) == 1}
    tokenizer.model = models.BPE(vocab=vocab, merges=[], continuing_subword_prefix="##")


def _answering_for_the_text(tokenizer):
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.post_processor = processors.TemplateProcessing("<s>", "$A $B", [("<s>", 258)])


@pytest.mark.parametrize(
    "change",
    [
        _normalising, _swallowing, _foreign, _removing, _not_in_bytes, _marking_inner_pieces,
        _answering_for_the_text,
    ],
)  # fmt: skip
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
        (TEMPLATE.replace("m.content", "m.content.split('</think>')[-1]"), False),
        ("{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}", False),
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
