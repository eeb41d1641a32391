"""Every name that leaves the process: spans, attributes and instruments.

The GenAI conventions still move (standards of July 2026: `gen_ai.*` as development), so that a
rename is an edit of this file. Instruments are named as OpenTelemetry does; on the Prometheus page
units and `_total` are appended, which gives the guide's `llm_request_duration_seconds` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["BOUNDED_LABELS", "INSTRUMENTS", "ROOTS", "SERVER_SPANS", "UNTRACED", "Attribute",
           "Instrument", "Kind", "Name", "SpanName"]  # fmt: skip


class SpanName(StrEnum):
    """Names of spans; those of attempts are `chat MODEL`, as the conventions say."""

    QUESTION = "question"
    """One of the questions of a batch."""
    ADMISSION = "admission"
    SELECTION = "model_selection"
    CACHE_LOOKUP = "cache_lookup"
    CACHE_STORE = "cache_store"
    OUTCOME = "report_outcome"
    INFERENCE = "inference"
    PROVIDER = "provider"
    """Followed by the name of the model: a call to a remote provider."""
    QUEUE = "queue"
    PREFILL = "prefill"
    DECODE = "decode"
    CANDIDATE = "candidate"
    """An event of a selection: one candidate and its score."""


SERVER_SPANS: Final[Mapping[str, SpanName]] = {
    "/llmrouter.v1.SelectorService/Select": SpanName.SELECTION,
    "/llmrouter.v1.SelectorService/ReportOutcome": SpanName.OUTCOME,
    "/llmrouter.v1.CacheService/Lookup": SpanName.CACHE_LOOKUP,
    "/llmrouter.v1.CacheService/Store": SpanName.CACHE_STORE,
    "/llmrouter.v1.InferenceService/Infer": SpanName.INFERENCE,
}
"""Calls whose meaning names their span; the others are named by service and method."""


ROOTS: Final = frozenset(
    f"/llmrouter.v1.GatewayService/{method}"
    for method in ("Generate", "StreamGenerate", "BatchGenerate", "Embed")
)
"""Calls that begin a trace where their caller has none."""
UNTRACED: Final = frozenset({"GET /live/events"})
"""Calls that last as long as somebody looks: they would be kept as slow."""


class Attribute:
    """Names of attributes and labels."""

    OPERATION: Final = "gen_ai.operation.name"
    PROVIDER: Final = "gen_ai.provider.name"
    REQUEST_MODEL: Final = "gen_ai.request.model"
    RESPONSE_MODEL: Final = "gen_ai.response.model"
    FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
    MAX_TOKENS: Final = "gen_ai.request.max_tokens"
    TEMPERATURE: Final = "gen_ai.request.temperature"
    TOP_P: Final = "gen_ai.request.top_p"
    TOP_K: Final = "gen_ai.request.top_k"
    SEED: Final = "gen_ai.request.seed"
    CHOICES: Final = "gen_ai.request.choice.count"
    INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
    OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
    CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
    TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - no secret
    INPUT_MESSAGES: Final = "gen_ai.input.messages"
    OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
    ERROR: Final = "error.type"
    SERVER: Final = "server.address"
    HTTP_ROUTE: Final = "http.route"
    HTTP_METHOD: Final = "http.request.method"
    RPC_SYSTEM: Final = "rpc.system.name"
    RPC_METHOD: Final = "rpc.method"
    RPC_STATUS: Final = "rpc.response.status_code"
    REQUEST_ID: Final = "llmrouter.request_id"
    PLAN_ID: Final = "llmrouter.plan_id"
    CACHE: Final = "llmrouter.cache"
    CACHE_LEVEL: Final = "llmrouter.cache.level"
    ATTEMPTS: Final = "llmrouter.attempts"
    STRATEGY: Final = "llmrouter.strategy"
    REASON: Final = "llmrouter.reason"
    MODE: Final = "llmrouter.mode"
    VERSION: Final = "llmrouter.version"
    SCORE: Final = "llmrouter.score"
    COST: Final = "llmrouter.estimated_cost"
    TENANT: Final = "llmrouter.tenant"


class Kind(StrEnum):
    """What an instrument does."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    TOTAL = "total"
    """A sum that is read where it is kept."""
    GAUGE = "gauge"
    """A value that is read where it is kept."""


