"""Checks of the services: who listens where they are to listen and where the settings dial them."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmrouter.cli.findings import Finding, State
from llmrouter.cli.health import health_of
from llmrouter.cli.places import Place
from llmrouter.common.addresses import address_of, reachable
from llmrouter.common.errors import RouterError
from llmrouter.common.settings import SERVICES

if TYPE_CHECKING:
    from llmrouter.suite import SuiteSettings

__all__ = ["SECONDS", "Look", "check_pages", "check_services", "listens"]

SECONDS = 2.0
"""That who is asked has to answer."""
_DIALLED_BY = {
    "selector": "gateway.selector_address",
    "cache": "gateway.cache_address",
    "inference": "selector.inference_addresses",
}
"""By service, the setting that says where others find it; its section is who dials it. Only callers
dial the gateway."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one address of a service looks like."""

    service: str
    address: str
    finding: Finding
    ours: bool | None = None
    """Whether it is a service of ours that listens there, ready or not; None where nobody does."""


@dataclass(frozen=True, slots=True)
class _Target:
    service: str
    address: str
    here: bool
    """Whether it is where the service of these settings itself listens."""
    dialled: bool
    ciphered: bool


async def check_services(settings: SuiteSettings) -> list[Look]:
    """Look who listens where the services are to listen, and where others are to find them.

    Whoever is dialled in vain by a service that runs is missing. Where that one does not run,
    nobody looks for it: a host may have one service alone, or none.
    """
    targets = list(_targets(settings))
    looks = await asyncio.gather(*(_look(target) for target in targets))
    run = {look.service for look in looks if look.ours}
    return [
        _missing(target, look) if look.ours is None and _is_missed(target, run) else look
        for target, look in zip(targets, looks, strict=True)
    ]


def _is_missed(target: _Target, run: Container[str]) -> bool:
    """Whether one of those that run looks for a service where nobody listens."""
    if not target.dialled or _DIALLED_BY[target.service].split(".")[0] not in run:
        return False
    # `up` has the one of its own dialled, whatever the settings say.
    return target.service == "inference" or target.service not in run


def _targets(settings: SuiteSettings) -> Iterator[_Target]:
    for service in SERVICES:
        section = getattr(settings, service)
        ciphered = section.tls is not None
        own = address_of(reachable(section.host), section.port) if section.port else None
        given = _given(settings, service)
        if own is not None and not _among(own, given):
            dialled = not given and service in _DIALLED_BY
            yield _Target(service, own, here=True, dialled=dialled, ciphered=ciphered)
        for address in given:
            here = own is not None and _among(own, (address,))
            yield _Target(service, address, here=here, dialled=True, ciphered=ciphered)


def _given(settings: SuiteSettings, service: str) -> tuple[str, ...]:
    """Return where the settings dial a service, as far as they say so and it is no default."""
    section, _, field = _DIALLED_BY.get(service, "").partition(".")
    holder = getattr(settings, section, None)
    if holder is None or field not in holder.model_fields_set:
        return ()
    given = getattr(holder, field)
    return (given,) if isinstance(given, str) else tuple(dict.fromkeys(given))


def _among(own: str, addresses: Sequence[str]) -> bool:
    """Whether `own` is one of `addresses`; this machine has a name, too."""
    names = {own, own.replace("127.0.0.1:", "localhost:"), own.replace("[::1]:", "localhost:")}
    return any(address in names for address in addresses)


def _missing(target: _Target, look: Look) -> Look:
    setting = _DIALLED_BY[target.service]
    said = f"nothing answers at {target.address}, where the other services look for it"
    remedy = f"start it there: llmrouter {target.service}; or correct {setting}"
    return replace(look, finding=Finding(target.service, State.FAILED, said, remedy))


async def _look(target: _Target) -> Look:
    service, address = target.service, target.address

    def found(state: State, said: str, remedy: str = "", *, ours: bool | None) -> Look:
        return Look(service, address, Finding(service, state, said, remedy), ours)

    if not await listens(*_split(address)):
        said = f"not running; {address} is free" if target.here else f"not running at {address}"
        return found(State.NOTE, said, f"llmrouter {service}", ours=None)
    place = Place(service, (address,), "the settings say", "--config")
    if target.ciphered and place.tls is None:
        said = f"something listens at {address}, where the settings want TLS"
        remedy = "name the CA to ask it: llmrouter --tls-ca … doctor"
        return found(State.NOTE, said, remedy, ours=False)
    serving = await _is_serving(place)
    if serving is None:
        setting = f"{service}.port" if target.here else _DIALLED_BY[service]
        said = f"something else listens at {address}"
        return found(State.FAILED, said, f"stop what it is, or set {setting}", ours=False)
    if not serving:
        said = f"runs at {address} and is not ready"
        remedy = "its log says why; without a model: llmrouter models pull smollm2-135m-instruct"
        return found(State.WARNING, said, remedy, ours=True)
    return found(State.OK, f"serves at {address}", ours=True)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


async def _is_serving(place: Place) -> bool | None:
    """Return whether a service of ours is ready there; None where none is."""
    name = f"llmrouter.v1.{place.service.capitalize()}Service"
    try:
        status = await health_of(place, name, SECONDS)
    except RouterError:
        return None
    return None if status == "NOT_FOUND" else status == "SERVING"


async def check_pages(settings: SuiteSettings) -> list[Finding]:
    """Look who listens where HTTP is spoken."""
    gateway, page = settings.gateway, settings.telemetry.prometheus
    looks = []
    if gateway.http_port:
        looks.append(_page("HTTP API", reachable(gateway.host), gateway.http_port))
    if page.enabled and page.port:
        looks.append(_page("metrics page", reachable(page.host), page.port))
    return list(await asyncio.gather(*looks))


async def _page(check: str, host: str, port: int) -> Finding:
    address = address_of(host, port)
    if await listens(host, port):
        return Finding(check, State.OK, f"something listens at {address}")
    return Finding(check, State.NOTE, f"not running; {address} is free")


async def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError, UnicodeError):  # the last of a name that can be none
        return False
    writer.close()
    return True
