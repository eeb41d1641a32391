"""Secrets kept out of logs, should a library or a sentence carry one there."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

__all__ = ["HIDDEN", "redact", "redacted_text"]

HIDDEN = "[hidden]"
_NAMES = ("password", "secret", "api_key", "apikey", "private_key", "authorization", "_token")
_SUSPECT = re.compile(r"bearer|basic|key|token|passw|secret|auth|@|[skpb][-_]")
"""What all of the following have one of: most texts need no more than this one look, at the text
without capitals (four times as fast as a pattern that ignores them)."""
_PLAIN = (str, int, float, type(None))
_SCHEME = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_ASSIGNED = re.compile(
    r"(?i)\b((?:x-)?api[_-]?key|(?:access|auth|refresh)[_-]?token|password|passwd|secret"
    r"|authorization)([\"']?\s*[:=]\s*[\"']?)[^\s\"',;&}]+"
)
_IN_URL = re.compile(r"(\w://)[^/\s@]+@")
_KEY = re.compile(r"\b(sk|pk|ghp|xox[abp])[-_][\w-]{16,}")


def redact(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide what looks like a secret; a structlog processor."""
    del logger, method
    texts = []
    for key, value in event.items():
        if _is_secret(key) or not isinstance(value, _PLAIN):
            event[key] = _hidden(key, value)
        elif isinstance(value, str):
            texts.append(value)
    if _is_suspect("\n".join(texts)):  # one look at all: every request writes a line
        for key, value in event.items():
            event[key] = _hidden(key, value)
    return event


def redacted_text(text: str) -> str:
    """Return a text without what looks like a secret in it."""
    if not _is_suspect(text):
        return text
    text = _SCHEME.sub(rf"\1 {HIDDEN}", text)
    text = _ASSIGNED.sub(rf"\1\2{HIDDEN}", text)
    return _KEY.sub(HIDDEN, _IN_URL.sub(rf"\1{HIDDEN}@", text))


def _is_suspect(text: str) -> bool:
    return _SUSPECT.search(text.casefold()) is not None


@functools.lru_cache(maxsize=1024)
def _is_secret(key: object) -> bool:
    return isinstance(key, str) and (key.lower().endswith(_NAMES) or key.lower() == "token")


def _hidden(key: str, value: Any) -> Any:
    if _is_secret(key):
        return HIDDEN
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, Mapping):
        return {inner: _hidden(inner, one) for inner, one in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden("", one) for one in value]
    return value
