"""The Jinja2 environment for chat templates of strangers: its own sandbox, and bounds on growth.

Jinja2's sandbox keeps a template from reaching out and from changing what it is given. It does
not keep it from growing: text doubles by joining, and a list of lists of itself is small until
it is written or compared. Here every text and every container has a largest size from the moment
it is made, so that whatever one operation does with it takes a bounded time.
"""

from __future__ import annotations

import functools
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import loopcontrols
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

__all__ = [
    "SPARE_SIZE",
    "MessagesRefusedError",
    "TemplateEnvironment",
    "TemplateError",
    "TemplateTooCostlyError",
]

SPARE_SIZE = 256 * 1024
"""What a text or container may grow to beyond four times the characters of the messages."""
_MAX_NUMBER_BITS = 64
"""Squaring again and again would make numbers that take longer than any deadline."""
_MAX_DIGITS = 20
"""Rounding to a thousand million places takes a power of ten of that size."""

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
_TEXT_FILTERS = frozenset({
    "trim", "upper", "lower", "capitalize", "title", "e", "escape", "safe", "int", "float",
})  # fmt: skip
_DICT_METHODS = frozenset({"get", "items", "keys", "values"})
_GLOBALS = frozenset({"range", "dict", "namespace"})


class TemplateError(Exception):
    """A template is refused, or fails; the message is for people."""


class TemplateTooCostlyError(TemplateError):
    """A template takes more lines, seconds, characters or values than it may."""


class MessagesRefusedError(TemplateError):
    """A template works, and refuses the messages it was given."""


