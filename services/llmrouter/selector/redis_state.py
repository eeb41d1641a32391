"""State that several selectors share in a Redis or Valkey server.

Every document lies in a hash by its kind, and every change is told on a channel. What happens while
the server is away is kept in a file of this selector's own and told once it is back.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

from redis.asyncio import Redis

from llmrouter.common.redis_link import RedisLink
from llmrouter.common.redis_server import RedisSettings
from llmrouter.selector.redis_lease import RedisLease
from llmrouter.selector.state_store import Documents, SqliteState

__all__ = ["RedisState", "Told"]

_KINDS = ("rollout", "breaker", "graded", "placed")
_MAX_PENDING = 16_384
"""Changes that wait for a server that is away; the oldest go first."""
_MAX_PASSED_ON = 4096
"""Messages that nobody keeps which wait to be told; the oldest go first."""
_AT_ONCE = 64
_BEAT_SECONDS = 1.0
"""How often a server that says nothing is asked whether it is there."""
_log = logging.getLogger(__name__)

Told = Callable[[str, str, Mapping[str, Any] | None], None]
"""Told of a change by another selector: kind, key and document, None for one that was dropped."""


class RedisState:
    """Documents in a server, and in a file for when it is away; of one event loop."""

    def __init__(
        self,
        settings: RedisSettings,
        local: SqliteState,
        beat: float = _BEAT_SECONDS,
        lease: RedisLease | None = None,
    ) -> None:
        """Prepare it; nothing is dialled before `follow`.

        Args:
            settings: Where the server is.
            local: Keeps the same documents here.
            beat: Seconds between two signs of life that are asked for.
            lease: Taken with every beat while the server is there.

        Raises:
            RouterError: STORE_FAILED when a file of the settings cannot be read.
        """
        self._settings, self._local, self._beat, self._lease = settings, local, beat, lease
        self._link = RedisLink(settings, "selector.redis", self._share, text=True)
        self._name = secrets.token_hex(8)
        self._pending: OrderedDict[tuple[str, str], str | None] = OrderedDict()
        self._dropped: set[tuple[str, str]] = set()
        """Documents that were dropped here before anything was shared."""
        self._passed_on: deque[str] = deque(maxlen=_MAX_PASSED_ON)
        self._changed = asyncio.Event()
        self._following = False
        self._told: Told = lambda *_: None
        self._documents: Documents = {}

    @property
    def trouble(self) -> str:
        """What is not shared, or lost at a restart, and why; empty while all is well."""
        away = self._link.away
        away = away and f"{away}: this selector shares nothing until it is back"
        return "; ".join(filter(None, (away, self._local.trouble)))

    async def load(self) -> Documents:
        """Return what the file here kept."""
        return await self._local.load()

    def put(self, kind: str, key: str, data: Mapping[str, Any] | None) -> None:
        """Keep a document here at once, and tell it soon, if it is of a kind that is shared.

        None drops it.

        Before `follow`, only what this selector kept itself is tidied up: others may know better.
        """
        self._local.put(kind, key, data)
        if kind not in _KINDS:
            return
        if not self._following:
            self._dropped.add((kind, key))
            return
        self._pending[kind, key] = None if data is None else json.dumps(data)
        self._pending.move_to_end((kind, key))
        while len(self._pending) > _MAX_PENDING:
            self._pending.popitem(last=False)
        self._changed.set()

    def tell(self, kind: str, key: str, data: Mapping[str, Any]) -> bool:
        """Tell the other selectors something that is not kept; False while nobody would hear it."""
        if self._link.away:
            return False
        self._passed_on.append(self._change(kind, key, json.dumps(data)))
        self._changed.set()
        return True

    async def follow(self, told: Told, documents: Documents) -> None:
        """Share from now on; returns once the server was joined, or has not answered in time.

        Args:
            told: Takes in what others have changed.
            documents: What this selector starts with; what the server lacks of it is told.
        """
        self._following = True
        self._told, self._documents = told, documents
        if not await self._link.start():
            _log.warning("%s; this selector goes on with its own state", self._link.away)

    async def close(self) -> None:
        """Tell what waits, if the server is there, and close the file. Safe to call twice."""
        await self._link.close(lambda: bool(self._pending or self._passed_on))
        await self._local.close()

    async def _share(self, client: Redis) -> None:
        """Join the server, then tell and hear changes until it is lost."""
        async with client.pubsub(ignore_subscribe_messages=True) as channel:
            # First the channel, then what lies there: nothing falls between the two.
            await channel.subscribe(self._key("changes"))
            await self._join(client)
            self._link.found()
            async with asyncio.TaskGroup() as both:
                both.create_task(self._tell(client))
                both.create_task(self._hear(channel))
                if self._lease is not None:
                    both.create_task(self._hold(client, self._lease))

    async def _join(self, client: Redis) -> None:
        documents = self._documents
        for kind in _KINDS:
            lying: dict[Any, Any] = await client.hgetall(self._key(kind))
            for key, text in lying.items():
                if (kind, key) not in self._pending:
                    _hand_over(self._told, kind, key, text)
            for key, data in documents.get(kind, {}).items():
                if key not in lying and (kind, key) not in self._dropped:
                    self._pending.setdefault((kind, key), json.dumps(data))
        documents.clear()
        self._dropped.clear()
        self._changed.set()

    async def _tell(self, client: Redis) -> None:
        while not self._link.closing:
            self._changed.clear()
            while self._pending:
                (kind, key), text = next(iter(self._pending.items()))
                async with client.pipeline(transaction=True) as both:
                    if text is None:
                        both.hdel(self._key(kind), key)
                    else:
                        both.hset(self._key(kind), key, text)
                    both.publish(self._key("changes"), self._change(kind, key, text))
                    await both.execute()
                if self._pending.get((kind, key), "") == text:
                    del self._pending[kind, key]
            while self._passed_on:
                async with client.pipeline(transaction=False) as several:
                    for _ in range(min(_AT_ONCE, len(self._passed_on))):
                        several.publish(self._key("changes"), self._passed_on.popleft())
                    await several.execute()
            try:
                async with asyncio.timeout(self._beat):
                    await self._changed.wait()
            except TimeoutError:
                await client.ping()

    async def _hear(self, channel: Any) -> None:
        while not self._link.closing:
            message = await channel.get_message(timeout=self._beat)
            if message is None:
                continue
            try:
                change = json.loads(message["data"])
                by, kind, key = str(change["by"]), str(change["kind"]), str(change["key"])
                text = change["text"]
            except (KeyError, TypeError, ValueError) as error:
                _log.warning("a change of shared state cannot be read: %s", error)
                continue
            if by != self._name:
                _hand_over(self._told, kind, key, text)

    async def _hold(self, client: Redis, lease: RedisLease) -> None:
        while not self._link.closing:
            await lease.take(client)
            await asyncio.sleep(self._beat)

    def _change(self, kind: str, key: str, text: str | None) -> str:
        return json.dumps({"by": self._name, "kind": kind, "key": key, "text": text})

    def _key(self, name: str) -> str:
        return f"{self._settings.prefix}:selector:{name}"


def _hand_over(told: Told, kind: str, key: str, text: str | None) -> None:
    """Tell of one change; what is no document is left out."""
    try:
        data = None if text is None else json.loads(text)
    except (TypeError, ValueError):
        _log.warning("the shared %s %r is no document; it is left out", kind, key)
        return
    if data is None or isinstance(data, dict):
        told(kind, key, data)
