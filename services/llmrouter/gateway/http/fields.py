"""The bodies of requests, field by field.

Names, defaults and meanings are those of OpenAI's API reference (chat completions, completions,
embeddings); what it does not have (`top_k`, `routing`, `cache` …) goes by the names of the protos.
Types are checked here, bounds in `common/validation.py`. What is not supported is refused by name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from llmrouter.common.continuation import Switching
from llmrouter.common.ensemble import Election
from llmrouter.common.generation import CacheMode, Priority
from llmrouter.common.truncation import Truncation
from llmrouter.gateway.http.fields_tools import NamedTool, ToolCallFields, ToolFields

__all__ = [
    "UNSUPPORTED",
    "ChatBody",
    "CompletionBody",
    "EmbeddingBody",
    "FormatFields",
    "GenerationBody",
    "TurnFields",
]

UNSUPPORTED = frozenset(
    {
        "audio", "best_of", "echo", "function_call", "functions", "metadata", "modalities", "name",
        "prediction", "prompt_cache_retention", "reasoning_effort",
        "safety_identifier", "store", "suffix", "verbosity",
        "web_search_options",
    }
)  # fmt: skip
"""Fields that OpenAI's API knows and this one cannot honour."""
_MEANS_NOTHING: dict[str, tuple[object, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "functions": ([],),
    "metadata": ({},),
    "modalities": (["text"],),
    "store": (False,),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
}
"""Values of such fields that ask for what happens anyway; null always does."""


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _whole(value: object) -> object:
    """Take 1.0 for 1, as JSON does."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _parts(value: object) -> object:
    """Take text for its only part, and null, which turns of other models may have, for none."""
    if isinstance(value, str | None):
        return [{"type": "text", "text": value or ""}]
    if not isinstance(value, list):
        raise ValueError("must be text, or a list of its parts")  # noqa: TRY004 - pydantic's way
    return value


def _paced(value: object) -> object:
    if value == "original" or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise ValueError("must be original, or how many tokens a second")


_Listed = Annotated[list[str], BeforeValidator(_listed, str | list[str])]
_Whole = Annotated[int, BeforeValidator(_whole, int)]


class _Fields(BaseModel):
    """An object of the body; what it does not know is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class TextPart(_Fields):
    """One part of a turn."""

    type: Literal["text"]
    text: str


class TurnFields(_Fields):
    """One turn of a chat; `developer` is another word for `system`."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[
        list[TextPart],
        BeforeValidator(_parts, str | list[TextPart] | None),
        Field(max_length=64),
    ] = []
    refusal: None = None
    """What our own answers, which are sent back as turns, have here."""
    tool_calls: Annotated[list[ToolCallFields], Field(max_length=128)] | None = None
    tool_call_id: str | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None


class JsonSchemaFields(_Fields):
    """The schema of an answer, which always fits it: `strict` and the names change nothing."""

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class FormatFields(_Fields):
    """What the answer has to match; `regex` and `grammar` are ours."""

    type: Literal["text", "json_object", "json_schema", "regex", "grammar"]
    json_schema: JsonSchemaFields | None = None
    regex: str | None = None
    grammar: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> FormatFields:
        for name in ("json_schema", "regex", "grammar"):
            given = getattr(self, name) is not None
            if given != (self.type == name):
                wrong = "must not be given" if given else "must be given"
                raise ValueError(f"{name} {wrong} when type is {self.type}")
        return self


class StreamFields(_Fields):
    """What a stream tells beside the answer."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class EnsembleFields(_Fields):
    """Several models to be asked at once, as `Ensemble` in the protos."""

    models: _Whole
    election: Annotated[Election, Field(strict=False)] = Election.VOTE
    judge: str = ""


class RoutingFields(_Fields):
    """What a caller asks of the selector, as `RoutingWishes` in the protos; seconds for times."""

    strategy: str = ""
    min_quality: float = 0.0
    max_cost: float = 0.0
    tags: list[str] = Field(default=[], max_length=16)
    max_latency: float = 0.0
    max_time_to_first_token: float = 0.0
    session: str = ""
    no_exploration: bool = False
    min_confidence: float = 0.0
    switching: Annotated[Switching, Field(strict=False)] = Switching.ANY
    truncation: Annotated[Truncation, Field(strict=False)] = Truncation.OFF
    ensemble: EnsembleFields | None = None


class CacheFields(_Fields):
    """What a caller asks of the answer cache, as `CacheWishes` in the protos."""

    mode: Annotated[CacheMode, Field(strict=False)] = CacheMode.READ_WRITE
    ttl_seconds: float = Field(default=0.0, ge=0, le=31_536_000, allow_inf_nan=False)
    tags: list[str] = Field(default=[], max_length=16)
    drawn: bool = False
    stale: bool = False
    similar: bool = False
    pace: Annotated[Literal["original"] | float, BeforeValidator(_paced)] | None = None
    """Tokens a second, or as fast as it was generated."""


class GenerationBody(_Fields):
    """What chats and completions have in common."""

    model: str
    stream: bool = False
    stream_options: StreamFields | None = None
    max_tokens: _Whole | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    n: _Whole = 1
    stop: Annotated[_Listed, Field(max_length=16)] = []
    seed: Annotated[_Whole, Field(ge=-(1 << 63), lt=1 << 64)] | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Annotated[
        dict[Annotated[int, Field(strict=False, ge=0, lt=1 << 31)], float], Field(max_length=1024)
    ] = {}
    user: str = ""
    response_format: FormatFields | None = None
    top_k: _Whole = 0
    min_p: float = 0.0
    min_tokens: _Whole = 0
    repetition_penalty: float = 1.0
    priority: Annotated[Priority, Field(strict=False)] | None = None
    routing: RoutingFields = RoutingFields()
    cache: CacheFields = CacheFields()

    @model_validator(mode="before")
    @classmethod
    def _without_what_means_nothing(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        return {
            name: value
            for name, value in body.items()
            if value is not None
            and (name in cls.model_fields or value not in _MEANS_NOTHING.get(name, ()))
        }

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Tell in the schema, too, what is left out before fields are read."""
        schema = handler.resolve_ref_schema(handler(core))
        fields, null = schema["properties"], {"type": "null"}
        for name in fields.keys() - set(schema["required"]):
            fields[name] = {"anyOf": [fields[name], null]}
        for name, values in _MEANS_NOTHING.items():
            fields.setdefault(name, {"enum": [*values, None]})
        return {**schema, "additionalProperties": null}


class ChatBody(GenerationBody):
    """`POST /v1/chat/completions`."""

    messages: list[TurnFields] = Field(min_length=1, max_length=1000)
    max_completion_tokens: _Whole | None = None
    logprobs: bool = False
    top_logprobs: _Whole = 0
    prompt_cache_key: str = ""
    tools: Annotated[list[ToolFields], Field(max_length=128)] = []
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] = "auto"


class CompletionBody(GenerationBody):
    """`POST /v1/completions`: several prompts are answered side by side."""

    prompt: _Listed = Field(min_length=1, max_length=64)
    logprobs: Annotated[_Whole, Field(ge=0, le=20)] | None = None


class EmbeddingBody(_Fields):
    """`POST /v1/embeddings`; `truncate` is ours: cut what is too long rather than refuse it."""

    model: str
    input: Annotated[_Listed, Field(min_length=1, max_length=256)]
    encoding_format: Literal["float", "base64"] = "float"
    truncate: bool = False
