"""Counters in a Redis or Valkey that gateways share: each script is one step for all of them.

All calls go through one connection in order, as many at a time as wait. What a gateway had
reserved when it died is free again once it has given no sign of life for ten seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as DisconnectedError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as TimedOutError

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.redis_link import RedisLink
from llmrouter.common.redis_server import RedisSettings
from llmrouter.gateway.limits.alerts import AlertKind
from llmrouter.gateway.limits.charges import Charge, Full, Refused, Reservation, Seen, Told
from llmrouter.gateway.limits.memory_store import alert_of
from llmrouter.gateway.limits.resources import Resource, Window

__all__ = ["RedisStore"]

_SCRIPTS = Path(__file__).with_name("scripts")
_AT_ONCE = 128
"""Calls that travel together."""
_MAX_WAITING = 16_384
"""Calls that wait; more reservations are refused, and the oldest settlements are lost."""
_BEAT_SECONDS = 2.0
_LIFE_MILLISECONDS = 10_000
_SWEPT_AT_ONCE = 500
_AGAIN_SECONDS = 1.0
_PER_CHARGE = 6
"""Numbers that `reserve.lua` returns of each."""
_UNUSABLE = (DisconnectedError, TimedOutError, NoScriptError, ReadOnlyError)
"""Answers to one call that hold for all."""
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Reserve:
    id: str
    charges: tuple[Charge, ...]
    tentative: bool
    answer: asyncio.Future[Reservation | Refused]


@dataclass(slots=True)
class _Settle:
    reservation: Reservation
    actual: Mapping[Resource, int]
    again: bool = False


class RedisStore:
    """Counts exactly, over all gateways; of one event loop.

    Args:
        settings: Where the server is.
        told: Hears of alerts.
        beat: Seconds between two signs of life.
        life: Milliseconds after which a gateway without one is taken for dead.

    Raises:
        RouterError: STORE_FAILED when a file of the settings cannot be read.
    """

    def __init__(
        self,
        settings: RedisSettings,
        told: Told,
        beat: float = _BEAT_SECONDS,
        life: int = _LIFE_MILLISECONDS,
    ) -> None:
        self._told, self._beat, self._life = told, beat, life
        self._link = RedisLink(settings, "gateway.limits.redis", self._serve, self._fail_waiting)
        self._name = secrets.token_hex(8)
        self._begins = f"{{{settings.prefix}:limits}}:"
        self._made = 0
        self._waiting: deque[_Reserve | _Settle] = deque()
        self._wake = asyncio.Event()

    @property
    def trouble(self) -> str:
        """Why nothing can be counted now; empty while it can."""
        return self._link.away

    async def start(self) -> None:
        """Begin to count; returns once the server was reached, or has not answered in time."""
        if not await self._link.start():
            _log.warning("limits: %s", self._link.away)

    async def close(self) -> None:
        """Settle what waits, if the server is there. Safe to call twice."""
        await self._link.close(lambda: bool(self._waiting))
        self._fail_waiting()

    async def reserve(
        self, charges: Sequence[Charge], *, tentative: bool = False
    ) -> Reservation | Refused:
        """Reserve, or say what has no room; as `LimitStore.reserve`.

        Raises:
            RouterError: STORE_FAILED while the server cannot be used.
        """
        if self._link.away or len(self._waiting) >= _MAX_WAITING:
            raise self._failure()
        self._made += 1
        answer: asyncio.Future[Reservation | Refused] = asyncio.get_running_loop().create_future()
        name = f"{self._name}:{self._made}"
        self._waiting.append(_Reserve(name, tuple(charges), tentative, answer))
        self._wake.set()
        return await answer

    def settle(self, reservation: Reservation, actual: Mapping[Resource, int]) -> None:
        """Have a reservation count for what was used, once the server is there."""
        if all(one.kind.resource is Resource.REQUESTS for one in reservation.charges):
            return
        self._waiting.append(_Settle(reservation, actual))
        while len(self._waiting) > 2 * _MAX_WAITING:
            self._waiting.popleft()
        self._wake.set()

    async def _serve(self, client: Redis) -> None:
        """Load the scripts, then call them until the server is lost."""
        loaded = {
            name: await client.script_load(_script(name)) for name in ("reserve", "settle", "sweep")
        }
        loop, due = asyncio.get_running_loop(), 0.0
        while not self._link.closing:
            if loop.time() >= due:
                swept = await client.evalsha(loaded["sweep"], *self._sweep_arguments())
                due = loop.time() + (0 if swept > _SWEPT_AT_ONCE else self._beat)
                self._link.found()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            if not self._waiting:
                self._wake.clear()
            while self._waiting and loop.time() < due:
                await self._call(client, loaded)

    async def _call(self, client: Redis, loaded: Mapping[str, str]) -> None:
        """Send as many calls as may travel together; those that fail wait again, or are told."""
        count = min(_AT_ONCE, len(self._waiting))
        calls = [self._waiting.popleft() for _ in range(count)]
        try:
            async with client.pipeline(transaction=False) as together:
                for call in calls:
                    if isinstance(call, _Reserve):
                        together.evalsha(loaded["reserve"], *self._reserve_arguments(call))
                    else:
                        together.evalsha(loaded["settle"], *self._settle_arguments(call))
                answers = await together.execute(raise_on_error=False)
            _check_usable(answers)
        except (RedisError, OSError, TimeoutError) as error:
            self._link.lost(error)  # told to those who wait before others are
            self._take_back(calls)
            raise
        except BaseException:
            self._take_back(calls)
            raise
        for call, answer in zip(calls, answers, strict=True):
            self._answered(call, answer)

    def _answered(self, call: _Reserve | _Settle, answer: Any) -> None:
        if isinstance(answer, Exception):  # a script failed on what it found there
            _log.error("limits: Redis refuses a call: %s", answer)
            if isinstance(call, _Reserve) and not call.answer.done():
                call.answer.set_exception(self._failure(str(answer)))
        elif isinstance(call, _Reserve):
            self._reserved(call, answer)
        else:
            self._alert(call.reservation.charges, answer[::2], answer[1::2])

    def _take_back(self, calls: Iterable[_Reserve | _Settle]) -> None:
        """Nobody knows whether these calls have arrived: what was reserved is given back later."""
        again = []
        for call in calls:
            if isinstance(call, _Reserve):
                if not call.answer.done():
                    call.answer.set_exception(self._failure())
                nothing = Reservation(call.id, call.charges, (), ())
                again.append(_Settle(nothing, {}, again=True))
            else:
                call.again = True
                again.append(call)
        self._waiting.extendleft(reversed(again))

    def _reserved(self, call: _Reserve, answer: Sequence[int]) -> None:
        parts = [
            answer[begin : begin + _PER_CHARGE] for begin in range(1, len(answer), _PER_CHARGE)
        ]
        self._alert(call.charges, [one[4] for one in parts], [one[5] for one in parts])
        seen = [Seen(used, reset) for used, reset, *_ in parts]
        found: Reservation | Refused
        if answer[0]:
            marks = tuple(one[3] for one in parts)
            found = Reservation(call.id, call.charges, marks, tuple(seen))
        else:
            found = Refused(
                tuple(
                    Full(charge, one, None if wait == -2 else wait)
                    for charge, one, (_, _, wait, *_) in zip(call.charges, seen, parts, strict=True)
                    if wait != -1
                )
            )
        if not call.answer.done():
            call.answer.set_result(found)
        elif isinstance(found, Reservation):
            self.settle(found, {})  # who asked has gone

    def _alert(self, charges: Sequence[Charge], due: Sequence[int], spent: Sequence[int]) -> None:
        for charge, bits, sum_ in zip(charges, due, spent, strict=False):
            for kind in AlertKind:
                if bits & kind.bit:
                    self._told(alert_of(kind, charge, sum_))

    def _fail_waiting(self) -> None:
        """Tell all who wait for a reservation; settlements go on waiting."""
        left = [one for one in self._waiting if isinstance(one, _Settle)]
        for call in self._waiting:
            if isinstance(call, _Reserve) and not call.answer.done():
                call.answer.set_exception(self._failure())
        self._waiting = deque(left)

    def _failure(self, why: str = "too many requests wait for it") -> RouterError:
        message = f"limits cannot be checked: {self._link.away or why}"
        return RouterError(Reason.STORE_FAILED, message, retry_after=_AGAIN_SECONDS)

    def _key(self, kind: str, name: str = "") -> str:
        return f"{self._begins}{kind}:{name}"

    def _sweep_arguments(self) -> tuple[Any, ...]:
        keys = (self._key("alive"), self._key("swept"))
        return 2, *keys, self._name, self._life, self._key("held"), _SWEPT_AT_ONCE

    def _reserve_arguments(self, call: _Reserve) -> tuple[Any, ...]:
        counters = [self._key("counter", one.counter) for one in call.charges]
        told = json.dumps([_facts(one) for one in call.charges])
        keys = (self._key("held", self._name), *counters)
        return len(keys), *keys, call.id, told, int(call.tentative)

    def _settle_arguments(self, call: _Settle) -> tuple[Any, ...]:
        keys = (self._key("held", self._name), self._key("swept"))
        tokens = call.actual.get(Resource.TOKENS, 0)
        dollars = call.actual.get(Resource.DOLLARS, 0)
        told = json.dumps(
            [
                {**_facts(one), "key": self._key("counter", one.counter)}
                for one in call.reservation.charges
            ]
        )
        return 2, *keys, call.reservation.id, tokens, dollars, int(call.again), told


def _check_usable(answers: Iterable[Any]) -> None:
    """Raise the first answer that says that the server cannot be used."""
    for answer in answers:
        if isinstance(answer, _UNUSABLE):
            raise answer


def _script(name: str) -> str:
    """Return a script with what all scripts share before it."""
    return "\n".join(
        (_SCRIPTS / f"{one}.lua").read_text(encoding="utf-8") for one in ("counters", name)
    )


def _facts(charge: Charge) -> dict[str, object]:
    """Return what the scripts know of a charge."""
    window = charge.kind.window
    kind = "now" if window is Window.NOW else "calendar" if window.is_calendar else "sliding"
    return {
        "kind": kind,
        "resource": charge.kind.resource.value,
        "window": window.milliseconds,
        "amount": charge.amount,
        "ceiling": charge.ceiling,
        "limit": charge.limit,
        "ends": charge.ends,
    }
