"""The fingerprint of everything that changes an answer.

Version 3: SHA-256 over canonical JSON (sorted keys, no blanks, UTF-8) of the version tag, tenant,
model name and version, input and sampling options. Text is taken as it is: two Unicode forms of a
prompt are two prompts, as they are to a tokenizer.
"""

from __future__ import annotations

import hashlib
import json

from llmrouter.common.generation import GenerationRequest

__all__ = ["KEY_BYTES", "answer_key"]

KEY_BYTES = 32
_VERSION = "llmrouter-answer-3"


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