class _BoundedCode(CodeGenerator):
    """Compiles joins and the making of containers to calls that the environment bounds."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja2's name
        self.write("environment.bounded_join((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802 - Jinja2's name
        self._weighed(super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802 - Jinja2's name
        self._weighed(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802 - Jinja2's name
        if node.ctx == "load":
            self._weighed(super().visit_Tuple, node, frame)
        else:  # names that are assigned to
            super().visit_Tuple(node, frame)

    def _weighed(self, visit: Callable[..., None], node: nodes.Node, frame: Frame) -> None:
        self.write("environment.weighed(")
        visit(node, frame)
        self.write(")")


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Compiles and runs one template; `bounds.size` is the limit of the thread that renders."""

    code_generator_class = _BoundedCode
    intercepted_binops = frozenset({"+", "-", "*", "**", "%", "/", "//"})

    def __init__(self) -> None:
        """Take the options under which Hugging Face models write their templates."""
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], finalize=self.written
        )
        self.bounds = threading.local()
        known = {name: self.filters[name] for name in _FILTERS if name in self.filters}
        known |= {
            "tojson": self.bounded_json,
            "replace": self.bounded_replace,
            "join": self.bounded_join_filter,
            "string": self.bounded_text,
            "round": _bounded_round,
        }
        known |= {name: self._of_text(known[name]) for name in _TEXT_FILTERS}
        self.filters = {name: self._weighing(made) for name, made in known.items()}
        self.globals = {name: self.globals[name] for name in _GLOBALS}
        self.globals["raise_exception"] = self.refuse

    def check(self, size: int) -> None:
        """Refuse a text or container of `size`.

        Raises:
            TemplateTooCostlyError: It is beyond the limit.
        """
        limit = getattr(self.bounds, "size", SPARE_SIZE)
        if size > limit:
            told = f"the chat template makes more than {limit} characters or values"
            raise TemplateTooCostlyError(told)

    def check_time(self) -> None:
        """Refuse to go on past the time of the thread that renders.

        Raises:
            TemplateTooCostlyError: It is over.
        """
        if time.thread_time() > getattr(self.bounds, "end", math.inf):
            raise TemplateTooCostlyError("the chat template runs too long")

    def weighed(self, *values: Any) -> Any:
        """Return the first of `values`, all of which together stay below the limit."""
        self.weight(values)
        return values[0]

    def weight(self, value: Any) -> int:
        """Return the size of a value: texts count their characters, all else one, as often as met.

        Raises:
            TemplateError: It is beyond the limit, or holds bytes.
        """
        size, left = 0, [value]
        while left:
            one = left.pop()
            size += 1
            if isinstance(one, str):
                size += len(one)
            elif isinstance(one, dict):
                left += one
                left += one.values()
            elif isinstance(one, list | tuple | set | frozenset):
                left += one
            elif isinstance(one, bytes | bytearray):
                raise TemplateError("the chat template works with bytes")
            self.check(size + len(left))
        return size

    def eager(self, made: Any) -> Any:
        """Return what a filter made, weighed; what it would make bit by bit is made now.

        Lazily, one chain of filters would do all of its work within one line, past every bound.
        """
        if not isinstance(made, Iterator):
            return self.weighed(made)
        kept, size = [], 0
        for value in made:
            self.check_time()
            kept.append(value)
            size += self.weight(value)
            self.check(size)
        return kept

    def concat(self, parts: Iterable[str]) -> str:
        """Join what a block, macro or call wrote; compiled templates fetch this by name."""
        texts = list(parts)
        self.check(sum(map(len, texts)))
        return "".join(texts)

    def written(self, value: Any) -> Any:
        """Return a value that may be written out."""
        if isinstance(value, list | tuple | dict):
            self.bounded_json(value)
        elif isinstance(value, Namespace):
            raise TemplateError("the chat template writes a namespace")
        return value

    def bounded_text(self, value: Any) -> str:
        """Return `value` as text."""
        return str(self.written(value))

    def bounded_join(self, parts: Sequence[Any]) -> str:
        """Be `a ~ b`."""
        texts = [self.bounded_text(part) for part in parts]
        self.check(sum(map(len, texts)))
        return "".join(texts)

    def bounded_join_filter(self, parts: Any, separator: str = "") -> str:
        """Be the filter and the method `join`."""
        texts = [self.bounded_text(part) for part in parts]
        self.check(sum(map(len, texts)) + len(texts) * len(separator))
        return separator.join(texts)

    def bounded_json(self, value: object, indent: int | None = None) -> str:
        """Be the filter `tojson`, written piece by piece."""
        encoder = json.JSONEncoder(ensure_ascii=False, indent=min(indent, 8) if indent else None)
        pieces, size = [], 0
        for piece in encoder.iterencode(value):
            size += len(piece)
            self.check(size)
            pieces.append(piece)
        return "".join(pieces)

    def bounded_replace(self, text: Any, old: str, new: str, count: int = -1) -> str:
        """Be the filter and the method `replace`."""
        text = self.bounded_text(text)
        found = text.count(old)
        self.check(len(text) + found * len(new))
        return str(text.replace(old, new, count))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Bound the operators that make things grow."""
        if operator == "+" and isinstance(left, str | list | tuple):
            self.weighed(left, right)
        elif operator == "*" and not (_is_number(left) and _is_number(right)):
            raise TemplateError("the chat template repeats a sequence")
        elif operator == "**":
            raise TemplateError("the chat template takes a power")
        elif operator == "%" and isinstance(left, str):
            raise TemplateError("the chat template formats text with %")
        elif operator in {"/", "//"}:
            _check_number(left)
            _check_number(right)
        result = super().call_binop(context, operator, left, right)
        _check_number(result)
        return result

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Allow harmless methods of texts and dictionaries, and what Jinja2 itself hands out."""
        if isinstance(obj, str):
            return attr in _TEXT_METHODS
        if isinstance(obj, dict):
            return attr in _DICT_METHODS
        own = isinstance(obj, LoopContext | Namespace | Macro)
        return own and bool(super().is_safe_attribute(obj, attr, value))

    def call(self, context: Any, target: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Bound what goes into a call, which a macro finds as `varargs`, and what comes out."""
        self.weighed(args, kwargs)
        owner = getattr(target, "__self__", None)
        if isinstance(owner, str) and target.__name__ == "replace":
            return self.bounded_replace(owner, *args, **kwargs)
        if isinstance(owner, str) and target.__name__ == "join":
            return self.bounded_join_filter(args[0], owner)
        return self.weighed(super().call(context, target, *args, **kwargs))

    def _weighing(self, made: Callable[..., Any]) -> Callable[..., Any]:
        """Return a filter whose result is weighed; Jinja2's marks on the function stay."""

        @functools.wraps(made)
        def run(*args: Any, **kwargs: Any) -> Any:
            self.check_time()
            return self.eager(made(*args, **kwargs))

        return run

    def _of_text(self, made: Callable[..., Any]) -> Callable[..., Any]:
        """Return a filter that takes the bounded text of what it is given."""

        @functools.wraps(made)
        def run(value: Any, *args: Any, **kwargs: Any) -> Any:
            plain = value if isinstance(value, int | float) else self.bounded_text(value)
            return _check_number(made(plain, *args, **kwargs))

        return run

    def refuse(self, message: object) -> None:
        """Be `raise_exception`, by which templates refuse messages."""
        told = self.bounded_text(message)[:200]
        raise MessagesRefusedError(f"the chat template refuses these messages: {told}")


def _bounded_round(value: float, precision: int = 0, method: str = "common") -> float:
    if abs(precision) > _MAX_DIGITS:
        raise TemplateError(f"the chat template rounds to {precision} places")
    if method != "common":
        raise TemplateError(
            f"the chat template rounds by the method {method!r}; only common is known"
        )
    return round(value, precision)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _check_number(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > _MAX_NUMBER_BITS:
        raise TemplateError("the chat template computes with numbers beyond 64 bits")
    return value
