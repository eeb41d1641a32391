"""Where the services are that a command asks: as it was told, else where the settings put them."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from llmrouter.common.addresses import address_of, check_address, reachable
from llmrouter.common.settings import (
    ADDRESS_VARIABLE,
    ConfigError,
    Section,
    given_address,
    given_tls,
    load_config,
    parse,
    told_by,
)
from llmrouter_client import Tls

__all__ = [
    "TLS",
    "Address",
    "Addresses",
    "Place",
    "cache_at",
    "gateway_at",
    "gateways_at",
    "inference_at",
    "selector_at",
    "tls_from",
]

TLS: ContextVar[Tls | None] = ContextVar("tls", default=None)
"""How this command reaches whatever it asks; the options of `llmrouter` itself set it."""

Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help=f"host:port of the gateway; by default {ADDRESS_VARIABLE}, or as the settings say.",
    ),
]

Addresses = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="host:port of the gateway, or of several with commas between them, which are asked "
        f"in turn; by default {ADDRESS_VARIABLE}, or as the settings say.",
    ),
]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service is and how that was come by."""

    service: str
    addresses: Sequence[str]
    """`host:port` of each, one at least; several are gateways that may be asked in turn."""
    origin: str
    """How it was come by, as the end of a sentence."""
    flag: str
    """What names another."""
    tls: Tls | None = field(default_factory=TLS.get)
    """How it is reached over TLS; None speaks without."""

    @property
    def address(self) -> str:
        """All of it, to be shown; where it is one, to be dialled."""
        return ", ".join(self.addresses)

    @property
    def silence(self) -> str:
        """What to say when nothing answers there."""
        named = "inference service" if self.service == "inference" else self.service
        return (
            f"no {named} answers at {self.address}, which {self.origin}; is the suite "
            f"running? {self.flag} names another address"
        )


def tls_from(ca: str | None, certificate: str | None, key: str | None) -> Tls | None:
    """Return how services are reached, by the options or else by the variables.

    Args:
        ca: File of CAs, or `system` for gRPC's own list; without it nothing speaks TLS.
        certificate: File of the certificate to show.
        key: File of its private key.

    Raises:
        typer.BadParameter: A certificate is given without CAs.
    """
    variables = given_tls()
    ca, certificate, key = (
        given or variable for given, variable in zip((ca, certificate, key), variables, strict=True)
    )
    if ca is None:
        if certificate or key:
            told = "needs --tls-ca as well: a file of CAs, or `system`"
            raise typer.BadParameter(told, param_hint="--tls-certificate")
        return None
    return Tls(None if ca == "system" else ca, certificate, key)


def gateways_at(given: str | None) -> Place:
    """Return where the gateways are that a question may go to.

    Args:
        given: What `--address` says; above LLMROUTER_ADDRESS, above the settings.

    Raises:
        typer.BadParameter: `given` is no address, nor several with commas between them.
        ConfigError: The variable gives none, or the settings are wrong.
    """
    from llmrouter.gateway.settings import GatewaySettings

    variable = None if given is not None else given_address()
    if variable is None:
        return _place("gateway", given, "--address", GatewaySettings)
    try:
        addresses = _addresses(variable)
    except ValueError as error:
        raise ConfigError(f"{ADDRESS_VARIABLE}: {error}, not {variable!r}") from None
    return Place("gateway", addresses, f"{ADDRESS_VARIABLE} says", "--address")


def gateway_at(given: str | None) -> Place:
    """Return where the one gateway is that a command is about, as `gateways_at`.

    Raises:
        typer.BadParameter: There are several.
    """
    place = gateways_at(given)
    if len(place.addresses) > 1:
        told = f"this asks one gateway, and {place.origin} {place.address}; name one of them"
        raise typer.BadParameter(told, param_hint=place.flag)
    return place


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
    several = _addresses if service == "gateway" else _address
    try:
        return Place(service, several(given), f"{flag} says", flag)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, not {given!r}", param_hint=flag) from None


def _address(text: str) -> tuple[str, ...]:
    return (check_address(text),)


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(check_address(one.strip()) for one in text.split(","))


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
    return Place(service, (address_of(reachable(listens.host), listens.port),), origin, flag)
