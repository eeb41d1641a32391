"""What a choice was made from, as plain data and back: numbers and names, no text, no user.

Numbers are written so that they are read as the same ones; draws stand in the place of the
fingerprints that they were made from. Catalogs are told once and then go by the hash of what they
say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from llmrouter.common.ensemble import Election, EnsembleWish
from llmrouter.common.generation import RoutingWishes
from llmrouter.common.plan_mode import PlanMode
from llmrouter.common.prices import Prices
from llmrouter.selector.catalog import Catalog, Model, ServedModel
from llmrouter.selector.figures import Figures
from llmrouter.selector.learned.policy import Exploration
from llmrouter.selector.plan import Candidate, Numbers, Selection, Tried, numbers_of
from llmrouter.selector.scorers import Scorer, Sufficient
from llmrouter.selector.settings import CatalogEntry
from llmrouter.selector.statistics import Priors
from llmrouter.selector.strategies import Strategy
from llmrouter.selector.view import Loads

__all__ = [
    "catalog_id",
    "decode_candidate",
    "decode_catalog",
    "decode_figures",
    "decode_request",
    "decode_strategy",
    "encode_candidate",
    "encode_catalog",
    "encode_figures",
    "encode_request",
    "encode_served",
    "encode_strategy",
]

_WISHES = ("model", "min_quality", "max_cost", "max_latency", "max_time_to_first_token",
           "no_exploration", "min_confidence")  # fmt: skip
_LIVE = frozenset({"running", "waiting", "cache_bytes"})
"""Of a served model what changes with every look: the figures have it."""
_DTYPES: dict[str, DTypeLike] = {
    "turns": np.int64,
    "preferred": np.intp,
    "blocked": np.bool_,
    "drained": np.bool_,
    "probing": np.bool_,
}


def encode_request(request: Selection) -> dict[str, Any]:
    """Return what a choice looks at of a request."""
    numbers, wishes = numbers_of(request), request.wishes
    together = wishes.ensemble
    return {
        "prompt_bytes": request.prompt_bytes,
        "max_tokens": request.max_tokens,
        "n": request.n,
        "capabilities": sorted(request.capabilities),
        "tenant": request.tenant,
        "models": sorted(request.models),
        "tried": sorted(list(one) for one in request.tried),
        "draw": numbers.draw,
        "conversation": numbers.conversation,
        "tags": list(wishes.tags),
        "ensemble": None if together is None else asdict(together),
        **{name: getattr(wishes, name) for name in _WISHES},
    }


def decode_request(told: Mapping[str, Any]) -> Selection:
    """Return the request; it has numbers where it had fingerprints."""
    together = told["ensemble"]
    wishes = RoutingWishes(
        tags=tuple(told["tags"]),
        ensemble=together
        and EnsembleWish(**{**together, "election": Election(together["election"])}),
        **{name: told[name] for name in _WISHES},
    )
    return Selection(
        request_id="",
        prompt_bytes=told["prompt_bytes"],
        max_tokens=told["max_tokens"],
        capabilities=frozenset(told["capabilities"]),
        wishes=wishes,
        n=told["n"],
        tenant=told["tenant"],
        tried=frozenset(Tried(*one) for one in told["tried"]),
        models=frozenset(told["models"]),
        numbers=Numbers(told["draw"], told["conversation"]),
    )


def encode_figures(figures: Figures) -> dict[str, Any]:
    """Return the live numbers; those that nobody asked for are left out."""
    told = {
        name: _listed(values)
        for name, values in figures._asdict().items()
        if values is not None and name != "loads"
    }
    return {**told, "loads": [_listed(one) for one in figures.loads]}


def decode_figures(told: Mapping[str, Any]) -> Figures:
    """Return the live numbers, to the last bit."""
    arrays: dict[str, Any] = {
        name: np.array(values, _DTYPES.get(name, np.float64))
        for name, values in told.items()
        if name != "loads"
    }
    missing: dict[str, Any] = dict.fromkeys(Figures._fields)
    loads = Loads(*(np.array(one, np.float64) for one in told["loads"]))
    return Figures(**{**missing, **arrays, "loads": loads})


def encode_strategy(strategy: Strategy) -> dict[str, Any]:
    """Return a strategy; of scorers of its own only those of the house can be told."""
    own: dict[str, Any] = {}
    for name, scorer in strategy.scorers.items():
        own[name] = None
        if isinstance(scorer, Sufficient):
            own[name] = [scorer.tolerance, asdict(scorer.exploration)]
    return {
        "name": strategy.name,
        "weights": dict(strategy.weights),
        "picker": strategy.picker,
        "min_quality": strategy.min_quality,
        "scorers": own,
        "predicts": strategy.predicts,
        "mode": str(strategy.mode),
        "hedged": strategy.hedged,
    }


def decode_strategy(told: Mapping[str, Any], installed: Mapping[str, Strategy]) -> Strategy:
    """Return the strategy.

    Args:
        told: As it was encoded.
        installed: By name; those of other packages have their scorers.

    Raises:
        KeyError: It has a scorer that is of no package installed here.
    """
    own: dict[str, Scorer] = {}
    for name, made in told["scorers"].items():
        if made is None:
            own[name] = installed[told["name"]].scorers[name]
        else:
            own[name] = Sufficient(made[0], Exploration(**made[1]))
    return Strategy(**{**told, "scorers": own, "mode": PlanMode(told["mode"])})


def encode_candidate(one: Candidate) -> dict[str, Any]:
    """Return a candidate without the verdicts on it."""
    return {**one._asdict(), "components": [], "prices": list(one.prices)}


def decode_candidate(told: Mapping[str, Any]) -> Candidate:
    """Return the candidate."""
    return Candidate(**{**told, "components": (), "prices": Prices(*told["prices"])})


def encode_catalog(catalog: Catalog) -> dict[str, Any]:
    """Return a catalog without what changes with every look."""
    return {
        "models": [_encode_model(one) for one in catalog.models],
        "others": [_encode_model(one) for one in catalog.others],
        "names": {name: list(models) for name, models in catalog.names.items()},
    }


def decode_catalog(told: Mapping[str, Any]) -> Catalog:
    """Return the catalog."""
    models, others = (tuple(map(_decode_model, told[part])) for part in ("models", "others"))
    return Catalog(models, {name: tuple(one) for name, one in told["names"].items()}, others)


def catalog_id(told: Mapping[str, Any]) -> str:
    """Return 16 hex digits that follow from what is told of a catalog."""
    text = json.dumps(told, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _encode_model(model: Model) -> dict[str, Any]:
    return {
        "entry": model.entry.model_dump(mode="json"),
        "prices": list(model.prices),
        "version": model.version,
        "endpoints": [encode_served(one) for one in model.endpoints],
        "away": model.away,
        "trouble": model.trouble,
        "loading": model.loading,
        "soon": sorted(model.soon),
    }


def _decode_model(told: Mapping[str, Any]) -> Model:
    return Model(
        **{
            **told,
            "entry": CatalogEntry(**told["entry"]),
            "prices": Prices(*told["prices"]),
            "endpoints": tuple(map(_decode_served, told["endpoints"])),
            "soon": frozenset(told["soon"]),
        }
    )


def encode_served(model: ServedModel) -> dict[str, Any]:
    """Return what an endpoint holds, without what changes with every look."""
    told = {one.name: getattr(model, one.name) for one in fields(model) if one.name not in _LIVE}
    sets = {name: sorted(value) for name, value in told.items() if isinstance(value, frozenset)}
    return {**told, **sets, "priors": asdict(model.priors)}


def _decode_served(told: Mapping[str, Any]) -> ServedModel:
    """Return what an endpoint held."""
    sets = {name: frozenset(told[name]) for name in ("names", "capabilities")}
    return ServedModel(**{**told, **sets, "priors": Priors(**told["priors"])})


def _listed(values: np.ndarray[Any, Any]) -> list[Any]:
    """Return an array as JSON can say it, which knows no infinity."""
    listed: list[Any] = values.tolist()
    return listed if np.isfinite(values).all() else _spelt(listed)


def _spelt(values: list[Any]) -> list[Any]:
    return [
        _spelt(one) if isinstance(one, list) else one if np.isfinite(one) else str(one)
        for one in values
    ]
