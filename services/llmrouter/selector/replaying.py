"""Makes exported choices again, and says which come out as they were."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from llmrouter.common.errors import RouterError
from llmrouter.selector.decisions import Decision, record_of
from llmrouter.selector.made_from import (
    catalog_id,
    decode_candidate,
    decode_catalog,
    decode_figures,
    decode_request,
    decode_strategy,
)
from llmrouter.selector.selection import Policy
from llmrouter.selector.strategies import Strategy
from llmrouter.selector.view import CatalogView, view_of

__all__ = ["Replayed", "decision_in", "replayed"]

_UNREADABLE = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What comes of a record that is none: whatever its fields hold, the next one is looked at."""


class Replayed(NamedTuple):
    """What came of making one choice again."""

    plan_id: str
    differs: tuple[str, ...] = ()
    """Parts of its record that come out otherwise; empty where it is the same, exactly."""
    error: str = ""
    """Why it cannot be made again; one phrase."""

    @property
    def exact(self) -> bool:
        """Whether it is the same choice, exactly."""
        return not self.differs and not self.error


def replayed(lines: Iterable[str], strategies: Mapping[str, Strategy]) -> Iterator[Replayed]:
    """Make the choices of an export again, each by the policy alone.

    Args:
        lines: As `ExportDecisions` gave them, in that order: a catalog is in the first record that
            goes by it.
        strategies: Those installed, by name: scorers of other packages are taken from them.
    """
    views: dict[str, CatalogView] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name = f"line {number}"
        try:
            record = json.loads(line)
            name = str(record["plan_id"])
            yield _again(name, record, views, strategies)
        except RouterError as error:
            yield Replayed(name, error=error.message)
        except json.JSONDecodeError:
            yield Replayed(name, error="it is no JSON; the file may be cut off")
        except _UNREADABLE as error:
            yield Replayed(name, error=f"it cannot be read: {type(error).__name__}: {error}")


def _again(
    plan_id: str,
    record: dict[str, Any],
    views: dict[str, CatalogView],
    strategies: Mapping[str, Strategy],
) -> Replayed:
    made_from = record.get("made_from")
    if made_from is None:
        return Replayed(plan_id, error="its record does not say what it was made from")
    catalog = made_from["catalog_id"]
    if "catalog" in record:
        views[catalog] = _view(record.pop("catalog"), catalog)
    if catalog not in views:
        return Replayed(plan_id, error=f"the catalog {catalog} is in no record before it")
    decision = _decision(record, views[catalog], strategies)
    choice = decision.again()
    endpoints = choice.frame.view.endpoints
    decision.chosen = tuple(
        (*endpoints[place], choice.scores.item(row)) for row, place in choice.picked
    )
    again = json.loads(json.dumps(record_of(plan_id, decision, catalog)))
    parts = sorted({*record, *again})
    return Replayed(plan_id, tuple(one for one in parts if record.get(one) != again.get(one)))


def decision_in(line: str, strategies: Mapping[str, Strategy]) -> Decision:
    """Return the choice of a record that has its catalog.

    Args:
        line: As `RecordWriter` wrote it.
        strategies: As for `replayed`.

    Raises:
        ValueError: It is none, or cannot be made again here.
    """
    try:
        record = json.loads(line)
        view = _view(record["catalog"], record["made_from"]["catalog_id"])
        return _decision(record, view, strategies)
    except _UNREADABLE as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _view(told: Mapping[str, Any], name: str) -> CatalogView:
    """Return what a choice looks at of a catalog.

    Raises:
        ValueError: It is another one than goes by this name.
    """
    found = catalog_id(told)
    if found != name:
        raise ValueError(f"the catalog it tells is {found}, not {name} that it was made from")
    return view_of(decode_catalog(told))


def _decision(
    record: Mapping[str, Any], view: CatalogView, strategies: Mapping[str, Strategy]
) -> Decision:
    made_from = record["made_from"]
    return Decision(
        request=decode_request(made_from["request"]),
        view=view,
        figures=decode_figures(made_from["figures"]),
        strategy=decode_strategy(made_from["strategy"], strategies),
        policy=Policy(**made_from["policy"]),
        policy_version=record["policy_version"],
        at=record["at"],
        shadows=tuple(map(decode_candidate, record["shadows"])),
        hedge_after=record["hedge_after"],
        chosen=tuple(tuple(one) for one in record["chosen"]),
        outcomes=record["outcomes"],
        grades=record["grades"],
    )
