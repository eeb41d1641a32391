"""Reads the files of a model's text side: tokenizer.json, its configuration, the chat template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from llmrouter.common.errors import RouterError
from llmrouter.inference.models.folder import TOKENIZER_FILE
from llmrouter.inference.models.template import ChatTemplate, TemplateError
from llmrouter.inference.models.tokenizer_parts import read_parts, text_growth
from llmrouter.inference.models.untrusted_json import (
    JsonObject,
    broken_file,
    inside,
    read_object,
)

__all__ = [
    "TEMPLATE_FILE",
    "TOKENIZER_CONFIG_FILE",
    "load_template",
    "load_tokenizer",
    "open_tokenizer",
    "panics_told",
    "parse_tokenizer",
    "read_config",
    "token_text",
]

TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
_REMEDY = "import the model again"
_MAX_TOKENIZER_BYTES = 64 * 1024 * 1024
"""Those of the largest vocabularies, 262,144 tokens, have half of it."""
_MAX_TEMPLATE_BYTES = 1024 * 1024


def load_tokenizer(path: Path, vocab_size: int) -> Tokenizer:
    """Load tokenizer.json of the folder at `path`, without its own truncation and padding.

    Raises:
        RouterError: MODEL_UNAVAILABLE when it is no tokenizer, has ids from `vocab_size` up, or may
            make too much of a text.
    """
    return parse_tokenizer(*open_tokenizer(path), vocab_size)[0]


def open_tokenizer(path: Path) -> tuple[Path, bytes]:
    """Return the tokenizer.json of the folder at `path`, and what it says.

    Raises:
        RouterError: MODEL_UNAVAILABLE when it is missing, cannot be read or is too large.
    """
    file = inside(path, TOKENIZER_FILE, _REMEDY)
    return file, _content(file, _MAX_TOKENIZER_BYTES)


def parse_tokenizer(file: Path, content: bytes, vocab_size: int) -> tuple[Tokenizer, int]:
    """Return the tokenizer that `file` says, and how many bytes it may make of one.

    Raises:
        RouterError: As `load_tokenizer`.
    """
    growth = text_growth(file, read_parts(file, content))
    try:
        with panics_told(file):
            tokenizer = Tokenizer.from_buffer(content)
    except RouterError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise broken_file(file, f"is not a tokenizer ({error})", _REMEDY) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if not 0 <= highest < vocab_size:
        raise broken_file(
            file,
            f"has tokens up to id {highest}, the model knows {vocab_size}",
            _REMEDY,
        )
    return tokenizer, growth


def _content(file: Path, most: int) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise broken_file(file, f"cannot be read ({error.strerror})", _REMEDY) from error
    if len(content) > most:
        raise broken_file(file, f"is larger than {most} bytes", _REMEDY)
    return content


@contextmanager
def panics_told(file: Path) -> Iterator[None]:
    """Turn a panic of the tokenizer's library, which is no `Exception`, into a refusal.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming `file`, the tokenizer that panics.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise broken_file(file, f"makes the tokenizer fail ({error})", _REMEDY) from None


def read_config(path: Path) -> JsonObject | None:
    """Return what the folder at `path` says of its tokenizer; None where it says nothing.

    Raises:
        RouterError: MODEL_UNAVAILABLE for what is no object of JSON.
    """
    if not (path / TOKENIZER_CONFIG_FILE).exists():
        return None
    return read_object(inside(path, TOKENIZER_CONFIG_FILE, _REMEDY), _REMEDY)


def load_template(
    path: Path, config: JsonObject | None, variables: Mapping[str, str]
) -> ChatTemplate | None:
    """Load the chat template of the folder at `path`; None where it has none.

    Args:
        path: The folder.
        config: What `read_config` says of it.
        variables: What the template will be rendered with.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file, and what is wrong with the template: that it
            takes too much for a plain chat, too.
    """
    file, source = _template_source(path, config)
    if source is None:
        return None
    try:
        template = ChatTemplate(source)
        template.probe(**variables)
    except TemplateError as error:
        raise broken_file(file, str(error), _REMEDY) from error
    return template


def _template_source(path: Path, config: JsonObject | None) -> tuple[Path, str | None]:
    file = path / TEMPLATE_FILE
    if file.exists():
        return file, _read_template(inside(path, TEMPLATE_FILE, _REMEDY))
    if config is None or not config.has("chat_template"):
        return file, None
    template = config.raw("chat_template")
    if isinstance(template, list):
        template = _default_template(template)
    if not isinstance(template, str):
        raise config.refuse("chat_template", "must be text")
    return config.file, template


def _read_template(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(_MAX_TEMPLATE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise broken_file(file, f"cannot be read ({error})", _REMEDY) from error


def _default_template(templates: list[Any]) -> Any:
    """Return the template named `default` where a model has several."""
    named = [one for one in templates if isinstance(one, dict) and one.get("name") == "default"]
    return named[0].get("template") if named else None


def token_text(config: JsonObject, name: str) -> str:
    """Return a token's text; older files wrap it in an object."""
    value = config.raw(name)
    if isinstance(value, dict):
        value = value.get("content")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise config.refuse(name, "must be text")
    return value
