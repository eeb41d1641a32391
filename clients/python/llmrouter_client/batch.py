"""Many questions at once: what is asked, and the results as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

from grpc import aio

from llmrouter.v1 import gateway_pb2, generation_pb2
from llmrouter_client.arguments import refused
from llmrouter_client.closing import Closing
from llmrouter_client.errors import LlmrouterError, from_rpc_error, from_status
from llmrouter_client.events import Answer, answer_from
from llmrouter_client.requests import Message, Options, Prompt, request_from
from llmrouter_client.retrying import Retrying

__all__ = ["Batch", "Question", "Result", "requests_from"]

_MAX_QUESTIONS = 1000
_MAX_BYTES = 4 << 20
"""Of one call; a larger batch is asked in several calls, one after another."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a batch that has options of its own, which stand above the batch's."""

    prompt: Prompt
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, slots=True)
class Result:
    """How one question of a batch ended: exactly one of `answer` and `error` is set."""

    index: int
    """Which of the questions, from 0."""
    answer: Answer | None = None
    error: LlmrouterError | None = None


def requests_from(
    questions: Sequence[Prompt | Question], options: Options
) -> list[generation_pb2.GenerateRequest]:
    """Return the requests of a batch.

    Raises:
        LlmrouterError: INVALID_ARGUMENT naming the question and what does not fit in it.
        TypeError: An option that there is not.
    """
    if isinstance(questions, str) or not isinstance(questions, Sequence):
        raise refused("requests", "are no list; give a list of questions")
    found = []
    for index, one in enumerate(questions):
        question = one if isinstance(one, Question) else Question(one)
        if isinstance(question.prompt, Message):
            raise refused(f"requests[{index}]", "is one Message; give a list of them")
        for name in ("timeout", "compression"):
            if name in question.options:
                what = "is of the whole batch; give it to `batch`"
                raise refused(f"requests[{index}].{name}", what)
        try:
            found.append(
                request_from(question.prompt, cast("Options", {**options, **question.options}))
            )
        except LlmrouterError as error:
            raise refused(f"requests[{index}]", error.message) from None
    return found


class Batch(Closing):
    """Results as they come, in any order: an asynchronous iterator of `Result`.

    Use it with `async with`, or call `aclose`: leaving early cancels what is not answered yet.
    Where the call fails as unavailable, questions without a result are asked again.
    """

    def __init__(
        self,
        dial: Callable[[gateway_pb2.BatchGenerateRequest, Retrying], Any],
        retrying: Callable[[], Retrying],
        requests: Sequence[generation_pb2.GenerateRequest],
        concurrency: int,
    ) -> None:
        self._dial = dial
        self._make_retrying = retrying
        self._retrying: Retrying | None = None
        self._left = dict(enumerate(requests))
        self._concurrency = concurrency
        self._sent: list[int] = []
        self._call: Any = None

    def __aiter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        """End the batch; what is not answered yet is cancelled."""
        self._left.clear()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    async def __anext__(self) -> Result:
        """Return the next result.

        Raises:
            LlmrouterError: The whole call was refused or failed; what has no result has none.
        """
        while self._left:
            result = await self._receive()
            if result is not None:
                return result
        raise StopAsyncIteration

    async def _receive(self) -> Result | None:
        """Return a result; None at the end of a call, or when it shall be tried again."""
        if self._retrying is None:
            self._retrying = self._make_retrying()
        try:
            if self._call is None:
                self._call = self._dial(self._request(), self._retrying)
            message = await self._call.read()
        except aio.AioRpcError as failed:
            error = from_rpc_error(failed, self._retrying.address)
        except BaseException:
            await self.aclose()
            raise
        else:
            return self._take(message, self._retrying.address)
        self._call = None
        if not await self._retrying.pause(error):
            self._left.clear()
            raise error
        return None

    def _request(self) -> gateway_pb2.BatchGenerateRequest:
        """Return as much of what is left as one call may carry."""
        request = gateway_pb2.BatchGenerateRequest(concurrency=self._concurrency)
        self._sent, size = [], 0
        for index, one in self._left.items():
            size += one.ByteSize()
            if self._sent and (len(self._sent) == _MAX_QUESTIONS or size > _MAX_BYTES):
                break
            request.requests.append(one)
            self._sent.append(index)
        return request

    def _take(self, message: Any, gateway: str) -> Result | None:
        if message is aio.EOF:
            self._call = None
            if not self._left.keys().isdisjoint(self._sent):
                missing = f"{gateway} ended the batch before every question had its result"
                raise LlmrouterError("INTERNAL", missing)
            return None
        index = self._sent[message.index]
        del self._left[index]
        if message.WhichOneof("result") == "answer":
            return Result(index, answer_from(message.answer))
        told = message.error.message or "it failed without a reason"
        return Result(index, error=from_status(message.error) or LlmrouterError("INTERNAL", told))
