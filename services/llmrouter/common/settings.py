"""Configuration: one YAML file, an overlay per environment, then variables, frozen at start.

Settings come from the environment here and nowhere else. `LLMROUTER_GATEWAY__PORT=6000` sets
`gateway.port`; a text is taken as it is written, all else is YAML. `LLMROUTER_CONFIG` names the
file and `LLMROUTER_ENV` the overlay (`development` by default), which stands beside the file as
`<stem>.<environment>.yaml` and may be missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from llmrouter.common.setting_errors import in_words
from llmrouter.common.setting_variables import Given, opened, settled
from llmrouter.common.settings_file import ConfigError, read_file

__all__ = [
    "ADDRESS_VARIABLE",
    "API_KEY_VARIABLE",
    "ENVIRONMENTS",
    "SECTIONS",
    "SERVICES",
    "TLS_VARIABLES",
    "ConfigError",
    "Configuration",
    "Section",
    "SectionT",
    "data_directory",
    "given_address",
    "given_api_key",
    "given_tls",
    "insist_on_tls_13",
    "load_config",
    "parse",
    "quieten_grpc",
    "read_variable",
    "setting_variables",
    "told_by",
    "unquoted_off",
]

ENVIRONMENTS = ("development", "staging", "production")
SERVICES = ("gateway", "selector", "cache", "inference")
SECTIONS = (*SERVICES, "telemetry")
_PREFIX = "LLMROUTER_"
_INJECTED = re.compile(
    r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)
ADDRESS_VARIABLE = "LLMROUTER_ADDRESS"
"""Says to those who ask where the gateway is, and stands above the settings."""
API_KEY_VARIABLE = "LLMROUTER_API_KEY"
"""What those who ask prove with who they are."""
TLS_VARIABLES = ("LLMROUTER_TLS_CA", "LLMROUTER_TLS_CERTIFICATE", "LLMROUTER_TLS_KEY")
"""Say to those who ask by which files they speak TLS: CAs, their own certificate, its key."""
_RESERVED = frozenset(
    {"LLMROUTER_CONFIG", "LLMROUTER_ENV", ADDRESS_VARIABLE, API_KEY_VARIABLE, *TLS_VARIABLES}
)
_GUARDED = {"gateway": {"identity": {"anonymous": "never"}}}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"staging": _GUARDED, "production": _GUARDED}
"""By environment: what stands below the files."""
_CIPHERS = "GRPC_SSL_CIPHER_SUITES"
_NO_CIPHER = "ECDHE-PSK-AES128-CBC-SHA"
"""Needs a secret that both sides share beforehand, which nobody here has."""
_LISTED = "`llmrouter settings` lists all"

Files: TypeAlias = Mapping[Path, Mapping[str, Any]]
"""What each file said, the one that counts most last."""
_NO_FILES: Files = MappingProxyType({})


def unquoted_off(value: object) -> object:
    """Return `off` for the false that YAML makes of a bare `off`, and anything else as it is."""
    return "off" if value is False else value


class Section(BaseModel):
    """Base of every settings class: frozen, and unknown fields are refused.

    A field is described by the string below it.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: object, info: ValidationInfo) -> object:
        """Read what a variable gave; refuse `slots: true`, which Python takes for 1."""
        wanted = cls.model_fields[str(info.field_name)].annotation
        value = settled(value, wanted)
        if isinstance(value, bool) and wanted in (int, float):
            raise ValueError("must be a number")
        return value


def quieten_grpc() -> None:
    """Keep gRPC's own C++ log lines out of a program's output unless the environment asks for them.

    What they say arrives as errors too, and those are told in one sentence.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def insist_on_tls_13(*, loaded: bool, environ: MutableMapping[str, str] = os.environ) -> bool:
    """Have gRPC refuse TLS below 1.3; it has no option for that but its ciphers for TLS 1.2.

    Args:
        loaded: Whether gRPC is loaded already: then it has read them.
        environ: Where gRPC reads them.

    Returns:
        Whether it will refuse. It may not where somebody else has chosen the ciphers, or loaded
        gRPC before.
    """
    if not loaded:
        environ.setdefault(_CIPHERS, _NO_CIPHER)
    return environ.get(_CIPHERS) == _NO_CIPHER


SectionT = TypeVar("SectionT", bound=Section)


def data_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where models and answers are kept by default (XDG base directory)."""
    base = environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "llmrouter"