class Name(StrEnum):
    """Names of instruments."""

    REQUESTS = "llm_requests"
    REQUEST_DURATION = "llm_request_duration"
    ERRORS = "llm_errors"
    TOKENS_GENERATED = "llm_tokens_generated"
    MODEL_USAGE = "llm_model_usage"
    MEMORY_USAGE = "llm_memory_usage"
    QUEUE_SIZE = "llm_queue_size"
    FIRST_TOKEN = "llm_time_to_first_token"  # noqa: S105 - no secret
    PER_TOKEN = "llm_time_per_output_token"  # noqa: S105 - no secret
    ATTEMPTS = "llm_attempts"
    CLIENT_DURATION = "gen_ai.client.operation.duration"
    CLIENT_TOKENS = "gen_ai.client.token.usage"
    SERVER_DURATION = "gen_ai.server.request.duration"
    SERVER_FIRST_TOKEN = "gen_ai.server.time_to_first_token"  # noqa: S105 - no secret
    SERVER_PER_TOKEN = "gen_ai.server.time_per_output_token"  # noqa: S105 - no secret
    RPC_DURATION = "rpc.server.call.duration"
    RPC_ACTIVE = "rpc.server.active_calls"
    HTTP_DURATION = "http.server.request.duration"
    LOOP_LAG = "llm_event_loop_lag"
    QUEUE_TIME = "llm_queue_time"
    RUNNING = "llm_running_sequences"
    HELD = "llm_held_sequences"
    SLOTS = "llm_slots"
    STEPS = "llm_engine_steps"
    BUSY = "llm_engine_busy"
    DECODER_BUSY = "llm_decoder_busy"
    STEP_TIME = "llm_engine_step_time"
    ESTIMATED_WAIT = "llm_estimated_wait"
    PROMPT_TOKENS = "llm_prompt_tokens_computed"
    REUSED_TOKENS = "llm_prompt_tokens_reused"
    OUTPUT_TOKENS = "llm_completion_tokens"
    PREEMPTIONS = "llm_preemptions"
    DRAFTED = "llm_drafted_tokens"
    ACCEPTED = "llm_accepted_tokens"
    KV_CACHE = "llm_kv_cache"
    MODEL_STATE = "llm_model_state"
    MEMORY_LIMIT = "llm_memory_limit"
    MEMORY_PRESSURE = "llm_memory_pressure"
    CPU = "llm_cpu_share"
    CACHE_HITS = "llm_cache_hits"
    CACHE_MISSES = "llm_cache_misses"
    CACHE_EVICTIONS = "llm_cache_evictions"
    CACHE_ENTRIES = "llm_cache_entries"
    CACHE_SIZE = "llm_cache_size"
    CACHE_LIMIT = "llm_cache_limit"
    SELECTIONS = "llm_selections"
    BREAKER_STATE = "llm_breaker_state"
    ROLLOUT_SHARE = "llm_rollout_share"
    ROLLOUT_STAGE = "llm_rollout_stage"
    ROLLOUT_STATE = "llm_rollout_state"
    COST = "llm_cost_dollars"
    TENANT_COST = "llm_tenant_cost_dollars"
    BUDGET_ALERTS = "llm_budget_alerts"
    LIMIT_USED = "llm_limit_used_ratio"
    SAFETY_FINDINGS = "llm_safety_findings"
    QUALITY = "llm_model_quality"
    OUTSTANDING = "llm_outstanding_tokens"
    STATE_DEGRADED = "llm_selector_state_degraded"
    DESIRED_REPLICAS = "llm_desired_replicas"
    REPLICAS = "llm_replicas"
    POOL_LOAD = "llm_pool_load"
    MODEL_DESIRED_REPLICAS = "llm_model_desired_replicas"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument: what it does, in which unit (UCUM), and its buckets."""

    kind: Kind
    unit: str
    description: str
    buckets: tuple[float, ...] = ()


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_FIRST = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
_PER_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0)
_TOKENS = (1.0, 4.0, 16.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 16384.0, 65536.0)

INSTRUMENTS: Final[Mapping[Name, Instrument]] = {
    Name.REQUESTS: Instrument(
        Kind.COUNTER, "{request}", "Requests by model, tenant, success and what the cache did."
    ),
    Name.REQUEST_DURATION: Instrument(
        Kind.HISTOGRAM, "s", "From the gateway's receipt of a request to its end.", _SECONDS
    ),
    Name.ERRORS: Instrument(Kind.COUNTER, "{error}", "Requests that failed, by reason."),
    Name.TOKENS_GENERATED: Instrument(
        Kind.HISTOGRAM, "{token}", "Tokens generated for one request.", _TOKENS
    ),
    Name.MODEL_USAGE: Instrument(
        Kind.COUNTER, "{use}", "Times that a model was used, by operation."
    ),
    Name.MEMORY_USAGE: Instrument(Kind.GAUGE, "By", "Memory in use, by what it is used for."),
    Name.QUEUE_SIZE: Instrument(Kind.GAUGE, "{request}", "Requests that wait for a slot."),
    Name.FIRST_TOKEN: Instrument(
        Kind.HISTOGRAM, "s", "From the gateway's receipt to the first text.", _FIRST
    ),
    Name.PER_TOKEN: Instrument(
        Kind.HISTOGRAM, "s", "Between two tokens after the first, as the caller sees it.",
        _PER_TOKEN,
    ),
    Name.ATTEMPTS: Instrument(
        Kind.COUNTER, "{attempt}", "Attempts at models, by how they ended: failovers are those "
        "beyond requests.",
    ),
    Name.CLIENT_DURATION: Instrument(Kind.HISTOGRAM, "s", "One attempt at a model.", _SECONDS),
    Name.CLIENT_TOKENS: Instrument(
        Kind.HISTOGRAM, "{token}", "Tokens read and generated by one attempt.", _TOKENS
    ),
    Name.SERVER_DURATION: Instrument(
        Kind.HISTOGRAM, "s", "One generation inside the inference service.", _SECONDS
    ),
    Name.SERVER_FIRST_TOKEN: Instrument(
        Kind.HISTOGRAM, "s", "From the engine's receipt to the first token.", _FIRST
    ),
    Name.SERVER_PER_TOKEN: Instrument(
        Kind.HISTOGRAM, "s", "Between two tokens after the first, by the engine's clock.",
        _PER_TOKEN,
    ),
    Name.QUEUE_TIME: Instrument(
        Kind.HISTOGRAM, "s", "Waiting for a slot, by the engine's clock.", _SHORT
    ),
    Name.RPC_DURATION: Instrument(
        Kind.HISTOGRAM, "s", "One call, from its receipt to its end.", _SECONDS
    ),
    Name.HTTP_DURATION: Instrument(
        Kind.HISTOGRAM, "s", "One call over HTTP, from its receipt to its end.", _SECONDS
    ),
    Name.RPC_ACTIVE: Instrument(Kind.GAUGE, "{call}", "Calls inside a service now."),
    Name.LOOP_LAG: Instrument(
        Kind.HISTOGRAM, "s", "How late the event loop comes to what is due.", _SHORT
    ),
    Name.RUNNING: Instrument(Kind.GAUGE, "{sequence}", "Sequences that run: the batch of a step."),
    Name.HELD: Instrument(
        Kind.GAUGE, "{sequence}", "Sequences off their slots until their readers have caught up."
    ),
    Name.SLOTS: Instrument(Kind.GAUGE, "{sequence}", "Sequences that can run at once."),
    Name.STEPS: Instrument(Kind.TOTAL, "{step}", "Runs of the decoder."),
    Name.BUSY: Instrument(Kind.TOTAL, "s", "Time in which the engine had work."),
    Name.DECODER_BUSY: Instrument(Kind.TOTAL, "s", "That of the decoder's own runs."),
    Name.STEP_TIME: Instrument(Kind.GAUGE, "s", "Mean time of a decoding step."),
    Name.ESTIMATED_WAIT: Instrument(Kind.GAUGE, "s", "What a request that came now would wait."),
    Name.PROMPT_TOKENS: Instrument(Kind.TOTAL, "{token}", "Prompt tokens computed."),
    Name.REUSED_TOKENS: Instrument(
        Kind.TOTAL, "{token}", "Prompt tokens computed by what was asked before: prefix hits."
    ),
    Name.OUTPUT_TOKENS: Instrument(Kind.TOTAL, "{token}", "Tokens generated."),
    Name.PREEMPTIONS: Instrument(
        Kind.TOTAL, "{sequence}", "Sequences that gave way to a higher class of priority."
    ),
    Name.DRAFTED: Instrument(Kind.TOTAL, "{token}", "Tokens drafted and verified."),
    Name.ACCEPTED: Instrument(Kind.TOTAL, "{token}", "Drafted tokens that became part of answers."),
    Name.KV_CACHE: Instrument(
        Kind.GAUGE, "By", "Memory of keys and values, of running, parked and earlier prompts."
    ),
    Name.MODEL_STATE: Instrument(Kind.GAUGE, "", "1 for the state that a version is in."),
    Name.MEMORY_LIMIT: Instrument(Kind.GAUGE, "By", "The limit nearest to being reached."),
    Name.MEMORY_PRESSURE: Instrument(
        Kind.GAUGE, "", "How short memory is: 0 not, 1 warning, 2 critical, 3 emergency."
    ),
    Name.CPU: Instrument(Kind.GAUGE, "", "Share of the cores given that is used; 0 to 1."),
    Name.CACHE_HITS: Instrument(Kind.TOTAL, "{lookup}", "Lookups answered, by level."),
    Name.CACHE_MISSES: Instrument(Kind.TOTAL, "{lookup}", "Lookups not answered, by level."),
    Name.CACHE_EVICTIONS: Instrument(Kind.TOTAL, "{entry}", "Entries dropped to make room."),
    Name.CACHE_ENTRIES: Instrument(Kind.GAUGE, "{entry}", "Entries held."),
    Name.CACHE_SIZE: Instrument(Kind.GAUGE, "By", "Bytes held."),
    Name.CACHE_LIMIT: Instrument(Kind.GAUGE, "By", "Bytes that may be held."),
    Name.SELECTIONS: Instrument(
        Kind.COUNTER, "{plan}", "Plans, by the strategy that chose and their first model."
    ),
    Name.BREAKER_STATE: Instrument(
        Kind.GAUGE, "", "Circuit breakers of endpoints that failed lately: 0 closed, 1 half open, "
        "2 open.",
    ),
    Name.ROLLOUT_SHARE: Instrument(Kind.GAUGE, "", "The new version's share; 0 to 1."),
    Name.ROLLOUT_STAGE: Instrument(Kind.GAUGE, "", "Stage of a rollout; -1 is that of shadows."),
    Name.ROLLOUT_STATE: Instrument(Kind.GAUGE, "", "1 for the state that a rollout is in."),
    Name.COST: Instrument(Kind.TOTAL, "{USD}", "Spent on a model, by price list."),
    Name.TENANT_COST: Instrument(Kind.TOTAL, "{USD}", "Spent by a tenant, by price list."),
    Name.BUDGET_ALERTS: Instrument(
        Kind.COUNTER, "{alert}", "Budgets nearly spent, spent, or with few requests left, by rule."
    ),
    Name.LIMIT_USED: Instrument(
        Kind.GAUGE, "", "Share of a limit or budget that its fullest subject has used, by rule."
    ),
    Name.SAFETY_FINDINGS: Instrument(
        Kind.COUNTER, "{finding}", "What was found in questions and answers, by what became of it."
    ),
    Name.QUALITY: Instrument(Kind.GAUGE, "", "Quality that a version is believed to have; 0 to 1."),
    Name.OUTSTANDING: Instrument(
        Kind.GAUGE, "{token}", "Tokens of plans whose outcome is not known yet."
    ),
    Name.STATE_DEGRADED: Instrument(
        Kind.GAUGE, "", "1 while the selector's state cannot be kept over a restart."
    ),
    Name.DESIRED_REPLICAS: Instrument(
        Kind.GAUGE, "{replica}", "Replicas that a pool should have by its load: what autoscalers "
        "follow.",
    ),
    Name.REPLICAS: Instrument(Kind.GAUGE, "{replica}", "Replicas of a pool that are heard of."),
    Name.POOL_LOAD: Instrument(
        Kind.GAUGE, "", "Mean load of a pool by resource, over its target: 1 is the target."
    ),
    Name.MODEL_DESIRED_REPLICAS: Instrument(
        Kind.GAUGE, "{replica}", "Replicas that a model should have by the use of its slots."
    ),
}  # fmt: skip

BOUNDED_LABELS: Final = frozenset({"tenant", "model", "version", "address"})
"""Labels whose values come from outside: past a bound they are told as `other`."""
