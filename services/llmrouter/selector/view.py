"""The catalog as arrays: what changes only when models or replicas come, go or change.

Row i is the i-th model version that has endpoints: those that are meant in order of name and
version, then those that must be named. Its replicas are the places
`starts[i]` to `starts[i + 1]` of the arrays per endpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmrouter.selector.catalog import Catalog, Model, ServedModel
from llmrouter.selector.evidence import Array, Key, Measure, prior_belief
from llmrouter.selector.statistics import PRIORS, prefill_pace
from llmrouter.selector.tokenizer_book import tokenizer_key

__all__ = ["CatalogView", "Flags", "Loads", "loads_of", "view_of"]

CACHE_WEIGHT = 0.25
"""How much the fullest replica's memory of keys and values weighs, in requests per slot."""
_MODEL_BYTES, _ENDPOINT_BYTES = 2048, 1024
_MAX_KINDS = 256
"""Sets of capabilities whose rows are remembered."""

Flags = NDArray[np.bool_]
Hashes = NDArray[np.uint64]


class Loads(NamedTuple):
    """What e endpoints said of themselves, up to an interval ago."""

    reported: Array
    """Requests that run or wait."""
    waiting: Array
    """Requests that wait."""
    cache: Array
    """How much the memory of keys and values weighs, in requests per slot."""


@dataclass(frozen=True, slots=True)
class CatalogView:
    """An unchanging view of the models that are served or away; n rows, e endpoints."""

    catalog: Catalog
    models: tuple[Model, ...]
    absent: tuple[Model, ...]
    """Known models that no endpoint serves or did."""
    loading: tuple[Model, ...]
    """Known models that an endpoint will serve soon."""
    rows: Mapping[tuple[str, str], int]
    """By name and version."""
    keys: tuple[Key, ...]
    """Of each row's statistics."""
    quality: Array
    input_price: Array
    """US dollars per prompt token, as the next one per generated token."""
    output_price: Array
    longest_token: Array
    """UTF-8 bytes of prompt that one token stands for at most; infinite where unbounded."""
    context: Array
    """e: tokens that fit there."""
    largest: Array
    """n: tokens that fit on each row's roomiest endpoint."""
    fitting_bytes: float
    """UTF-8 bytes of prompt up to which some text of that size could fit on every row."""
    weight: Array
    prior: Array
    """2 measures x n: what is believed before anything was observed, as `prior_belief` gives it."""
    salts: Hashes
    """One number per row that follows from name and version."""
    capable: Mapping[str, Flags]
    """By capability: which rows can."""
    tagged: Mapping[str, Flags]
    """By tag: which rows carry it."""
    restricted: tuple[int, ...]
    """Rows that not every tenant may use."""
    tokenizers: tuple[Key, ...]
    """n: of what is learned of each row's tokenizer."""
    meant: Flags
    """Rows that are meant where no version is named."""
    away: Flags
    """Rows that cannot generate now; answers they gave may be kept."""
    any_away: bool
    starts: NDArray[np.intp]
    """n + 1 places."""
    row_of: NDArray[np.intp]
    """e: the row of each endpoint."""
    endpoints: tuple[Key, ...]
    places: Mapping[Key, int]
    """Of each endpoint."""
    slots: Array
    draining: Flags
    any_draining: bool
    first_slots: Array
    """n: slots of each row's first endpoint."""
    none: Flags = field(repr=False)
    """False for each row: what nothing can do."""
    _lacking: dict[frozenset[str], Flags | None] = field(default_factory=dict, repr=False)

    def find(self, name: str, version: str) -> Model | None:
        """Return this version of this model; None unless an endpoint serves it."""
        row = self.rows.get((name, version))
        return None if row is None or self.away[row] else self.models[row]

    def usual(self, key: tuple[str, str]) -> Array:
        """Return of each measure what is believed of a version before anything was observed."""
        measures = len(Measure)
        return self.prior[:measures, self.rows[key]] / self.prior[measures:, self.rows[key]]

    def lacking(self, capabilities: frozenset[str]) -> Flags | None:
        """Return the rows that lack one of the capabilities; None where none does."""
        if capabilities not in self._lacking:
            if len(self._lacking) >= _MAX_KINDS:
                self._lacking.clear()
            lacking = self.none
            for name in capabilities:
                lacking = lacking | ~self.capable.get(name, self.none)
            self._lacking[capabilities] = lacking if lacking.any() else None
        return self._lacking[capabilities]

    def least(self, values: Array) -> Array:
        """Return for each row the least of its endpoints' values."""
        if len(self.endpoints) == len(self.models):
            return values
        least: Array = np.minimum.reduceat(values, self.starts[:-1])
        return least

    def most(self, values: Array) -> Array:
        """Return for each row the most of its endpoints' values."""
        if len(self.endpoints) == len(self.models):
            return values
        most: Array = np.maximum.reduceat(values, self.starts[:-1])
        return most

    def every(self, flags: Flags) -> Flags:
        """Return for each row whether all of its endpoints have a flag."""
        if len(self.endpoints) == len(self.models):
            return flags
        every: Flags = np.logical_and.reduceat(flags, self.starts[:-1])
        return every

    @property
    def bytes(self) -> int:
        """About how much memory it takes, its models included."""
        return _MODEL_BYTES * len(self.models) + _ENDPOINT_BYTES * len(self.endpoints)

    def replicas(self, row: int) -> range:
        """Return the places of a row's endpoints."""
        return range(int(self.starts[row]), int(self.starts[row + 1]))


