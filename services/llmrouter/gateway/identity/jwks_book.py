"""The keys of an identity provider: read from a file or a URL, and read again before they age."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import jwt

from llmrouter.common.background import BackgroundTask
from llmrouter.gateway.identity.tokens import read_jwks

__all__ = ["JwksBook"]

_MAX_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16
_TIMEOUT_SECONDS = 5.0
_MIN_PAUSE_SECONDS = 10.0
"""Between two looks that unknown keys ask for: nobody shall make this gateway flood a provider."""
_log = logging.getLogger(__name__)


class JwksBook:
    """Follows a key set. What cannot be read is told once, and the keys known before stay good.

    Args:
        place: A file, or an https URL.
        interval: Seconds between two looks.
        pause: Seconds at least before a look that an unknown key asks for.
    """

    def __init__(self, place: str, interval: float, pause: float = _MIN_PAUSE_SECONDS) -> None:
        self._place, self._interval, self._pause = place, interval, pause
        self._keys: dict[str, jwt.PyJWK] = {}
        self._wanted = asyncio.Event()
        self._failing = False
        self._task = BackgroundTask("follow the provider's keys")

    def find(self, identifier: str) -> jwt.PyJWK | None:
        """Return the key of this id, or the only one for an empty id; unknown ones are sought."""
        key = self._keys.get(identifier)
        if key is None and not identifier and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if key is None:
            self._wanted.set()
        return key

    async def start(self) -> None:
        """Read the keys and follow what becomes of them."""
        await self._look()
        self._task.start(self._follow())

    async def close(self) -> None:
        """Stop following. Safe to call twice."""
        await self._task.close()

    async def _follow(self) -> None:
        while True:
            self._wanted.clear()
            await asyncio.sleep(min(self._pause, self._interval))
            if self._interval > self._pause:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._interval - self._pause):
                        await self._wanted.wait()
            await self._look()

    async def _look(self) -> None:
        try:
            self._keys = read_jwks(json.loads(await asyncio.to_thread(_read, self._place)))
        except (OSError, ValueError, RecursionError) as error:
            if not self._failing:
                _log.warning("the provider's keys at %s cannot be read: %s", self._place, error)
            self._failing = True
        else:
            self._failing = False


class _Nowhere(urllib.request.HTTPRedirectHandler):
    """Follows nobody elsewhere: what the settings name is what is trusted."""

    def redirect_request(self, *_: object) -> None:
        return None


def _read(place: str) -> bytes:
    if not urlsplit(place).scheme:
        path = Path(place)
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("it is larger than 1 MiB")
        return path.read_bytes()
    end, found = time.monotonic() + _TIMEOUT_SECONDS, b""
    opener = urllib.request.build_opener(_Nowhere)
    with opener.open(place, timeout=_TIMEOUT_SECONDS) as answer:
        while piece := answer.read1(_PIECE_BYTES):
            found += piece
            if len(found) > _MAX_BYTES:
                raise ValueError("it is larger than 1 MiB")
            if time.monotonic() > end:  # the timeout is that of one piece
                raise TimeoutError(f"it did not come within {_TIMEOUT_SECONDS:.0f} s")
    return found
