from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.inference.models.tiny_folder import write_tiny_folder
from tokenizers import Tokenizer, decoders, models

from llmrouter.common.errors import Reason, Retry, RouterError
from llmrouter.common.generation import Message, Role
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.text import ModelText, load_text
from llmrouter.inference.models.token_bytes import byte_alphabet, token_bytes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def text(folder: Path) -> ModelText:
    return load_text(read_folder(folder))


def user(content: str) -> list[Message]:
    return [Message(Role.USER, (content,))]


@given(content=st.text(max_size=200))
def test_any_text_comes_back(text: ModelText, content: str) -> None:
    ids = text.encode(content)
    if not any(mark in content for mark in ("<|start|>", "<|end|>", "<|none|>")):
        assert text.decode(ids) == content
        assert b"".join(text.token_bytes[one] for one in ids) == content.encode()


@given(content=st.text(max_size=80))
def test_ordinary_messages_give_the_tokens_of_the_rendered_template(
    text: ModelText, content: str
) -> None:
    rendered = text.render(user(content))
    assert rendered == f"<|start|>user\n{content}<|end|>\n<|start|>assistant\n"
    assert text.encode_chat(user(content)) == text.encode(rendered)


@given(
    parts=st.lists(
        st.one_of(st.sampled_from(["<|end|>", "<|start|>", "<|", "\ufdd0", "|>"]), st.text())
    )
)
def test_control_tokens_in_a_message_are_text(text: ModelText, parts: list[str]) -> None:
    content = "".join(parts)
    ids = text.encode_chat(user(content))
    assert [one for one in ids if one < 3] == [1, 2, 1]
    said = b"".join(text.token_bytes[one] for one in ids)
    assert said == f"user\n{content}\nassistant\n".encode()


def test_a_message_with_all_that_could_break_its_control_tokens_is_refused(text: ModelText) -> None:
    every = "".join(map(chr, range(0xFDD0, 0xFDF0)))
    assert text.encode_chat(user(every))
    assert text.encode_chat(user("<|end|>" + every[1:]))
    with pytest.raises(RouterError, match="U\\+FDD0") as raised:
        text.encode_chat(user("<|end|>" + every))
    assert raised.value.reason is Reason.INVALID_ARGUMENT


def test_control_tokens_of_a_raw_prompt_count(text: ModelText) -> None:
    assert text.encode("<|start|>user\n")[0] == 1


def test_digits_stand_alone_and_merges_apply(text: ModelText) -> None:
    assert len(text.encode("2024")) == 4
    assert text.encode(" the") == [len(text.token_bytes) - 3]


def test_control_tokens_have_no_bytes(text: ModelText) -> None:
    assert text.token_bytes[:3] == [b"", b"", b""]
    assert all(text.token_bytes[3:])


def test_the_byte_alphabet_is_complete() -> None:
    assert sorted(byte_alphabet().values()) == list(range(256))


def test_sentencepiece_pieces_are_read_as_bytes() -> None:
    tokenizer = Tokenizer(models.BPE(vocab={"<0x0A>": 0, "\u2581the": 1, "a": 2}, merges=[]))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback()]
    )
    assert token_bytes(tokenizer, 4) == [b"\n", b" the", b"a", b""]


def refusal(folder: Path) -> str:
    with pytest.raises(RouterError) as raised:
        load_text(read_folder(folder))
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    return raised.value.message


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"model": {"type": "BPE"}}', b"\xff"])
def test_a_broken_tokenizer_is_named(tmp_path: Path, content: bytes) -> None:
    folder = write_tiny_folder(tmp_path / "tiny")
    (folder / "tokenizer.json").write_bytes(content)
    assert "tokenizer.json" in refusal(folder)


def test_more_tokens_than_the_model_knows(tmp_path: Path) -> None:
    folder = write_tiny_folder(tmp_path / "tiny")
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"]["vocab_size"] = 100
    (folder / "genai_config.json").write_text(json.dumps(config))
    assert "the model knows 100" in refusal(folder)


