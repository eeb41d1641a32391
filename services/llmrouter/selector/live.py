"""The catalog and its live numbers as they are now, ready to be chosen from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from llmrouter.selector.breakers import BreakerBook
from llmrouter.selector.catalog import Catalog, ServedModel, build_catalog
from llmrouter.selector.evidence import Array, Evidence, EvidenceTable, Key
from llmrouter.selector.figures import Figures
from llmrouter.selector.issued import Outstanding
from llmrouter.selector.prediction import Predictions
from llmrouter.selector.settings import SelectorSettings
from llmrouter.selector.statistics import StatisticsBook
from llmrouter.selector.tokenizer_book import TokenizerBook
from llmrouter.selector.view import CatalogView, Flags, loads_of, view_of

__all__ = ["LiveCatalog"]

_FIELDS = attrgetter(
    "name", "version", "address", "ready", "silent", "on_demand", "names", "error", "context",
    "capabilities", "quality_ratio", "slots", "tokenizer", "longest_token_bytes", "draining",
)  # fmt: skip


def _structure(one: ServedModel) -> tuple[object, bool]:
    """Return what a view is made of; the rest is load, which changes with every look."""
    return _FIELDS(one), one.step_seconds > 0


def _alike(before: tuple[ServedModel, ...], now: tuple[ServedModel, ...]) -> bool:
    """Whether a view of one is a view of the other: they differ in load alone."""
    return len(before) == len(now) and all(
        one is other or _structure(one) == _structure(other)
        for one, other in zip(before, now, strict=True)
    )


class _Rows:
    """The rows that the keys of a view have in a table, looked up again only when those change."""

    def __init__(self) -> None:
        self._rows: NDArray[np.intp] = np.zeros(0, np.intp)
        self._generation = -1

    def of(self, table: EvidenceTable, keys: Sequence[Key]) -> NDArray[np.intp]:
        if self._generation != table.generation:
            self._rows, self._generation = table.rows(keys), table.generation
        return self._rows


class LiveCatalog:
    """Follows what is served, and copies the numbers that one choice looks at."""

    def __init__(
        self,
        settings: SelectorSettings,
        served: Callable[[], tuple[ServedModel, ...]],
        statistics: StatisticsBook,
        tokenizers: TokenizerBook,
        breakers: BreakerBook,
        outstanding: Outstanding,
    ) -> None:
        """Compose it; nothing is looked at before `view`.

        Args:
            settings: The selector's settings.
            served: What the inference services hold now.
            statistics: What was observed.
            tokenizers: What was observed of tokenizers.
            breakers: Which endpoints are left alone.
            outstanding: What plans have asked of the endpoints.
        """
        self._settings = settings
        self._served = served
        self._statistics = statistics
        self._tokenizers = tokenizers
        self._breakers = breakers
        self._outstanding = outstanding
        self._seen: tuple[ServedModel, ...] | None = None
        self._view = view_of(Catalog((), {}))
        self.loads = loads_of(self._view, ())
        """What the endpoints of the view said of themselves last."""
        self._rows = _Rows()
        self._tokenizer_rows = _Rows()
        self._drained: dict[Key, float] = {}
        self._turn = 0
        self._turns: dict[tuple[str, str], int] = {}

    def view(self) -> CatalogView:
        """Return the catalog of this moment."""
        served = self._served()
        if served is not self._seen:
            if self._seen is None or not _alike(self._seen, served):
                self._rebuild(served)
            self.loads = loads_of(self._view, served)
            self._seen = served
        return self._view

    def _rebuild(self, served: tuple[ServedModel, ...]) -> None:
        settings = self._settings
        catalog = build_catalog(
            settings.catalog,
            served,
            unlisted_quality=settings.unlisted_quality,
            unlisted_price=settings.unlisted_price,
        )
        self._view = view_of(catalog)
        self._outstanding.arrange(self._view.endpoints)
        self._turns = {key: turn for key, turn in self._turns.items() if key in self._view.rows}
        self._rows, self._tokenizer_rows = _Rows(), _Rows()

    def figures(
        self,
        view: CatalogView,
        now: float,
        *,
        turns: bool = False,
        spread: bool = False,
        predicted: Predictions | None = None,
        preferred: NDArray[np.intp] | None = None,
    ) -> Figures:
        """Return the numbers of this moment, copied.

        Args:
            view: What `view` returned last.
            now: Seconds of the clock that the statistics were fed with.
            turns: Whether the turns of `round-robin` matter.
            spread: Whether it matters how much times vary.
            predicted: Of the rows, where a predictor was asked.
            preferred: Of each row, the one that a rollout sends this request to instead, or -1.
        """
        self._outstanding.expire(now)
        probing = self._breakers.probing(now)
        evidence = self._evidence(view, probing, now)
        believed = evidence.believed(view.prior)
        drained = self._drained_now(view, now)
        return Figures(
            believed=believed,
            bytes_per_token=self._bytes_per_token(view, now),
            spread=evidence.spread(believed, view.prior) if spread else None,
            turns=self._turns_of(view) if turns else None,
            loads=self.loads,
            requests=self._outstanding.requests.copy(),
            tokens=self._outstanding.tokens.copy(),
            blocked=self._blocked(view, drained, now),
            drained=drained,
            probing=_flagged(view, probing),
            preferred=preferred,
            predicted=None if predicted is None else predicted.chances,
            graded=None if predicted is None else predicted.grades,
        )

    def drains(self, endpoint: Key, now: float) -> None:
        """Take in that an endpoint refused a request since it drains."""
        if endpoint in self._view.places:
            self._drained[endpoint] = now

    def took_turn(self, key: tuple[str, str]) -> None:
        """Take in that `round-robin` came to a model version."""
        self._turn += 1
        self._turns[key] = self._turn

    def _drained_now(self, view: CatalogView, now: float) -> Flags | None:
        longest = 2 * self._settings.refresh_interval_seconds
        for key, since in list(self._drained.items()):
            if not 0 <= now - since < longest or key not in view.places:
                del self._drained[key]
        if not self._drained:
            return view.draining if view.any_draining else None
        drained = view.draining.copy()
        drained[[view.places[key] for key in self._drained]] = True
        return drained

    def _blocked(self, view: CatalogView, drained: Flags | None, now: float) -> Flags | None:
        broken = _flagged(view, self._breakers.blocked(now))
        if broken is None or drained is None:
            return drained if broken is None else broken
        return broken | drained

    def _turns_of(self, view: CatalogView) -> NDArray[np.int64]:
        turns = self._turns
        return np.fromiter((turns.get(model.key, 0) for model in view.models), np.int64)

    def _evidence(self, view: CatalogView, probing: Sequence[Key], now: float) -> Evidence:
        """Return the evidence; while a breaker probes, earlier failures do not count."""
        table = self._statistics.evidence
        evidence = table.read(self._rows.of(table, view.keys), now)
        for model, version, _ in probing:
            row = view.rows.get((model, version))
            if row is not None:
                evidence.forget_errors(row)
        return evidence

    def _bytes_per_token(self, view: CatalogView, now: float) -> Array:
        book = self._tokenizers
        return book.believed(self._tokenizer_rows.of(book.evidence, view.tokenizers), now)


def _flagged(view: CatalogView, keys: Sequence[Key]) -> Flags | None:
    """Return the endpoints that are among the keys; None where none is."""
    places = [view.places[key] for key in keys if key in view.places]
    if not places:
        return None
    flags = np.zeros(len(view.endpoints), np.bool_)
    flags[places] = True
    return flags
