"""Who asks, and until when, as a call over gRPC or HTTP tells it."""

from __future__ import annotations

import math
import re
import time
import uuid
from typing import Protocol

from llmrouter.common.embedding import EmbeddingRequest, EmbeddingResult
from llmrouter.common.errors import invalid
from llmrouter.common.generation import RequestContext
from llmrouter.gateway.settings import GatewaySettings

__all__ = ["REQUEST_ID_KEY", "TextEmbedder", "check_request_id", "context_of"]

REQUEST_ID_KEY = "x-request-id"
"""Metadata key and HTTP header under which callers name their requests."""
_REQUEST_ID = re.compile(r"[!-~]{1,64}")


class TextEmbedder(Protocol):
    """What the edges need in order to turn texts into vectors."""

    async def embed(self, request: EmbeddingRequest, context: RequestContext) -> EmbeddingResult:
        """Return the vectors in the order of the texts."""
        ...


def context_of(
    given_id: str | None, seconds: float | None, settings: GatewaySettings
) -> RequestContext:
    """Return who asks.

    Args:
        given_id: The id that the caller gave; another is drawn where there is none or a bad one.
        seconds: How long the caller waits; None takes the configured default.
        settings: The gateway's settings.
    """
    request_id = given_id if given_id and _REQUEST_ID.fullmatch(given_id) else uuid.uuid4().hex
    left = seconds
    if left is None or not math.isfinite(left):
        left = settings.default_deadline_seconds
    left = min(left, settings.max_deadline_seconds)
    return RequestContext(request_id, deadline=time.monotonic() + left)


def check_request_id(given_id: str | None) -> None:
    """Refuse an id that logs could not show.

    Raises:
        RouterError: INVALID_ARGUMENT.
    """
    if given_id is not None and not _REQUEST_ID.fullmatch(given_id):
        raise invalid(REQUEST_ID_KEY, "must be 1 to 64 printable ASCII characters, no blanks")
