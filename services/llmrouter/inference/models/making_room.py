"""Makes room in memory for a model: others are unloaded for it as far as a budget asks for that.

Who leaves is chosen in `residency.py`; how, its caller says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.held import HeldModel
from llmrouter.inference.models.residency import ModelState, fits, next_to_leave

__all__ = ["SOON", "NoRoomError", "RoomMaker"]

SOON = 1.0
"""When to ask again for a model that is about to be there, in seconds."""


class NoRoomError(RouterError):
    """A model that could not be loaded now, through no fault of its own.

    MEMORY_PRESSURE, which no circuit breaker holds against it, where there will be room soon.
    """


class RoomMaker:
    """Keeps what models take together within a budget; asked about one load at a time.

    Args:
        memory_bytes: For all models together; 0 sets no bound.
        held: Gives every version there is.
        leave: Unloads one for now; False when what runs on it has not finished in time.
    """

    def __init__(
        self,
        memory_bytes: int,
        held: Callable[[], Iterable[HeldModel]],
        leave: Callable[[HeldModel], Awaitable[bool]],
    ) -> None:
        self._memory_bytes, self._held, self._leave = memory_bytes, held, leave

    @property
    def used(self) -> int:
        """Bytes that all loaded models count for together."""
        return sum(one.resident.memory for one in self._held() if one.opened is not None)

    async def make(
        self, model: HeldModel, needed: int, *, beside: HeldModel | None, evicting: bool
    ) -> None:
        """Unload others until there are `needed` bytes for `model`.

        Args:
            model: Which is to be loaded.
            needed: What it counts for, in bytes.
            beside: A model that may not be unloaded for it.
            evicting: Whether others may be unloaded for it.

        Raises:
            NoRoomError: There cannot be, and nothing was unloaded in vain; or not yet.
        """
        budget = self._memory_bytes
        while budget and needed > (free := budget - self.used):
            others = [one.resident for one in self._ready() if one is not beside]
            kept = self.used - sum(one.memory for one in others)
            leaving = next_to_leave(others) if evicting else None
            if leaving is None or not fits(others, needed, budget - kept):
                going = sum(one.memory for one in others if evicting and not one.pinned)
                raise self._no_room(model, needed, free, going)
            if not await self._leave(next(one for one in self._ready() if one.key == leaving)):
                message = f"'{model.key}' waits for running answers of '{leaving}' to make room"
                raise NoRoomError(Reason.MEMORY_PRESSURE, message, retry_after=SOON)

    def _no_room(self, model: HeldModel, needed: int, free: int, going: int) -> NoRoomError:
        """Return what to tell of a model for which others leave no room: for now, or for good."""
        retiring = [one for one in self._held() if one.retiring and one.opened is not None]
        coming = sum(one.resident.memory for one in retiring)
        if coming and needed <= free + going + coming:
            message = f"'{model.key}' waits for models that are being unloaded to make room"
            return NoRoomError(Reason.MEMORY_PRESSURE, message, retry_after=SOON)
        parts = f": {model.facts.counted.told()}" if model.facts is not None else ""
        message = (
            f"'{model.key}' needs {_mib(needed)}{parts}; of the {_mib(self._memory_bytes)} "
            f"that models may take {_mib(free)} are free, and no others can be unloaded for it; "
            "raise inference.memory_mib, lower what is named, or unload or unpin a model"
        )
        return NoRoomError(Reason.MODEL_UNAVAILABLE, message)

    def _ready(self) -> list[HeldModel]:
        return [one for one in self._held() if one.state is ModelState.READY]


def _mib(count: int) -> str:
    return f"{max(0, count) / 2**20:,.0f} MiB"
