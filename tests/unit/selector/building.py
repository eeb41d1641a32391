"""Small builders that the selector's tests share."""

from __future__ import annotations

from llmrouter.common.generation import RoutingWishes, Usage
from llmrouter.selector.breakers import BreakerBook
from llmrouter.selector.catalog import ServedModel, build_catalog
from llmrouter.selector.issued import Outstanding
from llmrouter.selector.live import LiveCatalog
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.plan import Selection
from llmrouter.selector.selection import Policy, choose
from llmrouter.selector.settings import CatalogEntry, SelectorSettings
from llmrouter.selector.statistics import Observation, StatisticsBook
from llmrouter.selector.strategies import BALANCED
from llmrouter.selector.telling import tell
from llmrouter.selector.tokenizer_book import TokenizerBook
from llmrouter.selector.view import loads_of, view_of


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def entry(name, **values):
    return CatalogEntry(name=name, **values)


def served(name, version=None, address="host:1", **values):
    if version is None:
        version = "v1" if values.get("ready", True) else ""
    values.setdefault("context", 8192)
    values.setdefault("capabilities", frozenset({"chat", "completion"}))
    values.setdefault("slots", 16)
    return ServedModel(name=name, version=version, address=address, **values)


SMALL = entry("small", quality=0.4, input_price=0.1, output_price=0.1)
LARGE = entry("large", quality=0.9, input_price=10, output_price=10)
"""Two models as the tests of choices know them."""


def catalog_of(*entries, without=()):
    """A catalog in which every entry is served but those named in `without`."""
    held = [served(one.name) for one in entries if one.name not in without]
    return build_catalog(entries, held)


def request_of(prompt_bytes=200, **values):
    """A request; whatever is no field of `Selection` is a wish."""
    fields = {name: values.pop(name) for name in list(values) if name in Selection._fields}
    fields.setdefault("request_id", "r")
    fields["capabilities"] = frozenset(fields.get("capabilities", ()))
    return Selection(prompt_bytes=prompt_bytes, wishes=RoutingWishes(**values), **fields)


def figures_of(view, book=None, breakers=None, tokenizers=None, now=0.0, **more):
    """The live numbers of a view that nothing was asked of yet."""
    outstanding = Outstanding(10)
    outstanding.arrange(view.endpoints)
    live = LiveCatalog(
        SelectorSettings(),
        tuple,
        book or StatisticsBook(60),
        tokenizers or TokenizerBook(60),
        breakers or BreakerBook(SelectorSettings().breaker),
        outstanding,
    )
    live.loads = loads_of(view, [one for model in view.models for one in model.endpoints])
    return live.figures(view, now, spread=True, **more)


def chosen(
    catalog, strategy=BALANCED, book=None, policy=None, figures=None, tokenizers=None, **request
):
    """What is chosen from a catalog, as numbers."""
    view = view_of(catalog)
    numbers = figures_of(view, book, tokenizers=tokenizers) if figures is None else figures(view)
    return choose(request_of(**request), view, numbers, strategy, policy or Policy())


def planned(*arguments, **request):
    """What is chosen from a catalog, as a plan."""
    return tell(chosen(*arguments, **request))


def selector_of(held, clock=None, **settings):
    """A selector of these served models."""
    return ModelSelector(
        SelectorSettings(**settings),
        held if callable(held) else lambda: tuple(held),
        clock=clock or Clock(),
        wall=lambda: 1000.0,
    )


def answered(tokens=10, first=0.1, per_token=0.01, **values):
    """How an attempt went that answered."""
    return Observation(
        time_to_first_token=first,
        seconds_per_token=per_token,
        usage=Usage(100, tokens),
        **values,
    )


def failed(reason="GENERATION_FAILED"):
    """How an attempt went that failed by the model's fault."""
    return Observation(error_reason=reason, failed=True)


def order(plan):
    """The models of a plan, in order."""
    return [one.model for one in plan.candidates]


def why(plan):
    """Why the others are not in it, by name."""
    return {one.model: one.reason for one in plan.exclusions}