def view_of(catalog: Catalog) -> CatalogView:
    """Return the catalog as arrays."""
    models = tuple(model for model in catalog.every if model.endpoints)
    endpoints = tuple(
        (model.name, model.version, one.address) for model in models for one in model.endpoints
    )
    served = [one for model in models for one in model.endpoints]
    counts = [len(model.endpoints) for model in models]
    entries = [model.entry for model in models]
    slots = np.maximum(1.0, _numbers(one.slots for one in served))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
    away = np.array([model.away for model in models], np.bool_)
    return CatalogView(
        catalog=catalog,
        models=models,
        absent=tuple(model for model in catalog.models if not model.endpoints),
        loading=tuple(model for model in catalog.models if model.loading),
        rows={model.key: row for row, model in enumerate(models)},
        keys=tuple((model.name, model.version, "") for model in models),
        quality=_numbers(model.quality for model in models),
        input_price=_numbers(model.prices.input for model in models) / 1e6,
        output_price=_numbers(model.prices.output for model in models) / 1e6,
        longest_token=_numbers(model.longest_token_bytes or np.inf for model in models),
        context=_numbers(one.context for one in served),
        largest=_numbers(model.context for model in models),
        fitting_bytes=_fitting_bytes(models),
        weight=_numbers(entry.weight for entry in entries),
        prior=prior_belief(
            np.array([_priors(model) for model in models]).reshape(-1, len(Measure)).T.copy()
        ),
        salts=np.array([_salt(model) for model in models], np.uint64),
        capable=_flags([model.capabilities for model in models]),
        tagged=_flags([frozenset(entry.tags) for entry in entries]),
        restricted=tuple(
            row for row, entry in enumerate(entries) if entry.allow_tenants or entry.deny_tenants
        ),
        tokenizers=tuple(tokenizer_key(model.tokenizer) for model in models),
        meant=np.arange(len(models)) < sum(1 for one in catalog.models if one.endpoints),
        away=away,
        any_away=bool(away.any()),
        starts=starts,
        row_of=np.repeat(np.arange(len(models)), counts),
        endpoints=endpoints,
        places={key: place for place, key in enumerate(endpoints)},
        slots=slots,
        draining=np.array([one.draining for one in served], np.bool_),
        any_draining=any(one.draining for one in served),
        first_slots=slots[starts[:-1]],
        none=np.zeros(len(models), np.bool_),
    )


def _fitting_bytes(models: Iterable[Model]) -> float:
    bounded = [one for one in models if one.longest_token_bytes]
    return min((one.longest_token_bytes * one.context for one in bounded), default=np.inf)


def loads_of(view: CatalogView, served: Iterable[ServedModel]) -> Loads:
    """Return how busy the endpoints of a view said that they are; 0 where one said nothing."""
    count = len(view.endpoints)
    reported, waiting, cache = np.zeros(count), np.zeros(count), np.zeros(count)
    for one in served:
        place = view.places.get((one.name, one.version, one.address))
        if place is not None:
            reported[place] = one.running + one.waiting
            waiting[place] = one.waiting
            cache[place] = one.cache_bytes
    if count:
        fullest = np.maximum.reduceat(cache, view.starts[:-1])
        cache /= np.maximum(1.0, np.repeat(fullest, np.diff(view.starts)))
    return Loads(reported, waiting, CACHE_WEIGHT * cache)


def _numbers(values: Iterable[float]) -> Array:
    return np.array(list(values), np.float64)


def _flags(sets: list[frozenset[str]]) -> dict[str, Flags]:
    names = sorted(frozenset().union(*sets))
    return {name: np.array([name in one for one in sets], np.bool_) for name in names}


def _salt(model: Model) -> int:
    digest = hashlib.blake2b(f"{model.name}@{model.version}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _priors(model: Model) -> tuple[float, ...]:
    """Return what the configuration says, else what engines measure, else what is on the cards."""
    first, per_token = model.entry.time_to_first_token, model.entry.seconds_per_token
    cards = [one.priors for one in model.endpoints]
    steps = [one.step_seconds for one in model.endpoints if one.step_seconds > 0]
    if first is None:
        first = fmean(card.time_to_first_token for card in cards)
    if per_token is None:
        per_token = fmean(steps or [card.seconds_per_token for card in cards])
    return PRIORS.error_rate, prefill_pace(first, PRIORS.prompt_tokens), per_token
