"""Tells a web address of alerts: signed, in the background, with a bound on everything.

The body is JSON; `x-llmrouter-signature` is `t=<seconds>,v1=<hex>`, the HMAC-SHA-256 of
`<seconds>.<body>` under the secret, so that nobody can make one up, nor send an old one again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import aiohttp
import structlog

from llmrouter.common.errors import Reason, RouterError
from llmrouter.gateway.limits.alerts import Alert
from llmrouter.gateway.limits.settings import WebhookSettings

__all__ = ["SIGNATURE", "Webhook", "signature"]

SIGNATURE = "x-llmrouter-signature"
_MAX_WAITING = 256
_FIRST_PAUSE = 1.0
_MIN_SECRET_BYTES = 16
_log = structlog.get_logger("llmrouter.gateway.limits")


def signature(secret: bytes, seconds: int, body: bytes) -> str:
    """Return what is sent beside a body.

    Args:
        secret: What both sides know.
        seconds: When it is sent, since the epoch.
        body: What is sent.
    """
    digest = hmac.digest(secret, f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={digest.hex()}"


class Webhook:
    """Sends one alert after the other; each is tried again a few times, then given up.

    Args:
        settings: Where to, and how often.
        pause: Seconds before the second try; doubled with each further one.
        clock: Seconds since the epoch.

    Raises:
        RouterError: STORE_FAILED when the secret cannot be read, or is too short.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        pause: float = _FIRST_PAUSE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._pause, self._clock = settings, pause, clock
        self._secret = _read(settings.secret_file)
        self._waiting: asyncio.Queue[Alert] = asyncio.Queue(_MAX_WAITING)
        self._task: asyncio.Task[None] | None = None

    def __call__(self, alert: Alert) -> None:
        """Have an alert sent soon; past the bound it is left out, and the log says so."""
        try:
            self._waiting.put_nowait(alert)
        except asyncio.QueueFull:
            _log.error("an alert was not sent: too many wait", rule=alert.rule)

    async def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.create_task(self._send_all(), name="send alerts")

    async def close(self) -> None:
        """Give what waits one try's time, then stop. Safe to call twice."""
        task, self._task = self._task, None
        if task is None:
            return
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                await self._waiting.join()
        except TimeoutError:
            _log.error("alerts were not sent before the end", waiting=self._waiting.qsize())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _send_all(self) -> None:
        limit = aiohttp.ClientTimeout(total=self._settings.timeout_seconds)
        async with aiohttp.ClientSession(timeout=limit) as session:
            while True:
                alert = await self._waiting.get()
                try:
                    await self._send(session, alert)
                finally:
                    self._waiting.task_done()

    async def _send(self, session: aiohttp.ClientSession, alert: Alert) -> None:
        facts = {"id": uuid.uuid4().hex, "type": f"budget.{alert.kind}", **asdict(alert)}
        body = json.dumps(facts).encode()
        why = ""
        for place in range(self._settings.tries):
            if place:
                await asyncio.sleep(self._pause * 2 ** (place - 1))
            why = await self._try(session, body)
            if not why:
                return
        _log.error("an alert was not taken", rule=alert.rule, error=why)

    async def _try(self, session: aiohttp.ClientSession, body: bytes) -> str:
        """Return why it failed; empty when it was taken."""
        headers = {
            "content-type": "application/json",
            SIGNATURE: signature(self._secret, int(self._clock()), body),
        }
        try:
            async with session.post(
                self._settings.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return "" if answer.ok and answer.status < 300 else f"status {answer.status}"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return str(error) or type(error).__name__


def _read(file: Path) -> bytes:
    try:
        secret = file.read_bytes().strip()
    except OSError as error:
        message = f"gateway.limits.webhook.secret_file cannot be read: {error}"
        raise RouterError(Reason.STORE_FAILED, message) from error
    if len(secret) < _MIN_SECRET_BYTES:
        message = f"{file} has fewer than {_MIN_SECRET_BYTES} bytes, the least for a secret"
        raise RouterError(Reason.STORE_FAILED, message)
    return secret
