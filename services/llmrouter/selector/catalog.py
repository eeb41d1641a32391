"""The catalog: configured models joined with what the inference services hold at this moment."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypedDict

from pydantic import ValidationError

from llmrouter.common.capabilities import CHAT, COMPLETION, EMBEDDING
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.prices import Prices
from llmrouter.selector.costs import prices_of
from llmrouter.selector.settings import CatalogEntry
from llmrouter.selector.statistics import PRIORS, Priors

__all__ = ["LOADING_SECONDS", "NOT_HELD", "Catalog", "Model", "ServedModel", "build_catalog"]

STABLE = "stable"
"""The alias of the version that is meant where none is named."""
NOT_HELD = "no endpoint holds it"
"""Why a model is absent that no inference service has."""
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
    """A version that is not ready, without an error, served here and may do so again."""
    silent: bool = False
    """Whether its service does not answer: this is what it held last."""
    on_demand: bool = False
    """Whether requests are taken though it is not ready: they wait until it is loaded."""
    names: frozenset[str] = frozenset()
    """Label and aliases of this version; `stable` is meant where no version is named."""
    error: str = ""
    """One sentence when it could not be loaded."""
    context: int = 0
    """Tokens of prompt and answer together."""
    capabilities: frozenset[str] = frozenset({"completion"})
    quality_ratio: float = 1.0
    """Perplexity of the unquantised weights over its own, at most 1; 1 where not measured."""
    priors: Priors = PRIORS
    """What is believed of its speed before it was observed: as measured there, where it was."""
    running: int = 0
    waiting: int = 0
    slots: int = 0
    tokenizer: str = ""
    """Models that say the same make the same tokens of a text; empty where it is not known."""
    longest_token_bytes: int = 0
    """UTF-8 bytes of prompt that one token stands for at most; 0 where nothing bounds it."""
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
    """One version of a catalog model, with the endpoints that hold it ready to serve.

    Where there is none, a version that served before is `away`: it cannot generate, but answers
    that it gave may be kept.
    """

    entry: CatalogEntry
    prices: Prices
    version: str = ""
    """Empty while no endpoint serves it or did."""
    endpoints: tuple[ServedModel, ...] = ()
    """In order of their addresses: the ready ones, else those that load it on demand; those that
    served it, if it is away."""
    away: bool = False
    trouble: str = ""
    """Why no endpoint serves it; one phrase."""
    loading: bool = False
    """Whether an endpoint will serve it soon."""
    soon: frozenset[str] = frozenset()
    """What it will be able to do then, as far as that is told; empty where nothing is."""

    @property
    def name(self) -> str:
        """The model's name."""
        return self.entry.name

    @property
    def key(self) -> tuple[str, str]:
        """Name and version."""
        return self.entry.name, self.version

    @property
    def leaving(self) -> bool:
        """Whether it is away, or nothing that holds it takes anything new."""
        return self.away or all(one.draining for one in self.endpoints)

    def goes_by(self, version: str) -> bool:
        """Whether `version` is its fingerprint, or its label or an alias on some endpoint."""
        return version == self.version or any(version in one.names for one in self.endpoints)

    def may_do(self, capabilities: frozenset[str]) -> bool:
        """Whether it has them or will, or nothing is known of what it can do."""
        known = self.soon or self.capabilities
        return not known or capabilities <= known

    @cached_property
    def quality(self) -> float:
        """The configured prior, lowered by the measured loss of its precision."""
        ratio = min((served.quality_ratio for served in self.endpoints), default=1.0)
        return self.entry.quality * ratio

    @cached_property
    def context(self) -> int:
        """Tokens that fit on the roomiest of its endpoints."""
        return max((served.context for served in self.endpoints), default=0)

    @cached_property
    def tokenizer(self) -> str:
        """Names its tokenizer; an unknown one is shared with no other version."""
        known = next((served.tokenizer for served in self.endpoints if served.tokenizer), "")
        return known or f"{self.name}@{self.version}"

    @cached_property
    def longest_token_bytes(self) -> int:
        """UTF-8 bytes of prompt that one of its tokens stands for at most; 0 where unbounded."""
        longest = [served.longest_token_bytes for served in self.endpoints]
        return max(longest) if longest and all(longest) else 0

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
    """Those that requests are routed to, in order of name and version."""
    names: Mapping[str, tuple[str, ...]] = field(repr=False)
    """Models by name and alias."""
    others: tuple[Model, ...] = ()
    """Further versions, for requests that name them: served ones that are not stable, and those
    that are away beside one that is served."""

    @property
    def every(self) -> tuple[Model, ...]:
        """All versions of all models, whether meant or to be named."""
        return (*self.models, *self.others)

    def models_named(self, names: Iterable[str]) -> frozenset[str]:
        """Return the models that these names and aliases stand for."""
        return frozenset(model for name in names for model in self.names.get(name, ()))

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
        names = self.names.get(base)
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
        others = tuple(model for model in self.others if model.name in names)
        versioned = (*served, *others)
        exact = tuple(model for model in versioned if model.goes_by(version))
        if not exact:
            here = (model for model in versioned if not model.away)
            versions = ", ".join(f"{model.name}@{model.version}" for model in here) or "none"
            raise RouterError(
                Reason.UNKNOWN_MODEL,
                f"no endpoint serves version {version!r} of {base}; served: {versions}",
                metadata={"model": base, "version": version},
            )
        return exact

    def _suggest(self, name: str, needed: frozenset[str]) -> str:
        """Return the names that may have been meant: of models that are here, or soon will be.

        Options that a model cannot honour leave its name in: refusing them by name says more.
        """
        kind = {EMBEDDING} if EMBEDDING in needed else {CHAT, COMPLETION}
        able = {
            model.name
            for model in self.models
            if model.loading or (model.endpoints and kind & model.capabilities)
        }
        known = sorted(name for name, models in self.names.items() if able.intersection(models))
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
        if one.name not in listed:
            try:
                listed[one.name] = CatalogEntry(name=one.name, quality=unlisted_quality)
            except ValidationError:  # nobody could ask for it; the others must stay
                continue
        by_name.setdefault(one.name, []).append(one)
    models: list[Model] = []
    others: list[Model] = []
    names: dict[str, tuple[str, ...]] = {}
    for name in sorted(listed):
        prices = prices_of(listed[name], unlisted_price)
        meant, further = _versions(listed[name], prices, by_name.get(name, []))
        models.extend(meant)
        others.extend(further)
        for alias in listed[name].aliases:
            names[alias] = (*names.get(alias, ()), name)
    names.update({name: (name,) for name in listed})  # a name is stronger than an alias
    return Catalog(tuple(models), names, tuple(others))


