"""One file of settings: YAML within bounds, that says everything once and holds no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from llmrouter.common.setting_errors import names_secret

__all__ = ["ConfigError", "read_file"]

_OTHER_FILE = "correct it, or name another file with --config or LLMROUTER_CONFIG"
_MAX_FILE_BYTES = 1 << 20
_MAX_VALUES = 100_000


class ConfigError(Exception):
    """The configuration cannot be used; the message names file, field and value.

    Args:
        message: What is wrong, with what helps where that follows from it.
        remedy: Where to look for what helps; empty where the message says enough.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class _UniqueKeys(yaml.SafeLoader):
    """YAML whose mappings say everything once: the first of two sections would be lost silently."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Refuse a key that stands twice, with its line."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode) and key.value != "<<":
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"'{key.value}' stands twice, the second time in line {line}")
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_file(path: Path) -> dict[str, Any]:
    """Return the sections of a YAML file of at most 1 MiB; an empty one has none.

    Raises:
        ConfigError: It cannot be read, is not YAML or too large, says something twice, or holds a
            secret.
    """
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than 1 MiB; is it the right file?")
        data = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # noqa: S506 - a SafeLoader
        values = _expanded(data, {})
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", _OTHER_FILE) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {_yaml_fault(error)}", _OTHER_FILE) from None
    if values > _MAX_VALUES:
        told = f"{path} has over {_MAX_VALUES} values, aliases counted; is it the right file?"
        raise ConfigError(told)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path} must hold sections at its top level, not a {type(data).__name__}",
            _OTHER_FILE,
        )
    _refuse_inline_secrets(data, str(path))
    return data


def _expanded(data: object, known: dict[int, int]) -> int:
    """Return how many values there are once every alias stands for a copy: they may be many."""
    if not isinstance(data, dict | list):
        return 1
    if id(data) not in known:
        known[id(data)] = _MAX_VALUES  # what holds itself is beyond all bounds
        inside = data.values() if isinstance(data, dict) else data
        known[id(data)] = 1 + sum(_expanded(one, known) for one in inside)
    return known[id(data)]


def _yaml_fault(error: Exception) -> str:
    """Return what is wrong and where; PyYAML calls the file `<unicode string>` and draws it."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark, said = error.problem_mark, error.problem or error.context
        return f"line {mark.line + 1}, column {mark.column + 1}: {said}"
    if isinstance(error, yaml.reader.ReaderError):
        return f"character {error.position + 1}: {error.reason}"
    return " ".join(str(error).split())


def _refuse_inline_secrets(data: object, file: str, path: str = "") -> None:
    if isinstance(data, list):
        for index, item in enumerate(data):
            _refuse_inline_secrets(item, file, f"{path}[{index}]")
    if not isinstance(data, dict):
        return
    for key, value in data.items():
        here = f"{path}.{key}".strip(".")
        given = value is not None and not isinstance(value, dict | list)
        if given and names_secret(str(key)):
            raise ConfigError(
                f"{here} in {file} holds a secret inline; give it by a variable or name a file "
                f"with {key}_file"
            )
        _refuse_inline_secrets(value, file, here)
