"""Runs requests on the native engine without asyncio, and the same model without the engine."""

from __future__ import annotations

import importlib.util
import select
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from llmrouter import _native

Logits = npt.NDArray[np.floating[Any]]
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(frozen=True)
class Ask:
    """One request; greedy unless told otherwise."""

    prompt: Sequence[int]
    max_tokens: int = 16
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop: Sequence[str] = ()
    trace: bool = True
    priority: _native.Priority = _native.Priority.NORMAL
    timeout: float | None = None
    scope: int = 0
    shaping: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `Engine.submit`."""


@dataclass
class Answer:
    """Everything the engine said about one request."""

    text: str = ""
    tokens: list[int] = field(default_factory=list)
    logits: npt.NDArray[np.float32] | None = None
    logprobs: list[_native.SampledLogprob] = field(default_factory=list)
    finished: _native.Finished | None = None
    failed: _native.Failed | None = None

    @property
    def over(self) -> bool:
        return self.finished is not None or self.failed is not None


def library() -> Path:
    """The shared library of the installed onnxruntime."""
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    return next((Path(spec.origin).parent / "capi").glob("libonnxruntime.so.*"))


def submit(engine: _native.Engine, ask: Ask) -> int:
    return engine.submit(
        list(ask.prompt),
        temperature=ask.temperature,
        top_k=ask.top_k,
        top_p=ask.top_p,
        seed=ask.seed,
        max_tokens=ask.max_tokens,
        stop=list(ask.stop),
        trace=ask.trace,
        priority=ask.priority,
        timeout=ask.timeout,
        scope=ask.scope,
        **ask.shaping,
    )


def take(answer: Answer, event: _native.Event) -> None:
    if isinstance(event, _native.TextDelta):
        answer.text += event.text
        answer.logprobs += event.logprobs
    elif isinstance(event, _native.Failed):
        answer.failed = event
    else:
        answer.finished = event
        answer.tokens = list(event.tokens)
        logits = np.frombuffer(event.logits, np.float32)
        answer.logits = logits.reshape(len(answer.tokens), -1) if answer.tokens else logits


def drain_into(engine: _native.Engine, answers: dict[int, Answer]) -> None:
    """Wait for one wake-up and take what it brought."""
    readable, _, _ = select.select([engine.event_fd], [], [], 60)
    assert readable, "the engine has said nothing for a minute"
    for event in engine.drain():
        take(answers[event.id], event)


def run_together(engine: _native.Engine, asks: Sequence[Ask]) -> list[Answer]:
    """Submit everything at once and wait for the end of all."""
    answers = {submit(engine, ask): Answer() for ask in asks}
    while not all(answer.over for answer in answers.values()):
        drain_into(engine, answers)
    return list(answers.values())


def run_answers(engine: _native.Engine, ask: Ask) -> list[Answer]:
    """Submit one request for several answers and wait for the end of all."""
    answers = [Answer() for _ in range(ask.shaping["answers"])]
    submit(engine, ask)
    while not all(answer.over for answer in answers):
        readable, _, _ = select.select([engine.event_fd], [], [], 60)
        assert readable, "the engine has said nothing for a minute"
        for event in engine.drain():
            assert not isinstance(event, _native.Failed)
            take(answers[event.answer], event)
    return answers


def run_alone(engine: _native.Engine, asks: Sequence[Ask]) -> list[Answer]:
    """Submit each when the one before has ended."""
    return [run_together(engine, [ask])[0] for ask in asks]


class ReferenceLoop:
    """Greedy decoding straight on `onnxruntime`: no engine, no shared buffers, batch 1."""

    def __init__(self, model: Path) -> None:
        self._session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        self._past = [i for i in self._session.get_inputs() if i.name.startswith("past")]
        self._outputs = [o.name for o in self._session.get_outputs()]
        self._present = [name for name in self._outputs if name.startswith("present")]

    def greedy(self, prompt: Sequence[int], tokens: int, ends: Sequence[int]) -> list[int]:
        """Return the tokens after `prompt`, the end token last if it came."""
        said: list[int] = []
        for logits in self._follow(prompt, said):
            said.append(int(logits.argmax()))
            if len(said) == tokens or said[-1] in ends:
                break
        return said

    def forced(self, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
        """Return what it takes at each place of `answer` when it is made to follow that."""
        return [int(logits.argmax()) for logits in self._along(prompt, answer)]

    def shortfalls(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        """Return by how much the logit of each token of `answer` is below the highest there."""
        rows = self._along(prompt, answer)
        return [
            float(logits.max() - logits[token]) for token, logits in zip(answer, rows, strict=True)
        ]

    def _along(self, prompt: Sequence[int], answer: Sequence[int]) -> Iterator[Logits]:
        return (row for _, row in zip(answer, self._follow(prompt, answer), strict=False))

    def _follow(self, prompt: Sequence[int], answer: Sequence[int]) -> Iterator[Logits]:
        """Yield the logits after `prompt` and each token of `answer`, which is read when needed."""
        feeds = {
            past.name: np.zeros((1, past.shape[1], 0, past.shape[3]), _TYPES[past.type])
            for past in self._past
        }
        pending, total = list(prompt), len(prompt)
        while True:
            feeds["input_ids"] = np.array([pending], np.int64)
            feeds["attention_mask"] = np.ones((1, total), np.int64)
            results = dict(zip(self._outputs, self._session.run(None, feeds), strict=True))
            yield results["logits"][0, -1]
            feeds = {
                past.name: results[present]
                for past, present in zip(self._past, self._present, strict=True)
            }
            pending, total = [answer[total - len(prompt)]], total + 1
