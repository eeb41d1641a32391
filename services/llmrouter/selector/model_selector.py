"""The selector itself: chooses, remembers what it chose, and learns from what came of it."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.listening import Dialling, Listening
from llmrouter.common.plan_mode import PlanMode
from llmrouter.common.rating import Rating
from llmrouter.selector.breakers import Breaker, BreakerBook, opened_record
from llmrouter.selector.catalog import ServedModel
from llmrouter.selector.costs import SHADOWS, CostBook
from llmrouter.selector.decisions import Decision, DecisionLog
from llmrouter.selector.evidence import Key, Measure
from llmrouter.selector.figures import Care
from llmrouter.selector.grading import rated
from llmrouter.selector.hedging import hedge_delay
from llmrouter.selector.issued import IssuedPlans, Outstanding, issue
from llmrouter.selector.learned.learner import Learner
from llmrouter.selector.learned.predictor import LearnedPredictor
from llmrouter.selector.learned.teacher import KIND, Teacher
from llmrouter.selector.live import LiveCatalog
from llmrouter.selector.plan import Plan, Selection
from llmrouter.selector.prediction import Predictor
from llmrouter.selector.refusals import unheard
from llmrouter.selector.rollout_book import RolloutBook
from llmrouter.selector.selection import Choice, Policy, choose
from llmrouter.selector.settings import SelectorSettings
from llmrouter.selector.state_store import Documents, StateStore
from llmrouter.selector.statistics import Observation, StatisticsBook
from llmrouter.selector.strategies import Strategy, find_strategy, load_strategies
from llmrouter.selector.telling import tell
from llmrouter.selector.tokenizer_book import TokenizerBook
from llmrouter.selector.view import CatalogView

__all__ = ["ModelSelector"]

_FRESH_SECONDS = 10.0
"""How long a plan stands for load unless its outcome comes, or two intervals if that is longer."""


class ModelSelector:
    """Chooses models; everything it knows is in memory that is bounded."""

    def __init__(
        self,
        settings: SelectorSettings,
        served: Callable[[], tuple[ServedModel, ...]],
        *,
        heard: Callable[[], bool] = lambda: True,
        strategies: Mapping[str, Strategy] | None = None,
        predictor: Predictor | None = None,
        store: StateStore | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Compose the selector.

        Args:
            settings: Its settings.
            served: What the inference services hold now: `EndpointWatcher.served`.
            heard: Whether any service has told yet what it holds: `EndpointWatcher.heard`.
            strategies: By name; None loads the registered and the configured ones.
            predictor: Asked by strategies that predict; None takes what was learned from grades.
            store: Keeps what outlives a restart; None keeps nothing.
            clock: Monotonic seconds.
            wall: Seconds since the epoch.

        Raises:
            RouterError: UNKNOWN_STRATEGY when the default strategy does not exist.
        """
        self.settings, self._heard = settings, heard
        self.strategies = dict(strategies or _strategies(settings))
        find_strategy(self.strategies, settings.default_strategy)
        self.clock, self._wall = clock, wall
        learner = Learner(settings.learned.examples)
        self.teacher = Teacher(learner, store, wall)
        self._predictor = predictor or LearnedPredictor(learner)
        self._policy = Policy(
            settings.fallbacks, settings.expected_output_tokens, settings.affinity_bound
        )
        self.policy_version = _fingerprint(settings, self.strategies)
        self.statistics = StatisticsBook(settings.statistics_half_life_seconds)
        self.tokenizers = TokenizerBook(settings.statistics_half_life_seconds)
        self.breakers = BreakerBook(settings.breaker, changed=self._keep_breaker)
        self.costs = CostBook()
        fresh = max(_FRESH_SECONDS, 2 * settings.refresh_interval_seconds)
        self.outstanding = Outstanding(fresh)
        books = self.statistics, self.tokenizers, self.breakers, self.outstanding
        self.live = LiveCatalog(settings, served, *books)
        self.store = store
        self.rollouts = RolloutBook(store, wall)
        self._issued = IssuedPlans(settings.decisions.report_seconds)
        self.past = DecisionLog(settings.decisions.count, settings.decisions.max_bytes)

    def restore(self, documents: Documents) -> None:
        """Go on with what was kept before a restart."""
        now = self.clock()
        self.rollouts.restore(documents.get("rollout", {}), now)
        self.breakers.restore(documents.get("breaker", {}), now, self._wall())
        self.teacher.restore(documents.get(KIND, {}))

    def take(self, kind: str, key: str, data: Mapping[str, Any] | None) -> None:
        """Take in what another selector changed in the state that they share."""
        now = self.clock()
        if kind == "rollout":
            self.rollouts.take(key, data, now)
        elif kind == "breaker":
            model, version, address = (*key.rsplit(" ", 2), "", "")[:3]
            self.breakers.take((model, version, address), data, now, self._wall())
        elif kind == KIND:
            self.teacher.take(key, data)

    def select(self, request: Selection, *, brief: bool = False) -> tuple[str, Plan]:
        """Choose a primary and fallbacks; return the plan and its id.

        Args:
            request: What is known of the request.
            brief: Leaves components and exclusions out.

        Raises:
            RouterError: As `choose`; UNKNOWN_STRATEGY.
        """
        now, view, wishes = self.clock(), self.live.view(), request.wishes
        strategy = find_strategy(self.strategies, wishes.strategy or self.settings.default_strategy)
        if not view.models and not self._heard():
            raise unheard()
        predicted = None
        if strategy.predicts:
            predicted = self._predictor.predict(request, tuple(view.rows), view.quality)
        figures = self.live.figures(
            view,
            now,
            turns=strategy.picker == "round-robin",
            spread=wishes.max_latency > 0 or wishes.max_time_to_first_token > 0,
            predicted=predicted,
            preferred=self.rollouts.preferred(view, request),
        )
        choice = choose(request, view, figures, strategy, self._policy)
        plan_id = secrets.token_hex(16)
        plan = self._shadowed(tell(choice, brief=brief), request, view)
        after = self._hedge_after(plan, choice, now)
        if after is not None:
            plan = replace(plan, hedge_after=after)
        self._remember(plan_id, plan, choice, now)
        return plan_id, plan

    def _remember(self, plan_id: str, plan: Plan, choice: Choice, now: float) -> None:
        """Take in that a plan was issued."""
        frame, strategy, first = choice.frame, choice.strategy, plan.candidates[0]
        request = frame.request
        if strategy.picker == "round-robin":
            self.live.took_turn((first.model, first.version))
        self._issued.add(plan_id, issue(request, plan, now))
        asked = plan.candidates if plan.mode is PlanMode.ENSEMBLE else plan.candidates[:1]
        if not first.away:
            for one in asked:
                self.breakers.begin(one.endpoint, now)
            tokens = first.estimated_prompt_tokens + frame.output_tokens
            self.outstanding.add(plan_id, first.endpoint, tokens, now)
        for one in asked:
            self.costs.estimate(one.model, request.tenant, request.user, one.estimated_cost)
        decision = Decision(
            request=request,
            view=frame.view,
            figures=frame.figures,
            strategy=strategy,
            policy=self._policy,
            policy_version=self.policy_version,
            at=self._wall(),
            shadows=plan.shadows,
            hedge_after=plan.hedge_after,
            chosen=tuple((*one.endpoint, one.score) for one in plan.candidates),
        )
        self.past.add(plan_id, decision)

    def report(self, plan_id: str, attempts: Sequence[tuple[Key, Observation]]) -> int:
        """Take in how attempts went; return how many counted.

        Each candidate of a plan counts once; what nobody serves any more teaches nothing.

        Args:
            plan_id: Of the plan that they were made for.
            attempts: Endpoint and what was observed, in order.

        Raises:
            RouterError: UNKNOWN_PLAN when it was never issued here, or is forgotten.
        """
        now = self.clock()
        issued = self._issued.get(plan_id, now)
        if issued is None:
            raise _unknown_plan(plan_id)
        if any(key not in issued.shadows for key, _ in attempts):
            self.outstanding.settle(plan_id)
        decision = self.past.get(plan_id)
        counted = 0
        for key, outcome in attempts:
            if key not in issued.endpoints + issued.shadows or key in issued.reported:
                continue
            issued.reported.add(key)
            counted += 1
            if not outcome.error_reason and key in issued.endpoints:
                issued.answered.add(key[0])
            priced = self._priced(key, outcome, decision)
            if priced.usage is not None:
                who = (SHADOWS, "") if key in issued.shadows else (issued.tenant, issued.user)
                self.costs.spend(key[0], *who, priced.usage, priced.cost)
            self._learn(key, priced, now)
            if decision is not None:
                decision.outcomes.append(_outcome_record(key, priced))
        return counted

    def rate(self, rating: Rating, tenant: str) -> tuple[str, int]:
        """Learn from how good an answer was; return its model and how many grades that has.

        Raises:
            RouterError: UNKNOWN_PLAN when the plan was never issued here to this tenant, or is
                forgotten; INVALID_ARGUMENT when the model did not answer under it.
        """
        issued = self._issued.get(rating.plan_id, self.clock())
        if issued is None or issued.tenant != tenant:
            raise _unknown_plan(rating.plan_id)
        model, features = rated(issued, rating)
        grades = self.teacher.grade(rating.plan_id, features, model, rating.grade)
        decision = self.past.get(rating.plan_id)
        if decision is not None:
            decision.grades[model] = rating.grade
        return model, grades

    def decision(self, plan_id: str) -> Decision:
        """Return what a past choice was made from.

        Raises:
            RouterError: UNKNOWN_PLAN when it is forgotten.
        """
        decision = self.past.get(plan_id)
        if decision is None:
            raise _unknown_plan(plan_id)
        return decision

    def _keep_breaker(self, key: Key, breaker: Breaker | None) -> None:
        if self.store is not None:
            told = None if breaker is None else opened_record(key, breaker, self._wall())
            self.store.put("breaker", " ".join(key), told)

    def _shadowed(self, plan: Plan, request: Selection, view: CatalogView) -> Plan:
        """Return the plan with the version that is to answer as well, where a rollout has one."""
        first = plan.candidates[0]
        version = self.rollouts.shadow(first.model, first.version, request)
        model = view.find(first.model, version) if version and not first.away else None
        if model is None:
            return plan
        endpoint = model.endpoints[0]
        shadow = first._replace(
            version=version,
            address=endpoint.address,
            context=endpoint.context,
            score=0.0,
            components=(),
        )
        return replace(plan, shadows=(shadow,))

    def _hedge_after(self, plan: Plan, choice: Choice, now: float) -> float | None:
        """Return after how long a plan's second candidate is to be asked beside its first."""
        settings, request = self.settings.hedging, choice.frame.request
        wanted = choice.strategy.hedged and plan.mode is PlanMode.FIRST_OF
        if settings is None or not wanted or len(plan.candidates) == 1:
            return None
        first, second = plan.candidates[:2]
        ceiling = request.wishes.max_cost
        if first.away or (ceiling and first.estimated_cost + second.estimated_cost > ceiling):
            return None
        seen = self.statistics.seen((first.model, first.version, ""))
        if seen is None:
            return None
        expected = choice.frame.times(Care.LIKELY)[0].item(int(choice.order[0]))
        return hedge_delay(seen.first, expected, settings, now)

    def _priced(self, key: Key, outcome: Observation, decision: Decision | None) -> Observation:
        """Return an outcome with its cost: of a version that has gone, by the price of its plan."""
        model = self.live.view().find(*key[:2])
        if model is None and decision is not None:
            model = decision.view.find(*key[:2])
        if model is None or outcome.usage is None:
            return outcome
        return outcome.costing(model.prices.cost(outcome.usage))

    def _learn(self, key: Key, outcome: Observation, now: float) -> None:
        view = self.live.view()
        model = view.find(*key[:2])
        if model is not None:
            learned = self.tokenizers.bytes_per_token(model.tokenizer, now)
            prior = view.usual(key[:2])
            self.statistics.observe(key, outcome, now, learned, prior)
        if model is not None and outcome.usage is not None:
            prompt_tokens = outcome.usage.prompt_tokens
            self.tokenizers.observe(model.tokenizer, outcome.prompt_bytes, prompt_tokens, now)
        self.rollouts.observe(key[0], key[1], outcome, now)
        if outcome.error_reason == Reason.DRAINING:
            self.live.drains(key, now)
        if outcome.failed:
            self.breakers.fail(key, outcome.error_reason, now)
        elif outcome.error_reason:
            self.breakers.abandon(key, now)
        elif self.breakers.succeed(key, now):
            # It works again: that it failed before says nothing any more.
            for one in (key, (key[0], key[1], "")):
                self.statistics.evidence.forget(one, Measure.ERROR)


