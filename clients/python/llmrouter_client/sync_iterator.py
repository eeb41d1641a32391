"""Items of the client's loop for programs without one: a plain iterator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Run", "SyncIterator"]

_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")


class Run(Protocol):
    """Runs something in the client's loop and waits for it."""

    def __call__(self, work: Coroutine[Any, Any, _ResultT], /) -> _ResultT:
        """Return what comes of it; raises what it raises."""
        ...


class SyncIterator(Iterator[_ItemT], Generic[_ItemT]):
    """Gives each item as it comes."""

    def __init__(self, run: Run, items: AsyncIterator[_ItemT]) -> None:
        self._run, self._items = run, items

    def __next__(self) -> _ItemT:
        item = self._run(self._next())
        if item is None:
            raise StopIteration
        return item

    async def _next(self) -> _ItemT | None:
        return await anext(self._items, None)
