"""Closing a stream on every way out, so that what runs behind it ends with its reader."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["closing_stream"]

T = TypeVar("T")


class closing_stream(Generic[T]):  # noqa: N801 - used as a function, as contextlib's own are
    """Give `stream` and close it at the end, where it is a generator or has an `aclose`.

    `contextlib.aclosing` for what the chain's Protocols promise: an iterator. A class, because a
    request passes a handful of them and a generator-based manager costs several times as much.
    """

    __slots__ = ("_stream",)

    def __init__(self, stream: AsyncIterator[T]) -> None:
        self._stream = stream

    async def __aenter__(self) -> AsyncIterator[T]:
        return self._stream

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()
