"""Checks of the Redis or Valkey servers that the settings name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from llmrouter.cli.findings import Finding, State
from llmrouter.common.errors import RouterError
from llmrouter.common.redis_options import connection_options
from llmrouter.common.redis_server import RedisSettings

if TYPE_CHECKING:
    from llmrouter.suite import SuiteSettings

__all__ = ["check_redis"]

_OLDEST = (6, 2)
"""The first version that has the commands which are used."""


@dataclass(frozen=True, slots=True)
class _Use:
    field: str
    settings: RedisSettings
    keeps: bool
    """Whether what is kept there would be missed: answers come again, counts do not."""


def _uses(settings: SuiteSettings) -> Iterator[_Use]:
    for field, one, keeps in (
        ("gateway.limits.redis", settings.gateway.limits.redis, True),
        ("selector.redis", settings.selector.redis, True),
        ("cache.shared", settings.cache.shared, False),
    ):
        if one is not None:
            yield _Use(field, one, keeps)


async def check_redis(settings: SuiteSettings) -> list[Finding]:
    """Look whether every server that the settings name answers us, and keeps what it should."""
    found = await asyncio.gather(*(_look(use) for use in _uses(settings)))
    return [finding for findings in found for finding in findings]


async def _look(use: _Use) -> list[Finding]:
    address, field = use.settings.address, use.field
    try:
        options = connection_options(use.settings, field)
    except RouterError as error:
        remedy = "correct the file that it names, or give it to who runs the service"
        return [Finding("redis", State.FAILED, error.message, remedy)]
    seconds = use.settings.timeout_seconds
    client = Redis(**options, db=use.settings.database, socket_connect_timeout=seconds,
                   socket_timeout=seconds)  # fmt: skip
    try:
        async with asyncio.timeout(seconds * 2):
            return list(_told(use, await client.info()))
    except (AuthenticationError, NoPermissionError) as error:
        remedy = f"correct {field}.user and its password, or what they may do there"
        said = f"{address} ({field}) refuses us: {error}"
        return [Finding("redis", State.FAILED, said, remedy)]
    except (RedisError, OSError, TimeoutError) as error:
        remedy = f"start it, or correct {field}.address, its tls or the network between"
        said = f"{address} ({field}) does not answer: {str(error) or 'it takes too long'}"
        return [Finding("redis", State.FAILED, said, remedy)]
    finally:
        await client.aclose()


def _told(use: _Use, info: dict[str, object]) -> Iterator[Finding]:
    """Yield what the server's own facts say."""
    place = f"{use.settings.address} ({use.field})"
    version = str(info.get("redis_version", ""))
    numbers = tuple(int(one) for one in version.split(".")[:2] if one.isdecimal())
    if numbers < _OLDEST:
        least = ".".join(map(str, _OLDEST))
        said = f"{place} is version {version}"
        yield Finding("redis", State.FAILED, said, f"{least} or newer is needed")
        return
    if use.keeps and not info.get("aof_enabled"):
        said = f"{place} keeps nothing over a restart: its append-only file is off"
        yield Finding("redis", State.WARNING, said, "set appendonly yes there")
    if use.keeps and info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
        said = f"{place} forgets what it likes when it is full ({info['maxmemory_policy']})"
        yield Finding("redis", State.WARNING, said, "set maxmemory-policy noeviction there")
    if not use.keeps and not info.get("maxmemory"):
        said = f"{place} has no bound on its memory"
        remedy = "set maxmemory, and maxmemory-policy allkeys-lru, there"
        yield Finding("redis", State.WARNING, said, remedy)
    yield Finding("redis", State.OK, f"{place} answers, version {version}")