def _strategies(settings: SelectorSettings) -> dict[str, Strategy]:
    return load_strategies(settings.balanced, settings.strategies, learning=settings.learned)


def _unknown_plan(plan_id: str) -> RouterError:
    return RouterError(
        Reason.UNKNOWN_PLAN,
        f"no plan {plan_id[:64]!r} is known; it was never issued here, or is forgotten",
    )


def _outcome_record(key: Key, outcome: Observation) -> dict[str, Any]:
    usage = outcome.usage
    return {
        "model": key[0],
        "version": key[1],
        "address": key[2],
        "error_reason": outcome.error_reason,
        "time_to_first_token": outcome.time_to_first_token,
        "seconds_per_token": outcome.seconds_per_token,
        "prompt_tokens": usage.prompt_tokens if usage else 0,
        "completion_tokens": usage.completion_tokens if usage else 0,
        "cost": outcome.cost,
    }


def _fingerprint(settings: SelectorSettings, strategies: Mapping[str, Strategy]) -> str:
    """Return 16 hex digits that change with catalog or strategy configuration."""
    local = {
        "host", "port", "drain_grace_seconds", "inference_addresses", "refresh_interval_seconds",
        "load_report_seconds", "placement", "scaling", "decisions", "state_path", "redis",
        *Listening.model_fields, *Dialling.model_fields,
    }  # fmt: skip
    told = settings.model_dump_json(exclude=local)
    told += "".join(repr(strategies[name]) for name in sorted(strategies))
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
