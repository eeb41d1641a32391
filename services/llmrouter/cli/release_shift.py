"""Shifts traffic from one release to another: what the policy says is applied, watched, undone."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrouter.cli.release_policy import RELEASE_FAULTS, Plan, Seen, Verdict, judge

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Command", "Prometheus", "ReleaseError", "Shift", "Step"]

_APPLY_SECONDS = 300.0
_ASK_SECONDS = 10.0
_LOOKS = 20
"""Looks in the least time that a stage lasts, at most one each second."""


class ReleaseError(Exception):
    """A release was not begun, was taken back, or could not be; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is known after a look."""

    share: int
    """Per cent of the traffic that the new release gets."""
    in_stage: float
    """Seconds."""
    new: Seen | None
    old: Seen | None
    note: str = ""


class Command:
    """Has a command of the operator's share the traffic, as `helm upgrade` of the routes does.

    Args:
        line: The command; `{old}` and `{new}` become the per cent of each. No shell reads it.
    """

    def __init__(self, line: str) -> None:
        self._words = shlex.split(line)

    async def __call__(self, new: int) -> None:
        """Give the new release so much per cent of the traffic.

        Raises:
            ReleaseError: The command fails, or takes longer than five minutes.
        """
        shares = (("{old}", str(100 - new)), ("{new}", str(new)))
        words = self._words
        for mark, share in shares:
            words = [word.replace(mark, share) for word in words]
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(*words, stdout=pipe, stderr=pipe)
        except OSError as error:
            raise ReleaseError(f"--apply: {words[0]} cannot be run: {error.strerror}") from None
        try:
            async with asyncio.timeout(_APPLY_SECONDS):
                _, said = await process.communicate()
        except TimeoutError:
            raise ReleaseError(f"--apply: {words[0]} took more than five minutes") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            last = said.decode(errors="replace").strip().rpartition("\n")[2]
            raise ReleaseError(f"--apply: {words[0]} ended with {process.returncode}: {last}")


class Prometheus:
    """Reads how a release does.

    Args:
        url: Of the server.
    """

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/query"

    async def seen(self, matchers: str, seconds: float) -> Seen:
        """Return what the gateways of a release were asked, and how much of it failed.

        Args:
            matchers: Which series are theirs, such as `service="green-llmrouter-gateway-headless"`.
            seconds: How far is looked back.

        Raises:
            ReleaseError: The server does not answer, or not with numbers.
        """
        import aiohttp

        faults, window = "|".join(RELEASE_FAULTS), f"{max(1, round(seconds))}s"
        requests = f"sum(increase(llm_requests_total{{{matchers}}}[{window}]))"
        failures = f'sum(increase(llm_errors_total{{{matchers},reason=~"{faults}"}}[{window}]))'
        timeout = aiohttp.ClientTimeout(total=_ASK_SECONDS)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                asked = (self._value(session, query) for query in (requests, failures))
                return Seen(*await asyncio.gather(*asked))
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError) as error:
            why = str(error) or type(error).__name__
            raise ReleaseError(f"Prometheus does not tell: {why}") from None

    async def _value(self, session: aiohttp.ClientSession, query: str) -> float:
        async with session.get(self._url, params={"query": query}) as answer:
            said: dict[str, Any] = await answer.json(content_type=None)
        if said["status"] != "success":
            raise ValueError(said.get("error", "it refuses the query"))
        found = said["data"]["result"]
        return max(0.0, float(found[0]["value"][1])) if found else 0.0


class Shift:
    """Gives a new release all the traffic by stages, or none of it.

    Args:
        plan: The stages, and what ends them.
        apply: Gives the new release so much per cent.
        ready: Whether it wants requests.
        seen: How the new release and the old one did for so many seconds; ReleaseError where
            nobody tells.
        told: Hears of every look.
        clock: Seconds.
        sleep: Waits so many.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        apply: Callable[[int], Awaitable[None]],
        ready: Callable[[], Awaitable[bool]],
        seen: Callable[[float], Awaitable[tuple[Seen, Seen]]],
        told: Callable[[Step], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._plan, self._apply, self._ready, self._seen = plan, apply, ready, seen
        self._told, self._clock, self._sleep = told, clock, sleep

    async def run(self) -> None:
        """Go through the stages; unless all succeed, the old release has all traffic again.

        Raises:
            ReleaseError: The new release was not ready and got nothing, or gets nothing any more;
                or the old one could not be given its traffic back, which the message says.
        """
        if not await self._ready():
            raise ReleaseError("the new release is not ready; it got no traffic")
        try:
            for share in self._plan.stages:
                await self._apply(share)
                await self._watch(share)
        except BaseException as error:
            why = str(error) or type(error).__name__
            await self._take_back(why)
            if isinstance(error, ReleaseError):
                raise ReleaseError(f"rolled back: {why}") from None
            raise

    async def _watch(self, share: int) -> None:
        """Watch one stage to its end.

        Raises:
            ReleaseError: The new release is to get no traffic any more.
        """
        plan, begun, blind = self._plan, self._clock(), 0
        while True:
            await self._sleep(min(plan.interval, max(1.0, plan.interval / _LOOKS)))
            in_stage = self._clock() - begun
            new, old, trouble = await self._look(max(plan.interval, in_stage))
            blind = 0 if new is not None else blind + 1
            found = judge(plan, in_stage, new, blind, trouble)
            self._told(Step(share, in_stage, new, old, found.why))
            if found.verdict is Verdict.ROLL_BACK:
                raise ReleaseError(found.why)
            if found.verdict is Verdict.ADVANCE:
                return

    async def _look(self, seconds: float) -> tuple[Seen | None, Seen | None, str]:
        """Return how the new release does, the old one, and else why that is not known."""
        try:
            if await self._ready():
                return (*await self._seen(seconds), "")
        except ReleaseError as error:
            return None, None, str(error)
        return None, None, "the new release is not ready"

    async def _take_back(self, why: str) -> None:
        try:
            await self._apply(0)
        except ReleaseError as error:
            told = f"{why}; and the old release did not get its traffic back, do it by hand"
            raise ReleaseError(f"{told}: {error}") from None
