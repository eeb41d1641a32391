"""The catalog: configured models joined with what the inference services hold at this moment."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from llmrouter.common.errors import Reason, RouterError
from llmrouter.selector.costs import Prices
from llmrouter.selector.settings import CatalogEntry

__all__ = ["LOADING_SECONDS", "Catalog", "Model", "ServedModel", "build_catalog"]

LOADING_SECONDS = 1.0
"""When to ask again for a model that is being loaded."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model as one inference service reports it."""

    name: str
    version: str
    address: str
    """`host:port` of the service."""
    ready: bool = True
    error: str = ""
    """One sentence when it could not be loaded."""
    context: int = 0
    """Tokens of prompt and answer together."""
    capabilities: frozenset[str] = frozenset({"completion"})
    quality_ratio: float = 1.0
    """Perplexity of the unquantised weights over its own, at most 1; 1 where not measured."""
    running: int = 0
    waiting: int = 0
    slots: int = 0
    step_seconds: float = 0.0
    """Mean time of the engine's decoding steps; 0 before the first."""
    cache_bytes: int = 0
    """Memory of its keys and values now."""
    draining: bool = False
    """Whether it finishes what it has and takes nothing new."""

    @property
    def load(self) -> float:
        """Requests here per slot; 0 is idle, over 1 means that some wait."""
        return (self.running + self.waiting) / max(1, self.slots)


@dataclass(frozen=True)
class Model:
    """One version of a catalog model, with the endpoints that hold it ready to serve."""

    entry: CatalogEntry
    prices: Prices
    version: str = ""
    """Empty while no endpoint serves it."""
    endpoints: tuple[ServedModel, ...] = ()
    """Ready ones, in order of their addresses."""
    trouble: str = ""
    """Why no endpoint serves it; one phrase."""
    loading: bool = False
    """Whether an endpoint will serve it soon."""

    @property
    def name(self) -> str:
        """The model's name."""
        return self.entry.name

    @property
    def key(self) -> tuple[str, str]:
        """Name and version."""
        return self.entry.name, self.version

    @cached_property
    def quality(self) -> float:
        """The configured prior, lowered by the measured loss of its precision."""
        ratio = min((served.quality_ratio for served in self.endpoints), default=1.0)
        return self.entry.quality * ratio

    @cached_property
    def context(self) -> int:
        """Tokens that fit on every endpoint."""
        return min((served.context for served in self.endpoints), default=0)

    @cached_property
    def capabilities(self) -> frozenset[str]:
        """What every endpoint can do."""
        if not self.endpoints:
            return frozenset()
        return frozenset.intersection(*(served.capabilities for served in self.endpoints))


@dataclass(frozen=True, slots=True)
class Catalog:
    """An unchanging view of all models."""

    models: tuple[Model, ...]
    """In order of name and version."""
    _names: Mapping[str, tuple[str, ...]] = field(repr=False)

    def knows(self, name: str, version: str) -> bool:
        """Whether an endpoint serves this version of this model."""
        return any(
            model.name == name and model.version == version and model.endpoints
            for model in self.models
        )

    def resolve(self, wish: str, needed: frozenset[str] = frozenset()) -> tuple[Model, ...]:
        """Return the models that a name, `name@version` or alias leads to.

        Args:
            wish: The name.
            needed: Capabilities of the models that an error suggests.

        Raises:
            RouterError: UNKNOWN_MODEL, listing names that are close; MODEL_UNAVAILABLE when the
                model is known but no endpoint serves it.
        """
        base, _, version = wish.partition("@")
        names = self._names.get(base)
        if names is None:
            raise RouterError(
                Reason.UNKNOWN_MODEL,
                f"no model or alias is named {base!r}; {self._suggest(base, needed)}",
                metadata={"model": base},
            )
        found = tuple(model for model in self.models if model.name in names)
        served = tuple(model for model in found if model.endpoints)
        if not served:
            raise _unavailable(base, found)
        if not version:
            return found
        exact = tuple(model for model in served if model.version == version)
        if not exact:
            versions = ", ".join(f"{model.name}@{model.version}" for model in served)
            raise RouterError(
                Reason.UNKNOWN_MODEL,
                f"no endpoint serves version {version!r} of {base}; served: {versions}",
                metadata={"model": base, "version": version},
            )
        return exact

    def _suggest(self, name: str, needed: frozenset[str]) -> str:
        """Return the names that may have been meant, of models that could answer."""
        able = {
            model.name
            for model in self.models
            if not model.endpoints or needed <= model.capabilities
        }
        known = sorted(name for name, models in self._names.items() if able.intersection(models))
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        if close:
            return f"did you mean {', '.join(close)}?"
        more = f" and {len(known) - 10} more" if len(known) > 10 else ""
        return f"known: {', '.join(known[:10]) or 'none'}{more}"


def _unavailable(name: str, found: tuple[Model, ...]) -> RouterError:
    trouble = "; ".join(sorted({model.trouble for model in found if model.trouble}))
    return RouterError(
        Reason.MODEL_UNAVAILABLE,
        f"{name} is in the catalog but {trouble or 'no endpoint serves it'}; load it on an "
        "inference service or leave the model open",
        metadata={"model": name},
        retry_after=LOADING_SECONDS if any(model.loading for model in found) else None,
    )


def build_catalog(
    entries: Iterable[CatalogEntry],
    served: Iterable[ServedModel],
    *,
    unlisted_quality: float = 0.3,
    unlisted_price: float = 0.05,
) -> Catalog:
    """Join the configured entries with what is served; served models not listed join too.

    Args:
        entries: The configured models.
        served: What the inference services report, ready or not.
        unlisted_quality: Quality of a served model that is not configured, 0 to 1.
        unlisted_price: US dollars per million tokens where no price is configured.
    """
    listed = {entry.name: entry for entry in entries}
    by_name: dict[str, list[ServedModel]] = {}
    for one in served:
        by_name.setdefault(one.name, []).append(one)
        if one.name not in listed:
            listed[one.name] = CatalogEntry(name=one.name, quality=unlisted_quality)
    models: list[Model] = []
    names: dict[str, tuple[str, ...]] = {}
    for name in sorted(listed):
        prices = Prices.of(listed[name], unlisted_price)
        models.extend(_versions(listed[name], prices, by_name.get(name, [])))
        for alias in listed[name].aliases:
            names[alias] = (*names.get(alias, ()), name)
    names.update({name: (name,) for name in listed})  # a name is stronger than an alias
    return Catalog(tuple(models), names)


def _versions(entry: CatalogEntry, prices: Prices, served: list[ServedModel]) -> list[Model]:
    ready: dict[str, list[ServedModel]] = {}
    served = sorted(served, key=lambda one: one.address)
    for one in served:
        if one.ready:
            ready.setdefault(one.version, []).append(one)
    if ready:
        return [Model(entry, prices, version, tuple(ready[version])) for version in sorted(ready)]
    loading = any(not one.error for one in served)
    return [Model(entry, prices, trouble=_trouble(served), loading=loading)]


def _trouble(served: list[ServedModel]) -> str:
    if not served:
        return "no endpoint holds it"
    for one in served:
        if one.error:
            return f"{one.address} could not load it: {one.error}"
    return f"{served[0].address} is still loading it"
