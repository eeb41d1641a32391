"""The text side of a model: tokenizer, chat template and the bytes each token stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer

from llmrouter.common.errors import FieldViolation, Reason, RouterError, invalid
from llmrouter.common.generation import Message
from llmrouter.inference.models.folder import TOKENIZER_FILE
from llmrouter.inference.models.shared_tokenizer import SharedTokenizer, share_tokenizer
from llmrouter.inference.models.template import ChatTemplate, MessagesRefusedError, TemplateError
from llmrouter.inference.models.text_files import (
    load_template,
    panics_told,
    read_config,
    token_text,
)
from llmrouter.inference.models.tokenizer_facts import TokenizerFacts

__all__ = ["ModelText", "TextFolder", "load_text"]

_MAX_TEXT_BYTES = 64 * 1024 * 1024
"""What a tokenizer may make of a text on its way to tokens."""

_FIELD = "chat.messages"

_BREAKS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
"""Code points that Unicode keeps free for inner use; one breaks control tokens inside user text."""


class TextFolder(Protocol):
    """What the text side needs of a model folder."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    @property
    def name(self) -> str:
        """What the model is called."""
        ...

    @property
    def vocab_size(self) -> int:
        """Tokens that the model knows."""
        ...


class ModelText:
    """Turns messages into tokens and tokens into text. Safe to use from several threads."""

    def __init__(
        self,
        folder: TextFolder,
        shared: SharedTokenizer,
        template: ChatTemplate | None,
        variables: dict[str, str],
    ) -> None:
        """Use `load_text`; `variables` are bos_token and eos_token for the template."""
        self._folder = folder
        self._most_bytes = _MAX_TEXT_BYTES // shared.growth
        self._shared = shared
        self._tokenizer = shared.tokenizer
        self._template = template
        self._variables = variables
        added = shared.tokenizer.get_added_tokens_decoder()
        self._control = {token.content: one for one, token in added.items() if token.special}
        self._control_pattern = re.compile(
            "|".join(re.escape(text) for text in sorted(self._control, key=len, reverse=True))
            or r"(?!)"
        )

    @property
    def has_template(self) -> bool:
        """Whether chat messages can be rendered; without, only raw prompts are taken."""
        return self._template is not None

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a prompt that the caller wrote whole; control tokens count as such.

        What the tokenizer itself puts in front (a begin token in some models) is added once.

        Raises:
            RouterError: INVALID_ARGUMENT for a text that is longer than can be encoded.
        """
        begin = self._variables.get("bos_token", "")
        bare = bool(begin) and text.startswith(begin)
        return self._ids(self._tokenizer, text, add_special_tokens=not bare)

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a conversation with the assistant's turn opened.

        Control tokens written inside a message are plain text to the model: nobody ends their
        own turn and opens the system's. Messages without them give the tokens of the rendered
        template, to the bit.

        Raises:
            RouterError: As `render` and `encode`; INVALID_ARGUMENT when nothing is left to tell
                control tokens in messages by.
        """
        if not any(self._control_pattern.search(message.text) for message in messages):
            return self._ids(self._tokenizer, self.render(messages))
        return self._encode_apart(messages)

    def encode_answered(self, messages: Sequence[Message], prompt: str, text: str) -> list[int]:
        """Return the tokens of the beginning of an answer to a conversation, or to a raw prompt.

        They are those that follow the prompt's own where the two are encoded as one text, if the
        prompt keeps its tokens then. Control tokens in an answer are plain text.
        """
        if messages:
            asked, whole = self.encode_chat(messages), self._encode_apart(messages, text)
        elif self._control_pattern.search(text):
            return self._ids(self._shared.plain, text)
        else:
            asked, whole = self.encode(prompt), self.encode(prompt + text)
        if whole[: len(asked)] == asked:
            return whole[len(asked) :]
        return self._ids(self._shared.plain, text)

    def render(self, messages: Sequence[Message]) -> str:
        """Return the conversation as the model's chat template writes it.

        Raises:
            RouterError: UNSUPPORTED_OPTION when the model has no template or it refuses these
                messages; GENERATION_FAILED when the template fails.
        """
        return self._render([(message.role.value, message.text) for message in messages])

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`; control tokens have none."""
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    @property
    def token_bytes(self) -> list[bytes]:
        """The bytes of every token id below the vocabulary's size; b"" for control tokens.

        A list that is made each time: who holds it holds megabytes.
        """
        return self._shared.token_bytes

    def tokenizer_facts(self) -> TokenizerFacts:
        """Return what others may know of the tokenizer; call it in a thread."""
        facts = self._shared.facts
        whole = self._template is None or self._template.keeps_messages
        return facts if whole else facts._replace(longest_token_bytes=0)

    def _render(self, turns: Sequence[tuple[str, str]]) -> str:
        name = self._folder.name
        if self._template is None:
            raise _unsupported(f"cannot go to {name}: it has no chat template; send a raw prompt")
        try:
            return self._template.render(
                [{"role": role, "content": content} for role, content in turns], **self._variables
            )
        except MessagesRefusedError as error:
            raise _unsupported(f"cannot go to {name}: {error}") from error
        except TemplateError as error:
            told = f"{name} cannot read chats: {error}; it came with the model, so ask another one"
            raise RouterError(Reason.GENERATION_FAILED, told) from error

    def _encode_apart(self, messages: Sequence[Message], answered: str = "") -> list[int]:
        """Encode with the control tokens inside of messages broken up while rendering.

        What was `answered` already follows; it is plain text.

        The tokenizer cuts a text at its control tokens before anything else, so encoding the
        cuts one by one equals encoding the whole.
        """
        mark = _unused(messages)

        def broken(text: str) -> str:
            return self._control_pattern.sub(lambda hit: mark.join(hit.group()), text)

        rendered = self._render([(one.role.value, broken(one.text)) for one in messages])
        ids: list[int] = []
        end = 0
        for match in self._control_pattern.finditer(rendered):
            ids += self._encode_plain(rendered[end : match.start()], mark)
            ids.append(self._control[match.group()])
            end = match.end()
        tail = rendered[end:].replace(mark, "") + answered
        return ids + self._ids(self._shared.plain, tail)

    def _encode_plain(self, text: str, mark: str) -> list[int]:
        return self._ids(self._shared.plain, text.replace(mark, ""))

    def _ids(
        self, tokenizer: Tokenizer, text: str, *, add_special_tokens: bool = False
    ) -> list[int]:
        size = len(text.encode(errors="replace"))
        if size > self._most_bytes:
            problem = f"is {size} bytes; {self._folder.name} encodes at most {self._most_bytes}"
            raise invalid("prompt", problem)
        with panics_told(self._folder.path / TOKENIZER_FILE):
            ids: list[int] = tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
            return ids


def _unsupported(description: str) -> RouterError:
    """Return the error for messages that another model may take."""
    return RouterError(
        Reason.UNSUPPORTED_OPTION,
        f"{_FIELD} {description}",
        violations=(FieldViolation(_FIELD, description),),
    )


def _unused(messages: Sequence[Message]) -> str:
    """Return one of `_BREAKS` that no message has in it.

    Raises:
        RouterError: INVALID_ARGUMENT: they have them all.
    """
    said = set().union(*(message.text for message in messages))
    for mark in _BREAKS:
        if mark not in said:
            return mark
    raise invalid(
        _FIELD, "have control tokens beside all of U+FDD0 to U+FDEF; leave one of those out"
    )


def load_text(folder: TextFolder) -> ModelText:
    """Load tokenizer and chat template; takes a third of a second, so call it in a thread.

    A tokenizer that somebody holds already is shared, and takes milliseconds.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file, what is wrong with it and the remedy.
    """
    shared = share_tokenizer(folder.path, folder.vocab_size)
    config = read_config(folder.path)
    variables = {
        name: token_text(config, name) for name in ("bos_token", "eos_token") if config is not None
    }
    return ModelText(folder, shared, load_template(folder.path, config, variables), variables)
