"""The same client for programs without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, Self, TypeVar, Unpack

from llmrouter_client.batch import Batch, Question, Result
from llmrouter_client.client import AsyncClient, Stream
from llmrouter_client.embeddings import Embeddings
from llmrouter_client.events import Answer, Event, Finished, Model, Started
from llmrouter_client.ratings import Rated, Verdict
from llmrouter_client.requests import Options, Prompt
from llmrouter_client.sync_conversation import SyncConversation
from llmrouter_client.sync_iterator import Run, SyncIterator
from llmrouter_client.tls import Tls

__all__ = ["Client", "SyncBatch", "SyncStream"]

_ResultT = TypeVar("_ResultT")


class Client:
    """Asks a gateway, blocking. Safe to share between threads; a thread of its own does the work.

    Args:
        address: `host:port` of the gateway, or a list of several; see `AsyncClient`.
        api_key: Proves who asks, where the gateway wants that; sent with every call.
        timeout: Seconds for a whole call unless it says otherwise; None leaves it to the server.
        retries: How often a call that found nobody to answer is tried again at most.
        tls: Files by which the gateway is reached over TLS; None speaks without.

    Raises:
        LlmrouterError: INVALID_ARGUMENT naming the argument that is wrong.
    """

    def __init__(
        self,
        address: str | Sequence[str] = "localhost:50051",
        *,
        api_key: str | None = None,
        timeout: float | None = None,
        retries: int = 2,
        tls: Tls | None = None,
    ) -> None:
        self._client = AsyncClient(
            address, api_key=api_key, timeout=timeout, retries=retries, tls=tls
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="llmrouter-client", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread; closing twice does nothing."""
        if self._loop.is_closed():
            return
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def generate(self, prompt: Prompt, **options: Unpack[Options]) -> Answer:
        """Return the whole answer; see `AsyncClient.generate`."""
        return self._run(self._client.generate(prompt, **options))

    def stream(self, prompt: Prompt, **options: Unpack[Options]) -> SyncStream:
        """Return the answer as it is generated; see `AsyncClient.stream`."""
        return SyncStream(self._run, self._client.stream(prompt, **options))

    def batch(
        self,
        questions: Sequence[Prompt | Question],
        *,
        concurrency: int | None = None,
        **options: Unpack[Options],
    ) -> SyncBatch:
        """Return the results of many questions as they come; see `AsyncClient.batch`."""
        return SyncBatch(
            self._run, self._client.batch(questions, concurrency=concurrency, **options)
        )

    def converse(
        self, *, window: int | None = None, **options: Unpack[Options]
    ) -> SyncConversation:
        """Begin a conversation; see `AsyncClient.converse`."""
        return SyncConversation(self._run, self._client.converse(window=window, **options))

    def embed(
        self,
        texts: str | Sequence[str],
        *,
        model: str | None = None,
        truncate: bool = False,
        timeout: float | None = None,
    ) -> Embeddings:
        """Return one vector per text; see `AsyncClient.embed`."""
        return self._run(self._client.embed(texts, model=model, truncate=truncate, timeout=timeout))

    def rate(
        self,
        answer: Answer | Started | str,
        verdict: Verdict,
        *,
        model: str | None = None,
        timeout: float | None = None,
    ) -> Rated:
        """Tell how good an answer was; see `AsyncClient.rate`."""
        return self._run(self._client.rate(answer, verdict, model=model, timeout=timeout))

    def models(self, *, timeout: float | None = None) -> list[Model]:
        """Return the models a request may be routed to."""
        return self._run(self._client.models(timeout=timeout))

    def _run(self, work: Coroutine[Any, Any, _ResultT]) -> _ResultT:
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C here must stop the call there
            raise


class SyncStream(SyncIterator[Event]):
    """An answer as it comes: a plain iterator of events; closing it cancels the call."""

    def __init__(self, run: Run, stream: Stream) -> None:
        super().__init__(run, stream)
        self._stream = stream

    @property
    def started(self) -> Started | None:
        """The first event, once it came."""
        return self._stream.started

    @property
    def finished(self) -> Finished | None:
        """The last event, once it came."""
        return self._stream.finished

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the stream; a generation still running is cancelled."""
        self._run(self._stream.aclose())


class SyncBatch(SyncIterator[Result]):
    """Results as they come: a plain iterator; closing it cancels what is not answered yet."""

    def __init__(self, run: Run, batch: Batch) -> None:
        super().__init__(run, batch)
        self._batch = batch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the batch; what is not answered yet is cancelled."""
        self._run(self._batch.aclose())
