"""Compiles response formats for one model: bounded, remembered, and off the event loop."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llmrouter import _native
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import FormatKind, ResponseFormat
from llmrouter.inference.backends.grammar_text import (
    check_grammar,
    complaint_of,
    read_schema,
    schema_text,
)
from llmrouter.inference.backends.schema_place import find_place

__all__ = ["Constraints"]

_MAX_COMPILED = 64
"""Formats remembered; the one used longest ago goes first."""
_MAX_COMPILED_TEXT = 1 << 18
"""Their characters together: what a format takes grows with them, to some 40 MB for the largest."""
_MAX_COMPILING = 16
"""Formats on their way at once before QUEUE_FULL: what one costs is bounded by the engine."""


class Constraints:
    """The compiled formats of one model. Used from one event loop.

    Args:
        library: The shared library of llguidance.
        tokens: Returns the bytes of every token; called on the first format, in a thread.
        end_tokens: Ids that end an answer.
    """

    def __init__(
        self, library: Path, tokens: Callable[[], Sequence[bytes]], end_tokens: Sequence[int]
    ) -> None:
        self._library, self._tokens, self._end_tokens = library, tokens, end_tokens
        self._compiler: _native.GrammarCompiler | None = None
        self._compiled: OrderedDict[ResponseFormat, _native.Grammar] = OrderedDict()
        self._text = 0
        self._compiling: dict[ResponseFormat, asyncio.Future[_native.Grammar]] = {}
        self._open = True
        # One thread of its own: a format that takes long holds up other formats and nothing else.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="constraints")

    async def compile(self, wanted: ResponseFormat) -> _native.Grammar:
        """Return what the engine follows.

        Raises:
            RouterError: INVALID_ARGUMENT naming the field and the place in it that is wrong, or
                what of it costs too much; QUEUE_FULL with retry_after while too many are on their
                way; MODEL_UNAVAILABLE when llguidance cannot be used.
        """
        grammar = self._compiled.get(wanted)
        if grammar is not None:
            self._compiled.move_to_end(wanted)
            return grammar
        running = self._compiling.get(wanted) or self._start(wanted)
        # Whoever else asks for the same format waits for the same work.
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if running.cancelled():
                raise _closed() from None
            raise

    def close(self) -> None:
        """Drop what still waits to be compiled; safe to call twice."""
        self._open = False
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _start(self, wanted: ResponseFormat) -> asyncio.Future[_native.Grammar]:
        if not self._open:
            raise _closed()
        if len(self._compiling) >= _MAX_COMPILING:
            raise RouterError(
                Reason.QUEUE_FULL,
                f"{_MAX_COMPILING} response formats are being compiled, as many as may",
                retry_after=1.0,
            )
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._thread, self._compile, wanted)
        self._compiling[wanted] = running
        running.add_done_callback(lambda done: self._keep(wanted, done))
        return running

    def _keep(self, wanted: ResponseFormat, done: asyncio.Future[_native.Grammar]) -> None:
        del self._compiling[wanted]
        if done.cancelled() or done.exception() is not None:
            return
        self._compiled[wanted] = done.result()
        self._text += len(wanted.text)
        while len(self._compiled) > _MAX_COMPILED or self._text > _MAX_COMPILED_TEXT:
            oldest, _ = self._compiled.popitem(last=False)
            self._text -= len(oldest.text)

    def _compile(self, wanted: ResponseFormat) -> _native.Grammar:
        """Compile one format, on the thread."""
        if wanted.kind is FormatKind.REGEX:
            return self._translate(wanted, "regex", wanted.text)
        if wanted.kind is FormatKind.GRAMMAR:
            check_grammar(wanted.text)
            return self._translate(wanted, "lark", wanted.text)
        if wanted.kind is FormatKind.JSON_OBJECT:
            return self._translate(wanted, "json_schema", schema_text({"type": "object"}))
        schema = read_schema(wanted.text)
        return self._translate(wanted, "json_schema", schema_text(schema), schema)

    def _translate(
        self,
        wanted: ResponseFormat,
        kind: str,
        text: str,
        schema: Mapping[str, Any] | None = None,
    ) -> _native.Grammar:
        try:
            return self._opened().compile(kind, text)
        except _native.EngineError as error:
            if error.code is not _native.ErrorCode.INVALID_ARGUMENT:
                raise RouterError(Reason.MODEL_UNAVAILABLE, str(error)) from error
            complaint = str(error)
        place = "" if schema is None else find_place(schema, complaint, self._complain)
        raise complaint_of(wanted, complaint, place)

    def _complain(self, schema: Mapping[str, Any]) -> str:
        try:
            self._opened().compile("json_schema", schema_text(dict(schema)))
        except _native.EngineError as error:
            return str(error)
        return ""

    def _opened(self) -> _native.GrammarCompiler:
        """Return the compiler; made on the first format, so that others cost nothing."""
        if self._compiler is None:
            self._compiler = _native.GrammarCompiler(
                str(self._library), self._tokens(), self._end_tokens
            )
        return self._compiler


def _closed() -> RouterError:
    return RouterError(Reason.MODEL_UNAVAILABLE, "the model is being unloaded")
