"""What a variable says of a setting: text, or YAML where the setting is no text."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import SecretStr

__all__ = ["Given", "opened", "settled"]

_TEXTS = (str, PurePath, SecretStr)


class Given(str):
    """The text of a variable, until it is known what its setting holds."""

    __slots__ = ()

    @property
    def value(self) -> Any:
        """What it says as YAML; the text itself where it is none."""
        try:
            return yaml.safe_load(self)
        except (yaml.YAMLError, ValueError, RecursionError):
            return str(self)


def opened(value: Any) -> Any:
    """Return `value`, as YAML where a variable gave it."""
    return value.value if isinstance(value, Given) else value


def settled(value: Any, annotation: Any) -> Any:
    """Return `value` as a setting of type `annotation` is to be read.

    What a variable gives to a text stays as it is written, be it `0123`, `null` or `a #b`; without
    any text, one that may be missing is. All else is YAML.
    """
    if isinstance(value, Given):
        if not _is_text(annotation):
            return value.value
        return None if not value and NoneType in get_args(annotation) else str(value)
    if isinstance(value, dict) and get_origin(annotation) in (dict, Mapping):
        inside = get_args(annotation)[1]
        return {key: settled(one, inside) for key, one in value.items()}
    return value


def _is_text(annotation: Any) -> bool:
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        return _is_text(parts[0])
    if kind in (Union, UnionType):
        return all(_is_text(one) for one in parts if one is not NoneType)
    if kind is Literal:
        return all(isinstance(one, str) and not isinstance(one, Enum) for one in parts)
    return isinstance(annotation, type) and issubclass(annotation, _TEXTS)
