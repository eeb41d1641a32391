"""One version of a model as a service holds it: where it is in its life, and who is using it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from llmrouter.common.errors import RouterError
from llmrouter.inference.models.opening import Facts, OpenModel
from llmrouter.inference.models.residency import ModelState, Resident
from llmrouter.inference.models.versions import Version, VersionKey

__all__ = ["HeldModel"]


@dataclass(slots=True, eq=False)
class HeldModel:
    """A version and its requests. Used from one event loop."""

    key: VersionKey
    path: Path
    installed: float = 0.0
    """When its folder was written, in seconds since 1970."""
    on_demand: bool = False
    """Whether a request loads it."""
    pinned: bool = False
    """Whether it never leaves by itself."""
    state: ModelState = ModelState.UNLOADED
    error: str = ""
    """One sentence, when it failed."""
    facts: Facts | None = None
    opened: OpenModel | None = None
    expected: bool = False
    """Whether requests will load it once the service has started."""
    announced: bool = False
    """Whether it is draining and takes requests still, of those who have not heard of it."""
    retiring: bool = False
    """Whether it is draining for good: nothing makes it ready again before it was unloaded."""
    users: int = 0
    """Requests that run on it."""
    last_used: float = 0.0
    """When its last request began or ended, in seconds of the clock."""
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nobody uses it."""
    _waiters: set[asyncio.Future[OpenModel]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Begin idle."""
        self.idle.set()

    @property
    def version(self) -> Version:
        """It, as far as names lead to it."""
        fingerprint = self.facts.version if self.facts is not None else ""
        return Version(self.key, fingerprint, self.installed)

    @property
    def stale(self) -> bool:
        """Whether what is known of it was read of a folder that has been replaced since."""
        return self.facts is not None and self.facts.written != self.installed

    def is_contents(self, version: str) -> bool:
        """Whether `version` names what it holds, and neither its folder nor an alias."""
        return bool(version) and self.key.label != version == self.version.fingerprint

    @property
    def accepting(self) -> bool:
        """Whether a request may begin on it now."""
        return self.opened is not None and (self.state is ModelState.READY or self.announced)

    @property
    def obtainable(self) -> bool:
        """Whether a request for it would wait until it is loaded."""
        loadable = self.state not in (ModelState.READY, ModelState.FAILED)
        return self.on_demand and loadable and self.facts is not None

    @property
    def waiting(self) -> int:
        """Requests that wait until it is loaded."""
        return len(self._waiters)

    @property
    def resident(self) -> Resident:
        """It, as far as it matters for who leaves."""
        memory = self.facts.memory if self.facts is not None else 0
        return Resident(self.key, memory, self.last_used, self.users, self.pinned)

    def forget(self) -> None:
        """Take in that its folder has changed: it is read anew before it is loaded."""
        if self.state in (ModelState.UNLOADED, ModelState.FAILED):
            self.state, self.error, self.facts = ModelState.UNLOADED, "", None

    def enter(self, now: float) -> OpenModel:
        """Begin to use it; only while it is accepting, and ended by `leave`."""
        if self.opened is None:
            raise TypeError("nobody can use a model that is not open")
        self.users += 1
        self.idle.clear()
        self.last_used = now
        return self.opened

    def leave(self, now: float) -> None:
        """End the use of it."""
        self.users -= 1
        self.last_used = now
        if not self.users:
            self.idle.set()

    async def wait(self) -> OpenModel:
        """Return it once it was loaded, entered already; being cancelled leaves it.

        Raises:
            RouterError: That of the load.
        """
        waiter: asyncio.Future[OpenModel] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.leave(self.last_used)
            raise
        finally:
            self._waiters.discard(waiter)

    def become_ready(self, opened: OpenModel, now: float) -> None:
        """Serve with `opened`, and let in who waited: nobody can unload it before their turn."""
        self.opened, self.facts = opened, opened.facts
        self.state, self.error, self.last_used = ModelState.READY, "", now
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(self.enter(now))
        self._waiters.clear()

    def refuse_waiters(self, error: RouterError) -> None:
        """Tell those who wait that it was not loaded."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(_copy(error))
        self._waiters.clear()


def _copy(error: RouterError) -> RouterError:
    """Return the error anew: those who raise it write into its metadata."""
    return RouterError(
        error.reason,
        error.message,
        metadata=error.metadata,
        retry_after=error.retry_after,
        violations=error.violations,
    )
