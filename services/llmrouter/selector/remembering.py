"""What inference services held, kept over a restart: a model is away then, and not unknown."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from pydantic import TypeAdapter, ValidationError

from llmrouter.selector.catalog import ServedModel
from llmrouter.selector.made_from import encode_served
from llmrouter.selector.state_store import StateStore
from llmrouter.selector.wire_placement import MAX_MODELS

__all__ = ["KIND", "ServedMemory"]

KIND = "served"
"""Of the documents, one per address."""
_names = attrgetter("name", "version", "names", "context", "capabilities")
_MOST = 2**32
"""Above every number that a service tells of a model."""
_typed = TypeAdapter(ServedModel)
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
                models = data["models"][:MAX_MODELS]
                held = tuple(_model({**one, "address": address}) for one in models)
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


def _model(told: dict[str, Any]) -> ServedModel:
    """Return a model as `encode_served` told it.

    Raises:
        ValueError: A field is of another type, or is no such number as a service could have told:
            every choice would meet it.
    """
    try:
        checked = _typed.validate_json(json.dumps(told), strict=True)
    except ValidationError as error:
        [wrong, *_] = error.errors(include_url=False)
        raise ValueError(f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from error
    priors = checked.priors
    counts = (
        checked.context,
        checked.slots,
        checked.longest_token_bytes,
        checked.step_seconds,
        priors.prompt_tokens,
    )
    if not all(0 <= one < _MOST for one in counts):
        raise ValueError(f"{checked.name} has a number below 0, or of {_MOST} or more")
    if not (0 <= checked.quality_ratio <= 1 and 0 <= priors.error_rate <= 1):
        raise ValueError(f"{checked.name} has a quality ratio or an error rate that is not 0 to 1")
    if not all(
        0 < one < math.inf for one in (priors.time_to_first_token, priors.seconds_per_token)
    ):
        raise ValueError(f"{checked.name} has a time that is not above 0, or has no end")
    return checked
