"""Where the services are that a command asks: as it was told, else where the settings put them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from llmrouter.common.addresses import address_of, check_address, reachable
from llmrouter.common.settings import (
    ADDRESS_VARIABLE,
    ConfigError,
    Section,
    given_address,
    load_config,
    parse,
    told_by,
)

__all__ = ["Address", "Place", "cache_at", "gateway_at", "inference_at", "selector_at"]

Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help=f"host:port of the gateway; by default {ADDRESS_VARIABLE}, or as the settings say.",
    ),
]


@dataclass(frozen=True, slots=True)
class Place:
    """An address and how it was come by."""

    service: str
    address: str
    origin: str
    """How it was come by, as the end of a sentence."""
    flag: str
    """What names another."""

    @property
    def silence(self) -> str:
        """What to say when nothing answers there."""
        return (
            f"no {self.service} answers at {self.address}, which {self.origin}; is the suite "
            f"running? {self.flag} names another address"
        )


def gateway_at(given: str | None) -> Place:
    """Return where the gateway is.

    Args:
        given: What `--address` says; above LLMROUTER_ADDRESS, above the settings.

    Raises:
        typer.BadParameter: `given` is no address.
        ConfigError: The variable gives none, or the settings are wrong.
    """
    from llmrouter.gateway.settings import GatewaySettings

    variable = None if given is not None else given_address()
    if variable is None:
        return _place("gateway", given, "--address", GatewaySettings)
    try:
        address = check_address(variable)
    except ValueError as error:
        raise ConfigError(f"{ADDRESS_VARIABLE}: {error}, not {variable!r}") from None
    return Place("gateway", address, f"{ADDRESS_VARIABLE} says", "--address")


def selector_at(given: str | None, flag: str) -> Place:
    """Return where the selector is, as `gateway_at`; no variable names it by itself."""
    from llmrouter.selector.settings import SelectorSettings

    return _place("selector", given, flag, SelectorSettings)


def cache_at(given: str | None, flag: str) -> Place:
    """Return where the cache is, as `gateway_at`; no variable names it by itself."""
    from llmrouter.cache.settings import CacheSettings

    return _place("cache", given, flag, CacheSettings)


def inference_at(given: str | None, flag: str) -> Place:
    """Return where the inference service is, as `gateway_at`; no variable names it by itself."""
    from llmrouter.inference.settings import InferenceSettings

    return _place("inference", given, flag, InferenceSettings)


def _place(service: str, given: str | None, flag: str, settings: type[Section]) -> Place:
    if given is None:
        return _configured(service, flag, settings)
    try:
        return Place(service, check_address(given), f"{flag} says", flag)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, not {given!r}", param_hint=flag) from None


def _configured(service: str, flag: str, settings: type[Section]) -> Place:
    given = load_config()
    said, files = given.get(service), given.files
    listens: Any = parse(settings, said, service, files=files)
    if not listens.port:
        raise ConfigError(
            f"{told_by(f'{service}.port', files=files)} is 0, a free port that only the "
            f"{service} knows; name its address with {flag}"
        )
    set_there = [f"{service}.{name}" for name in ("host", "port") if name in (said or ())]
    origin = f"{told_by(set_there[-1], files=files)} says" if set_there else "is the default"
    return Place(service, address_of(reachable(listens.host), listens.port), origin, flag)
