"""Who asks, and until when, as a call over gRPC or HTTP tells it."""

from __future__ import annotations

import math
import os
import re
import time
from dataclasses import replace
from typing import Protocol

from llmrouter.common.bill import Bill
from llmrouter.common.embedding import EmbeddingRequest, EmbeddingResult
from llmrouter.common.errors import invalid
from llmrouter.common.generation import RequestContext
from llmrouter.gateway.identity.principal import Principal, Scope
from llmrouter.gateway.settings import GatewaySettings

__all__ = ["REQUEST_ID_KEY", "TextEmbedder", "check_request_id", "context_of", "known_as"]

REQUEST_ID_KEY = "x-request-id"
"""Metadata key and HTTP header under which callers name their requests."""
_ID_BYTES = 16
_REQUEST_ID = re.compile(r"[!-~]{1,64}")


class TextEmbedder(Protocol):
    """What the edges need in order to turn texts into vectors."""

    async def embed(self, request: EmbeddingRequest, context: RequestContext) -> EmbeddingResult:
        """Return the vectors in the order of the texts."""
        ...


def context_of(
    given_id: str | None, seconds: float | None, settings: GatewaySettings
) -> RequestContext:
    """Return the context of somebody who is not known yet.

    Args:
        given_id: The id that the caller gave; another is drawn where there is none or a bad one.
        seconds: How long the caller waits; None takes the configured default.
        settings: The gateway's settings.
    """
    request_id = (
        given_id if given_id and _REQUEST_ID.fullmatch(given_id) else os.urandom(_ID_BYTES).hex()
    )
    left = seconds
    if left is None or not math.isfinite(left):
        left = settings.default_deadline_seconds
    left = min(left, settings.max_deadline_seconds)
    return RequestContext(request_id, deadline=time.monotonic() + left, bill=Bill())


def check_request_id(given_id: str | None) -> None:
    """Refuse an id that logs could not show.

    Raises:
        RouterError: INVALID_ARGUMENT.
    """
    if given_id is not None and not _REQUEST_ID.fullmatch(given_id):
        raise invalid(REQUEST_ID_KEY, "must be 1 to 64 printable ASCII characters, no blanks")


def known_as(context: RequestContext, who: Principal, scope: Scope) -> RequestContext:
    """Return the context of a caller who is known: tenant, user and models are the principal's."""
    return replace(
        context,
        tenant=who.tenant,
        user=who.user,
        models=who.models,
        credential=who.credential,
        endpoint=scope.value,
    )
