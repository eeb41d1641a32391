"""What a request asks of a model that not every model can do; names the services agree on."""

from __future__ import annotations

from llmrouter.common.generation import GenerationRequest, Role, SamplingOptions

__all__ = [
    "CHAT",
    "COMPLETION",
    "CONTINUATION",
    "EMBEDDING",
    "LOGPROBS",
    "SAMPLING",
    "STRUCTURED_OUTPUT",
    "TOOLS",
    "needed",
]

CHAT = "chat"
"""It has a chat template."""
COMPLETION = "completion"
"""It goes on with a raw prompt."""
CONTINUATION = "continuation"
"""It goes on with an answer that another service began."""
EMBEDDING = "embedding"
"""It turns texts into vectors."""
LOGPROBS = "logprobs"
"""It tells how likely each token was."""
STRUCTURED_OUTPUT = "structured_output"
"""It honours a `response_format`."""
TOOLS = "tools"
"""It asks for tools, and reads what they gave."""
SAMPLING = frozenset({
    "logit_bias", LOGPROBS, "min_p", "min_tokens", "n", "penalties", "seed", STRUCTURED_OUTPUT,
})  # fmt: skip
"""Everything that may be asked of how tokens are drawn; temperature, top_k, top_p, max_tokens and
stop every model honours."""


def needed(request: GenerationRequest) -> frozenset[str]:
    """Return what a model must be able to do to answer `request` as asked."""
    kind = CHAT if request.messages else COMPLETION
    speaks_of_tools = request.tools is not None or any(
        turn.tool_calls or turn.role is Role.TOOL for turn in request.messages
    )
    tools = {TOOLS} if speaks_of_tools else set()
    return frozenset({kind, *_of_sampling(request.sampling), *tools})


def _of_sampling(options: SamplingOptions) -> frozenset[str]:
    drawn = options.temperature != 0
    penalties = (
        options.repetition_penalty != 1
        or options.presence_penalty != 0
        or options.frequency_penalty != 0
    )
    asked = {
        "logit_bias": bool(options.logit_bias),
        LOGPROBS: options.logprobs,
        "min_p": options.min_p != 0,
        "min_tokens": options.min_tokens > 0,
        "n": options.n > 1,
        "penalties": penalties,
        "seed": drawn and options.seed is not None,
        STRUCTURED_OUTPUT: options.response_format is not None,
    }
    return frozenset(name for name, wanted in asked.items() if wanted)
