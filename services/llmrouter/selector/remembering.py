"""What inference services held, kept over a restart: a model is away then, and not unknown."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from llmrouter.selector.catalog import ServedModel
from llmrouter.selector.made_from import decode_served, encode_served
from llmrouter.selector.state_store import StateStore

__all__ = ["KIND", "ServedMemory"]

KIND = "served"
"""Of the documents, one per address."""
_names = attrgetter("name", "version", "names", "context", "capabilities")
_log = logging.getLogger(__name__)


class ServedMemory:
    """Keeps which versions each address held last.

    Args:
        addresses: Those that are watched; of others nothing is kept.
        store: Where it is kept.
        wall: Seconds since the epoch.
    """

    def __init__(
        self, addresses: Sequence[str], store: StateStore, wall: Callable[[], float] = time.time
    ) -> None:
        self._addresses = frozenset(addresses)
        self._store, self._wall = store, wall
        self._kept: dict[str, list[Any]] = {}

    def restore(
        self, documents: Mapping[str, dict[str, Any]]
    ) -> dict[str, tuple[ServedModel, ...]]:
        """Return by address what was held there; what cannot be read is told and left out."""
        found = {}
        for address, data in documents.items():
            if address not in self._addresses:
                self._store.put(KIND, address, None)
                continue
            try:
                held = tuple(decode_served({**one, "address": address}) for one in data["models"])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                _log.warning("what %s held cannot be read: %s", address, error)
                continue
            found[address] = held
            self._kept[address] = [_names(one) for one in held]
        return found

    def told(self, address: str, served: Sequence[ServedModel]) -> None:
        """Take in what an address holds; kept is what has a version, once it is another."""
        held = [one for one in served if one.version and not one.error]
        names = [_names(one) for one in held]
        if names == self._kept.get(address):
            return
        self._kept[address] = names
        models = [encode_served(one) for one in held]
        self._store.put(KIND, address, {"seen": self._wall(), "models": models} if held else None)
