"""The fingerprint of everything that changes an answer.

Version 3: SHA-256 over canonical JSON (sorted keys, no blanks, UTF-8) of the version tag, tenant,
model name and version, input and sampling options. Text is taken as it is: two Unicode forms of a
prompt are two prompts, as they are to a tokenizer.
"""

from __future__ import annotations

import hashlib
import json

from llmrouter.common.generation import GenerationRequest, Role

__all__ = ["KEY_BYTES", "answer_key", "conversation_key", "question_key"]

KEY_BYTES = 32
_VERSION = "llmrouter-answer-3"
_BEGINNING_BYTES = 4096


def answer_key(request: GenerationRequest, tenant: str, model: str, version: str) -> bytes:
    """Return the 32-byte key of an answer by one model version to one tenant."""
    options = request.sampling
    # A greedy answer does not depend on what only shapes a draw.
    drawn = options.temperature != 0
    wanted = options.response_format
    facts = {
        "key": _VERSION,
        "tenant": tenant,
        "model": model,
        "model_version": version,
        "messages": [[turn.role.value, list(turn.parts)] for turn in request.messages],
        "prompt": request.prompt,
        "temperature": options.temperature,
        "top_k": options.top_k if drawn else 0,
        "top_p": options.top_p if drawn else 1.0,
        "seed": options.seed if drawn else None,
        "max_tokens": options.max_tokens,
        "stop": sorted(set(options.stop)),
        "min_p": options.min_p if drawn else 0.0,
        "repetition_penalty": options.repetition_penalty,
        "presence_penalty": options.presence_penalty,
        "frequency_penalty": options.frequency_penalty,
        "logit_bias": sorted(entry for entry in options.logit_bias if entry[1]),
        "min_tokens": options.min_tokens,
        "n": options.n,
        "logprobs": options.logprobs,
        "response_format": None if wanted is None else [wanted.kind.value, wanted.text],
        "top_logprobs": options.top_logprobs if options.logprobs else 0,
    }
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def question_key(request: GenerationRequest, tenant: str) -> bytes:
    """Return the 32-byte key of a question, whichever model answers it."""
    return answer_key(request, tenant, "", "")


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
