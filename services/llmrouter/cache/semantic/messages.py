"""Questions to be compared, from their protos."""

from __future__ import annotations

import hashlib

import numpy as np

from llmrouter.cache.messages import tenant_of
from llmrouter.cache.semantic.guard import language_of
from llmrouter.cache.semantic.index import Question
from llmrouter.common.errors import invalid
from llmrouter.v1 import cache_pb2 as pb
from llmrouter.v1 import generation_pb2

__all__ = ["decode_question"]

_PARTITION_BYTES = 32
_MAX_TEXT_BYTES = 2048
_MAX_NUMBERS = 4096


def decode_question(
    context: generation_pb2.RequestContext, question: pb.SimilarQuestion
) -> Question:
    """Return a question; tenant and language become part of its partition.

    Raises:
        RouterError: INVALID_ARGUMENT when it is out of bounds.
    """
    tenant = tenant_of(context).encode()
    size = len(question.text.encode())
    if len(question.partition) != _PARTITION_BYTES:
        told = f"has {len(question.partition)} bytes; it must have {_PARTITION_BYTES}"
        raise invalid("question.partition", told)
    if not 1 <= size <= _MAX_TEXT_BYTES:
        raise invalid("question.text", f"has {size} bytes; 1 to {_MAX_TEXT_BYTES} are allowed")
    vector = np.array(question.vector, np.float32)
    if not 1 <= len(vector) <= _MAX_NUMBERS:
        told = f"has {len(vector)} numbers; 1 to {_MAX_NUMBERS} are allowed"
        raise invalid("question.vector", told)
    if not (np.isfinite(vector).all() and vector.any()):
        raise invalid("question.vector", "has no direction; its numbers must be finite, not all 0")
    facts = (tenant, question.partition, language_of(question.text).encode())
    state = hashlib.sha256()
    for fact in facts:
        state.update(len(fact).to_bytes(4, "big") + fact)
    return Question(state.digest(), question.text, vector)
