"""A model that judges the answers of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmrouter.common.errors import RouterError
from llmrouter.common.generation import (
    FormatKind,
    GenerationRequest,
    Message,
    RequestContext,
    ResponseFormat,
    Role,
    RoutingWishes,
    SamplingOptions,
)
from llmrouter.common.prompt_features import question_text
from llmrouter.gateway.attempt import ModelRunner, Trial
from llmrouter.gateway.carrying import hold
from llmrouter.gateway.plan import Plan, Replanner
from llmrouter.gateway.reporting import OutcomeReporter
from llmrouter.gateway.voting import Ballot, Elected, by_judge, by_vote, judging_prompt

__all__ = ["Judge", "Judging"]

_NUMBER = ResponseFormat(FormatKind.REGEX, "[1-9][0-9]?")
_VERDICT_TOKENS = 4


class Judging:
    """Finds judges.

    Args:
        runner: Inference.
        reporter: Tells the selector how judges did.
        selector: Plans with the model that is to judge.
    """

    def __init__(self, runner: ModelRunner, reporter: OutcomeReporter, selector: Replanner) -> None:
        self._runner, self._reporter, self._selector = runner, reporter, selector

    async def judge(self, model: str, request: GenerationRequest, context: RequestContext) -> Judge:
        """Return the judge of one request.

        Raises:
            RouterError: There is no such model, or it cannot judge now.
        """
        asked = GenerationRequest(
            messages=(Message(Role.USER, (question_text(request),)),),
            sampling=SamplingOptions(
                temperature=0, max_tokens=_VERDICT_TOKENS, response_format=_NUMBER
            ),
            routing=RoutingWishes(model=model),
            priority=request.priority,
        )
        plan = await self._selector.select(asked, context, ())
        plan.check_served()
        return Judge(self._runner, self._reporter, plan, asked)


class Judge:
    """One model that reads one question's answers."""

    def __init__(
        self, runner: ModelRunner, reporter: OutcomeReporter, plan: Plan, asked: GenerationRequest
    ) -> None:
        self._runner, self._reporter, self._plan, self._asked = runner, reporter, plan, asked
        self.trials: list[Trial] = []
        """What was tried to get a verdict."""

    async def elect(self, ballots: Sequence[Ballot], context: RequestContext) -> Elected:
        """Return the answer that the judge prefers; by vote where it gives no verdict."""
        text = judging_prompt(question_text(self._asked), ballots)
        request = replace(self._asked, messages=(Message(Role.USER, (text,)),))
        failure = ""
        try:
            for candidate in self._plan.candidates:
                trial = Trial(candidate, request.prompt_bytes, held=True)
                self.trials.append(trial)
                try:
                    held = await hold(trial, self._runner, request, context)
                except RouterError as error:
                    failure = f"{candidate.model} gave no verdict ({error.reason.value})"
                    continue
                trial.set_aside = "it judged"
                return by_judge(ballots, held.choices[0].text)
        finally:
            outcomes = tuple(trial.outcome() for trial in self.trials)
            self._reporter.report(self._plan.id, outcomes, context)
        voted = by_vote(ballots)
        return replace(voted, reason=f"{failure}; {voted.reason}")