def read_variable(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return a variable that the settings name, as for a secret; None where it is not set."""
    return environ.get(name)


def given_address(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the gateway's address that a variable gives; None where it gives none."""
    return environ.get(ADDRESS_VARIABLE) or None


def given_tls(environ: Mapping[str, str] = os.environ) -> tuple[str | None, ...]:
    """Return what TLS_VARIABLES give, in their order; None for those that give nothing."""
    return tuple(environ.get(name) or None for name in TLS_VARIABLES)


class Configuration(dict[str, Any]):
    """What was configured, as plain data that remembers which files said it."""

    def __init__(self, merged: Mapping[str, Any], files: Files) -> None:
        super().__init__(merged)
        self.files = files


def given_api_key(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the API key that a variable gives; None where it gives none."""
    return environ.get(API_KEY_VARIABLE) or None


def load_config(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Configuration:
    """Return the merged configuration: file, then overlay, then variables.

    Args:
        path: The YAML file; None takes LLMROUTER_CONFIG, or no file at all.
        environ: The environment to read.

    Raises:
        ConfigError: A file is missing or not YAML, the environment's name is unknown, a secret
            stands inline, or something at the top level is no section.
    """
    environment = environ.get("LLMROUTER_ENV", "development")
    if environment not in ENVIRONMENTS:
        raise ConfigError(
            f"LLMROUTER_ENV is {environment!r}; it must be one of {', '.join(ENVIRONMENTS)}"
        )
    chosen = path or (Path(named) if (named := environ.get("LLMROUTER_CONFIG")) else None)
    files: dict[Path, Mapping[str, Any]] = {}
    if chosen is not None:
        files[chosen] = read_file(chosen)
        overlay = chosen.with_name(f"{chosen.stem}.{environment}{chosen.suffix}")
        if overlay.exists():
            files[overlay] = read_file(overlay)
    config = dict(_DEFAULTS.get(environment, {}))
    for said in files.values():
        config = _merge(config, said)
    config = _merge(config, _from_variables(environ))
    for name in config:
        if name not in SECTIONS:
            known = ", ".join(sorted(SECTIONS))
            told = told_by(str(name), environ, files)
            raise ConfigError(f"{told} is not a setting; the top level knows {known}", _LISTED)
    return Configuration(config, files)


def parse(
    model: type[SectionT],
    data: object,
    where: str,
    environ: Mapping[str, str] = os.environ,
    files: Files = _NO_FILES,
) -> SectionT:
    """Build a frozen settings object.

    Args:
        model: Its class.
        data: What `load_config` gave, or a section of it.
        where: Its place in the file, for errors.
        environ: Tells of a wrong value whether a variable gave it.
        files: Tells which file did.

    Raises:
        ConfigError: Naming the field, the value and what is wrong.
    """
    try:
        return model.model_validate(data if data is not None else {})
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join([where, *(str(part) for part in first["loc"])]).strip(".")
        if first["type"] == "extra_forbidden":
            holder, known = path.rpartition(".")[0], _fields_at(model, first["loc"][:-1])
            raise ConfigError(
                f"{told_by(path, environ, files)} is not a setting; "
                f"{holder or 'the top level'} knows {', '.join(known)}",
                _LISTED,
            ) from None
        told = f"{told_by(path, environ, files)}: {in_words(first)}"
        raise ConfigError(told, _LISTED) from None


def told_by(path: str, environ: Mapping[str, str] = os.environ, files: Files = _NO_FILES) -> str:
    """Return the place of a setting, with the variable or the file that gave it or holds it."""
    place = path.split(".")
    for name in sorted(environ, key=len, reverse=True):
        given = _path_of(name)
        if name.startswith(_PREFIX) and name not in _RESERVED and place[: len(given)] == given:
            return f"{path} (from {name})"
    # The last file that has the place, or most of it: what is missing stands nowhere.
    depths = {file: _depth(said, place) for file, said in files.items()}
    deepest = max(reversed(depths), key=lambda file: depths[file], default=None)
    return path if deepest is None or not depths[deepest] else f"{path} (in {deepest})"


def _depth(data: object, place: list[str]) -> int:
    """Return how many parts of `place` there are in `data`."""
    for depth, part in enumerate(place):
        if isinstance(data, list) and part.isdecimal() and int(part) < len(data):
            data = data[int(part)]
        elif isinstance(data, Mapping) and part in data:
            data = data[part]
        else:
            return depth
    return len(place)


def _path_of(variable: str) -> list[str]:
    """Return the place that a variable sets."""
    return [part.lower() for part in variable.removeprefix(_PREFIX).split("__")]


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the names of the settings at `path` below `model`."""
    for part in path:
        field = model.model_fields.get(str(part))
        below = field.annotation if field is not None else None
        if not (isinstance(below, type) and issubclass(below, BaseModel)):
            break
        model = below
    return sorted(model.model_fields)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below, above = opened(merged.get(key)), opened(value)
        both = isinstance(below, dict) and isinstance(above, dict)
        merged[key] = _merge(below, above) if both else value
    return merged


def _is_injected(name: str, value: str) -> bool:
    """Whether Kubernetes wrote it: it tells containers of services, perhaps one of our name."""
    if "__" in name:
        return False
    return bool(_INJECTED.search(name)) or (name.endswith("_PORT") and "://" in value)


def setting_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the names of the variables that count as settings, sorted."""
    return [
        name
        for name in sorted(environ)
        if name.startswith(_PREFIX)
        and name not in _RESERVED
        and not _is_injected(name, environ[name])
    ]


def _from_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in setting_variables(environ):
        path, value = _path_of(name), Given(environ[name])
        said: Any = value.value if len(path) == 1 else value  # no section is a text
        for part in reversed(path):
            said = {part: said}
        result = _merge(result, said)
    return result