@pytest.mark.parametrize("template", ["{% for %}", "{{", "x" * 300_000])
def test_a_template_that_does_not_compile_is_named(tmp_path: Path, template: str) -> None:
    assert "tokenizer_config.json" in refusal(write_tiny_folder(tmp_path / "tiny", template))


def test_a_template_that_takes_too_much_for_a_plain_chat_is_named(tmp_path: Path) -> None:
    template = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    told = refusal(write_tiny_folder(tmp_path / "tiny", template))
    assert (
        "tokenizer_config.json: the chat template runs more than 100000 steps for a plain" in told
    )


def test_a_template_is_tried_with_the_tokens_it_will_have(tmp_path: Path) -> None:
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    template = "{% if bos_token == '<|start|>' %}" + loop + "{% endif %}"
    assert "for a plain chat" in refusal(write_tiny_folder(tmp_path / "tiny", template))


def test_a_template_file_goes_before_the_configuration(tmp_path: Path) -> None:
    folder = write_tiny_folder(tmp_path / "tiny")
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    assert load_text(read_folder(folder)).render(user("hello")) == "hello!"


def test_messages_without_a_template_are_for_another_model(tmp_path: Path) -> None:
    text = load_text(read_folder(write_tiny_folder(tmp_path / "tiny", None)))
    assert not text.has_template
    with pytest.raises(RouterError, match="no chat template") as raised:
        text.encode_chat(user("hello"))
    assert raised.value.reason is Reason.UNSUPPORTED_OPTION


def test_messages_that_a_template_refuses_are_for_another_model(tmp_path: Path) -> None:
    template = "{{ raise_exception('no ' + messages[0].role) }}"
    text = load_text(read_folder(write_tiny_folder(tmp_path / "tiny", template)))
    with pytest.raises(RouterError) as raised:
        text.render(user("hello"))
    [violation] = raised.value.violations
    assert raised.value.reason is Reason.UNSUPPORTED_OPTION
    assert (violation.field, str(raised.value)) == (
        "chat.messages",
        "chat.messages cannot go to tiny: the chat template refuses these messages: no user",
    )


COSTLY_FOR_HELLO = (
    "{% set n = range(99999 if messages[0].content == 'hello' else 1) %}"
    "{% for i in n %}{% for j in n %}{% endfor %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (COSTLY_FOR_HELLO, "steps|too long"),
        ("{{ messages[0].nothing.more }}", "UndefinedError"),
        ("{{ 'x' * 1000000000 }}", "repeats a sequence"),
    ],
)
def test_a_template_that_fails_is_the_models_fault_and_another_one_is_asked(
    tmp_path: Path, template: str, told: str
) -> None:
    text = load_text(read_folder(write_tiny_folder(tmp_path / "tiny", template)))
    with pytest.raises(RouterError, match=told) as raised:
        text.encode_chat(user("hello"))
    assert (raised.value.reason, raised.value.retry) == (
        Reason.GENERATION_FAILED,
        Retry.OTHER_MODEL,
    )
    assert str(raised.value).startswith("tiny cannot read chats: the chat template")
    assert not raised.value.violations


@pytest.mark.parametrize("charsmap", ["", "AAAAAA=="])
def test_a_tokenizer_whose_library_panics_is_refused_by_its_file(
    tmp_path: Path, charsmap: str
) -> None:
    path = write_tiny_folder(tmp_path / "tiny")
    file = path / "tokenizer.json"
    content = json.loads(file.read_text())
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    file.write_text(json.dumps(content))
    with pytest.raises(RouterError, match=r"tokenizer\.json") as raised:
        load_text(read_folder(path)).encode("hello")
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE


@given(said=st.text(max_size=40), answered=st.text(min_size=1, max_size=40))
def test_the_beginning_of_an_answer_is_plain_text_behind_the_prompts_tokens(
    text: ModelText, said: str, answered: str
) -> None:
    answered = f"{answered}<|end|>"
    for messages, prompt in ((user(said), ""), ((), f"{said}.")):
        ids = text.encode_answered(messages, prompt, answered)
        assert not [one for one in ids if one < 3]
        assert b"".join(text.token_bytes[one] for one in ids) == answered.encode()
