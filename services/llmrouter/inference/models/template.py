"""Chat templates from model files: Jinja2 in its sandbox, with bounds on size and work.

A template comes with the model and is therefore untrusted. Besides Jinja2's own sandbox
(no attributes that lead out, nothing mutable), growth is bounded: joins and repetitions have a
largest result, the whole text has a largest size, and the executed lines are counted.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["ChatTemplate", "TemplateError"]

TraceFunction = Callable[[FrameType, str, Any], Any]

_MAX_SOURCE = 256 * 1024
_MAX_STEPS = 2_000_000
_MAX_NUMBER_BITS = 64
"""Squaring again and again would make numbers that take longer than any deadline."""
_SPARE_OUTPUT = 1024 * 1024
"""Characters a template may add to four times what the messages hold."""

_TEXT_METHODS = frozenset({
    "strip", "lstrip", "rstrip", "split", "rsplit", "startswith", "endswith", "upper", "lower",
    "title", "capitalize", "find", "rfind", "index", "count", "splitlines", "removeprefix",
    "removesuffix", "isdigit", "isalpha", "isspace", "partition", "replace", "join",
})  # fmt: skip
_FILTERS = frozenset({
    "trim", "tojson", "length", "count", "join", "upper", "lower", "replace", "default", "d",
    "first", "last", "list", "map", "select", "selectattr", "reject", "rejectattr", "string",
    "int", "float", "items", "capitalize", "title", "safe", "e", "escape", "dictsort", "sort",
    "unique", "reverse", "min", "max", "abs", "round",
})  # fmt: skip


class TemplateError(Exception):
    """A template is refused; the message is for people."""


class _Bounded(CodeGenerator):
    """Compiles `a ~ b` to a join that the environment bounds."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja2's name
        self.write("environment.bounded_join((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _Environment(ImmutableSandboxedEnvironment):
    code_generator_class = _Bounded
    intercepted_binops = frozenset({"+", "-", "*", "**", "%"})

    def __init__(self) -> None:
        # The options under which Hugging Face models write their templates.
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], finalize=self.sized
        )
        self.filters = {name: self.filters[name] for name in _FILTERS if name in self.filters}
        self.filters["tojson"] = self.bounded_json
        self.filters["replace"] = self.bounded_replace
        self.filters["join"] = self.bounded_join_filter
        self.globals["raise_exception"] = _raise
        self.bounds = threading.local()

    def check(self, size: int) -> None:
        limit = getattr(self.bounds, "characters", _SPARE_OUTPUT)
        if size > limit:
            raise TemplateError(f"the chat template makes more than {limit} characters")

    def concat(self, parts: Iterable[str]) -> str:
        """Join what a block, macro or call wrote; compiled templates fetch this by name."""
        texts = list(parts)
        self.check(sum(map(len, texts)))
        return "".join(texts)

    def sized(self, value: Any) -> Any:
        """Return a value that may be written: a list of lists of itself is small until then."""
        if isinstance(value, list | tuple | dict):
            self.bounded_json(value)
        return value

    def bounded_join(self, parts: Sequence[Any]) -> str:
        texts = [str(self.sized(part)) for part in parts]
        self.check(sum(map(len, texts)))
        return "".join(texts)

    def bounded_join_filter(self, parts: Any, separator: str = "") -> str:
        texts = [str(self.sized(part)) for part in parts]
        self.check(sum(map(len, texts)) + len(texts) * len(separator))
        return separator.join(texts)

    def bounded_json(self, value: object, indent: int | None = None) -> str:
        """Write JSON piece by piece: what holds itself many times over is small until written."""
        encoder = json.JSONEncoder(ensure_ascii=False, indent=min(indent, 8) if indent else None)
        pieces, size = [], 0
        for piece in encoder.iterencode(value):
            size += len(piece)
            self.check(size)
            pieces.append(piece)
        return "".join(pieces)

    def bounded_replace(self, text: Any, old: str, new: str, count: int = -1) -> str:
        text = str(text)
        found = text.count(old)
        self.check(len(text) + found * len(new))
        return str(text.replace(old, new, count))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "+" and isinstance(left, str | list | tuple):
            self.check(len(left) + len(right))
        elif operator == "*" and not (_is_number(left) and _is_number(right)):
            raise TemplateError("the chat template repeats a sequence")
        elif operator == "**":
            raise TemplateError("the chat template takes a power")
        elif operator == "%" and isinstance(left, str):
            raise TemplateError("the chat template formats text with %")
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and result.bit_length() > _MAX_NUMBER_BITS:
            raise TemplateError("the chat template computes with numbers beyond 64 bits")
        return result

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr not in _TEXT_METHODS:
            return False
        return bool(super().is_safe_attribute(obj, attr, value))

    def call(self, context: Any, target: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(target, "__self__", None)
        if isinstance(owner, str) and target.__name__ == "replace":
            return self.bounded_replace(owner, *args, **kwargs)
        if isinstance(owner, str) and target.__name__ == "join":
            return self.bounded_join_filter(args[0], owner)
        return super().call(context, target, *args, **kwargs)


class ChatTemplate:
    """One compiled template; renderings may run in several threads at once."""

    def __init__(self, source: str) -> None:
        """Compile `source`.

        Raises:
            TemplateError: It is larger than 256 KiB or not a template.
        """
        if len(source) > _MAX_SOURCE:
            raise TemplateError(f"the chat template is larger than {_MAX_SOURCE} characters")
        self._environment = _Environment()
        try:
            self._template = self._environment.from_string(source)
        except (jinja2.TemplateError, RecursionError, SyntaxError, ValueError) as error:
            raise TemplateError(f"the chat template does not compile ({error})") from error

    def render(self, messages: Sequence[Mapping[str, str]], **variables: object) -> str:
        """Return the prompt for `messages`, each with `role` and `content`.

        The assistant's turn is opened (`add_generation_prompt`).

        Raises:
            TemplateError: The template refuses the messages, fails, or exceeds its bounds.
        """
        limit = _SPARE_OUTPUT + 4 * sum(len(turn["content"]) for turn in messages)
        self._environment.bounds.characters = limit
        pieces, size = [], 0
        try:
            with _counted_steps():
                for piece in self._template.generate(
                    messages=list(messages), add_generation_prompt=True, **variables
                ):
                    size += len(piece)
                    self._environment.check(size)
                    pieces.append(piece)
        except TemplateError:
            raise
        except Exception as error:  # a hostile template may raise anything
            raise TemplateError(f"the chat template fails ({_brief(error)})") from error
        return "".join(pieces)


@contextmanager
def _counted_steps() -> Iterator[None]:
    """Stop template code of this thread after a number of executed lines.

    Loops over nothing produce no output that could be bounded, so lines are counted by the
    interpreter's trace hook; code outside of templates is not traced.
    """
    steps = 0

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal steps
        if frame.f_code.co_filename != "<template>":
            return None
        steps += event == "line"
        if steps > _MAX_STEPS:
            raise TemplateError(f"the chat template runs more than {_MAX_STEPS} steps")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _raise(message: object) -> None:
    raise TemplateError(f"the chat template refuses these messages: {str(message)[:200]}")
