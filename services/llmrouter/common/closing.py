"""Closing a stream on every way out, so that what runs behind it ends with its reader."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

__all__ = ["closing_stream"]

T = TypeVar("T")


@asynccontextmanager
async def closing_stream(stream: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Give `stream` and close it at the end, where it is a generator or has an `aclose`.

    `contextlib.aclosing` for what the chain's Protocols promise: an iterator.
    """
    try:
        yield stream
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
