"""Refuses arguments that fit no field at all; the gateway judges the rest.

Every refusal names the argument as the protos do, the value, and what is expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from grpc import StatusCode

from llmrouter_client.errors import FieldViolation, LlmrouterError

__all__ = [
    "check_addresses",
    "check_api_key",
    "check_option",
    "check_retries",
    "check_text",
    "refused",
]

_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^\s:/@\[\]]+):([0-9]{1,5})")
_KEY = re.compile(r"[!-~]{1,16384}")
_LONGEST_SHOWN = 60
_CACHE_MODES = ("off", "read", "write", "read-write", "refresh")
_TRUNCATION = ("off", "auto")
_SWITCHING = ("any", "same-version", "off")
_PRIORITIES = ("low", "normal", "high")


def refused(field: str, what: str) -> LlmrouterError:
    """Return the error for one wrong argument."""
    return LlmrouterError(
        "INVALID_ARGUMENT",
        f"{field} {what}",
        code=StatusCode.INVALID_ARGUMENT,
        violations=(FieldViolation(field, what),),
    )


def check_addresses(address: object) -> list[str]:
    """Return the addresses, one or several of `host:port`.

    Raises:
        LlmrouterError: INVALID_ARGUMENT.
    """
    given: Sequence[object] = [address]
    if isinstance(address, Sequence) and not isinstance(address, str | bytes):
        given = address
    if not given:
        raise _wrong("address", address, "at least one host:port, as localhost:50051")
    return [_one_address(one) for one in given]


def _one_address(address: object) -> str:
    found = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if found is None or not 1 <= int(found[1]) <= 65535:
        raise _wrong("address", address, "host:port with a port of 1 to 65535, as localhost:50051")
    return str(address)


def check_api_key(key: object) -> str | None:
    """Return `key` if it can be sent; what is wrong is told without it.

    Raises:
        LlmrouterError: INVALID_ARGUMENT.
    """
    if key is None:
        return None
    if not isinstance(key, str) or _KEY.fullmatch(key) is None:
        raise refused("api_key", "must be text of printable ASCII characters without blanks")
    return key


def check_retries(retries: object) -> int:
    """Return `retries` if it is a count.

    Raises:
        LlmrouterError: INVALID_ARGUMENT.
    """
    if not _is_count(retries) or retries < 0:  # type: ignore[operator]  # a number by now
        raise _wrong("retries", retries, "a whole number of at least 0")
    return int(retries)  # type: ignore[call-overload,no-any-return]  # a number by now


def check_text(field: str, text: object, expected: str = "text") -> None:
    """Refuse what is no text, or none that can be sent.

    Raises:
        LlmrouterError: INVALID_ARGUMENT.
    """
    if not isinstance(text, str):
        raise _wrong(field, text, expected)
    try:
        text.encode()
    except UnicodeEncodeError:
        what = "is not UTF-8 text; decode it from its own encoding first"
        raise refused(field, what) from None


def check_option(name: str, value: object) -> None:
    """Refuse a value that does not fit the keyword argument `name`; None always does.

    Raises:
        LlmrouterError: INVALID_ARGUMENT.
    """
    if value is None:
        return
    field, fits, expected = _OPTIONS[name]
    if not fits(value):
        raise _wrong(field, value, expected)


def _wrong(field: str, value: object, expected: str) -> LlmrouterError:
    shown = repr(value)
    shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[: _LONGEST_SHOWN - 1]}…"
    return refused(field, f"is {shown}; it must be {expected}")


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_span(value: object) -> bool:
    return _is_number(value) and value > 0  # type: ignore[operator]  # a number by now


def _is_finite(value: object) -> bool:
    return _is_number(value) and math.isfinite(value)  # type: ignore[arg-type]  # a number by now


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_list_of_texts(value: object) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        return False
    return all(isinstance(one, str) for one in value)


def _is_list_of_names(value: object) -> bool:
    return _is_list_of_texts(value) and not isinstance(value, str)


def _is_bias(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        _is_count(token) and -(1 << 31) <= token < 1 << 31 and _is_number(bias)
        for token, bias in value.items()
    )


def _fits_bits(bits: int) -> Callable[[Any], bool]:
    """Return whether a field of so many bits can hold a value at all."""
    return lambda value: _is_count(value) and 0 <= value < 1 << bits


def _is_cache_wish(value: object) -> bool:
    return isinstance(value, bool) or value in _CACHE_MODES


def _is_pace(value: object) -> bool:
    return value == "original" or _is_number(value)


def _numbers(**bounds: str) -> dict[str, tuple[str, Callable[[Any], bool], str]]:
    return {
        name: (f"sampling.{name}", _is_number, f"a number, {told}") for name, told in bounds.items()
    }


def _counts(bits: int, **bounds: str) -> dict[str, tuple[str, Callable[[Any], bool], str]]:
    return {name: (f"sampling.{name}", _fits_bits(bits), told) for name, told in bounds.items()}


_OPTIONS: Mapping[str, tuple[str, Callable[[Any], bool], str]] = {
    "raw": ("raw", _is_flag, "True or False"),
    "truncate": ("truncate", _is_flag, "True or False"),
    "concurrency": (
        "concurrency", lambda value: _is_count(value) and 1 <= value <= 64, "1 to 64"
    ),
    "window": (
        "window", lambda value: _is_count(value) and 1 <= value <= 1 << 24, "1 to 16777216 bytes"
    ),
    "model": ("routing.model", _is_text, "text"),
    "strategy": ("routing.strategy", _is_text, "text"),
    **_numbers(
        temperature="0 to 2",
        top_p="over 0 to 1",
        min_p="0 to 1",
        repetition_penalty="0.01 to 10",
        presence_penalty="-2 to 2",
        frequency_penalty="-2 to 2",
    ),
    **_counts(
        32,
        top_k="0 to 1000000",
        max_tokens="1 to 1000000",
        min_tokens="0 to 1000000",
        n="1 to 16",
        top_logprobs="0 to 20",
    ),
    **_counts(64, seed=f"0 to {2**64 - 1}"),
    "stop": ("sampling.stop", _is_list_of_texts, "text, or a list of texts"),
    "logit_bias": ("sampling.logit_bias", _is_bias, "numbers by token ids, as {42: -100}"),
    "logprobs": ("sampling.logprobs", _is_flag, "True or False"),
    "response_format": (
        "sampling.response_format",
        lambda value: isinstance(value, Mapping),
        'a mapping, as {"json_schema": {...}}',
    ),
    "cache": ("cache.mode", _is_cache_wish, f"True, False or one of {', '.join(_CACHE_MODES)}"),
    "cache_ttl": ("cache.ttl", _is_finite, "a number of seconds"),
    "cache_tags": ("cache.tags", _is_list_of_names, "a list of texts"),
    "cache_drawn": ("cache.drawn", _is_flag, "True or False"),
    "cache_stale": ("cache.stale", _is_flag, "True or False"),
    "cache_similar": ("cache.similar", _is_flag, "True or False"),
    "cache_pace": ("cache.pace", _is_pace, "'original' or a number of tokens a second"),
    "min_quality": ("routing.min_quality", _is_number, "a number, 0 to 1"),
    "max_cost": ("routing.max_cost", _is_number, "a number of US dollars"),
    "max_latency": ("routing.max_latency", _is_finite, "a number of seconds"),
    "max_time_to_first_token": (
        "routing.max_time_to_first_token", _is_finite, "a number of seconds"
    ),
    "tags": ("routing.tags", _is_list_of_names, "a list of texts"),
    "session": ("routing.session", _is_text, "text"),
    "min_confidence": ("routing.min_confidence", _is_number, "a number, 0 to 1"),
    "ensemble": (
        "routing.ensemble",
        lambda value: isinstance(value, Mapping),
        'a mapping, as {"models": 3, "election": "vote"}',
    ),
    "switching": (
        "routing.switching", lambda value: value in _SWITCHING, f"one of {', '.join(_SWITCHING)}"
    ),
    "truncation": (
        "routing.truncation", lambda value: value in _TRUNCATION, f"one of {', '.join(_TRUNCATION)}"
    ),
    "explore": ("routing.no_exploration", _is_flag, "True or False"),
    "priority": (
        "priority", lambda value: value in _PRIORITIES, f"one of {', '.join(_PRIORITIES)}"
    ),
    "compression": ("compression", lambda value: value == "gzip", "gzip"),
    "timeout": ("timeout", _is_span, "a number of seconds above 0"),
}  # fmt: skip
"""Keyword argument to its field in the protos, what it can hold, and what it is to be."""
