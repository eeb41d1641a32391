"""The fingerprint of everything that changes an answer.

Version 5, in two steps. The question is SHA-256 over canonical JSON (sorted keys, no blanks, UTF-8)
of the version tag, tenant, input, sampling options and, of a caller who is held to some models,
those, and of a request with tools these. The key is SHA-256 over the question, the length of the
model's name, the name and its version: one question has a key per model version.

What does not change an answer is left out, so that more requests meet: cache wishes, routing,
priority and deadline; the order of stop strings and logit biases, doubled stop strings and biases
of nothing; and of a greedy answer what only shapes a draw.

Text is taken as it is, code point by code point, and is never normalised: two Unicode forms of a
prompt, or one with another blank, are two prompts, because a tokenizer gives them different tokens
and a model may answer them differently. A miss costs a generation, a wrong hit costs trust.

Numbers count by value: a temperature of 1 is that of 1.0, and -0.0 is 0.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from llmrouter.common.generation import GenerationRequest, Message, Role

__all__ = ["KEY_BYTES", "answer_key", "conversation_key", "question_key", "stored_key"]

KEY_BYTES = 32
_VERSION = "llmrouter-answer-5"
_BEGINNING_BYTES = 4096
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def answer_key(question: bytes, model: str, version: str) -> bytes:
    """Return the 32-byte key of an answer by one model version.

    Args:
        question: What `question_key` gave.
        model: Name of the model.
        version: Its version.
    """
    name = model.encode()
    facts = question + len(name).to_bytes(4, "big") + name + version.encode()
    return hashlib.sha256(facts).digest()


def question_key(
    request: GenerationRequest, tenant: str, models: frozenset[str] = frozenset()
) -> bytes:
    """Return the 32 bytes that stand for all that a tenant asks, whoever answers.

    Args:
        request: What is asked.
        tenant: Whose it is.
        models: The models that the caller is held to, if any: it shall not meet what others of its
            tenant were answered by models that it may not use.
    """
    asked = (tenant, models)
    known = request.fingerprints.get(asked)
    if known is None:
        known = request.fingerprints[asked] = _question_key(request, tenant, models)
    return known


def _question_key(request: GenerationRequest, tenant: str, models: frozenset[str]) -> bytes:
    options = request.sampling
    # A greedy answer does not depend on what only shapes a draw.
    drawn = options.temperature != 0
    wanted = options.response_format
    facts = {
        "key": _VERSION,
        "tenant": tenant,
        "messages": [
            [turn.role.value, list(turn.parts), *_calls(turn)] for turn in request.messages
        ],
        "prompt": request.prompt,
        "temperature": float(options.temperature) + 0.0,
        "top_k": options.top_k if drawn else 0,
        "top_p": float(options.top_p) if drawn else 1.0,
        "seed": options.seed if drawn else None,
        "max_tokens": options.max_tokens,
        "stop": sorted(set(options.stop)),
        "min_p": float(options.min_p) + 0.0 if drawn else 0.0,
        "repetition_penalty": float(options.repetition_penalty),
        "presence_penalty": float(options.presence_penalty) + 0.0,
        "frequency_penalty": float(options.frequency_penalty) + 0.0,
        "logit_bias": sorted((token, float(bias)) for token, bias in options.logit_bias if bias),
        "min_tokens": options.min_tokens,
        "n": options.n,
        "logprobs": options.logprobs,
        "response_format": None if wanted is None else [wanted.kind.value, wanted.text],
        "top_logprobs": options.top_logprobs if options.logprobs else 0,
    }
    if models:
        facts["models"] = sorted(models)
    if request.tools is not None:
        facts["tools"] = asdict(request.tools)
    return hashlib.sha256(_canonical(facts).encode("utf-8", "surrogatepass")).digest()


def _calls(turn: Message) -> list[object]:
    """Return what is said of tools; nothing in most turns, whose key stays as it was."""
    if not (turn.tool_calls or turn.tool_call_id):
        return []
    return [[asdict(call) for call in turn.tool_calls], turn.tool_call_id]


def stored_key(tenant: str, key: bytes) -> bytes:
    """Return the 32 bytes that an answer is stored under; no two tenants share any.

    The key names the tenant already; levels do not rely on whoever made it.
    """
    name = tenant.encode()
    return hashlib.sha256(len(name).to_bytes(4, "big") + name + key).digest()


def conversation_key(request: GenerationRequest, tenant: str) -> bytes:
    """Return a 32-byte key that all turns of a conversation share; empty for a raw prompt.

    It covers the instructions and the first question, as far as they stand in the first 4 KiB:
    later turns repeat them word for word.
    """
    if not request.messages:
        return b""
    digest = hashlib.sha256(f"llmrouter-conversation-1\0{tenant}".encode())
    left = _BEGINNING_BYTES
    for turn in request.messages:
        text = turn.text.encode("utf-8", "surrogatepass")[:left]
        digest.update(f"\0{turn.role.value}\0{len(text)}\0".encode() + text)
        left -= len(text)
        if left <= 0 or turn.role is Role.USER:
            break
    return digest.digest()