def _versions(
    entry: CatalogEntry, prices: Prices, served: list[ServedModel]
) -> tuple[list[Model], list[Model]]:
    """Return the versions that are meant where none is named, and the further ones."""
    usable: dict[str, list[ServedModel]] = {}
    gone: dict[str, list[ServedModel]] = {}
    served = sorted(served, key=lambda one: one.address)
    for one in served:
        if (one.ready or one.on_demand) and not one.silent:
            usable.setdefault(one.version, []).append(one)
        elif one.version and not one.error:
            gone.setdefault(one.version, []).append(one)
    here = [Model(entry, prices, version, _nearest(usable[version])) for version in sorted(usable)]
    away = [
        Model(
            entry,
            prices,
            version,
            tuple(gone[version]),
            away=True,
            **_outlook(gone[version] if usable else served),
        )
        for version in sorted(gone)
        if version not in usable
    ]
    stable = [one for one in here if one.goes_by(STABLE)]
    if here:
        return stable or here, [*(one for one in here if stable and one not in stable), *away]
    return away or [Model(entry, prices, **_outlook(served))], []


class _Outlook(TypedDict):
    trouble: str
    loading: bool
    soon: frozenset[str]


def _outlook(served: list[ServedModel]) -> _Outlook:
    """Return why none of these serves, and whether one will soon."""
    coming = [one for one in served if not one.error and not one.silent]
    able = [one.capabilities for one in coming if one.capabilities]
    return _Outlook(
        trouble=_trouble(served),
        loading=bool(coming),
        soon=frozenset().union(*able) if len(able) == len(coming) else frozenset(),
    )


def _nearest(usable: list[ServedModel]) -> tuple[ServedModel, ...]:
    """Return the endpoints that are ready; where there are none, those that load on demand."""
    return tuple(one for one in usable if one.ready) or tuple(usable)


def _trouble(served: list[ServedModel]) -> str:
    if not served:
        return NOT_HELD
    for one in served:
        if one.error:
            return f"{one.address} could not load it: {one.error}"
    for one in served:
        if not one.silent:
            return f"{one.address} is still loading it"
    return f"{served[0].address} does not answer"
