"""What the gateway asks of the selector."""

from __future__ import annotations

import pytest

from llmrouter.common.generation import (
    FormatKind,
    GenerationRequest,
    Message,
    RequestContext,
    ResponseFormat,
    Role,
    SamplingOptions,
)
from llmrouter.gateway.messages import encode_select

FREE = SamplingOptions()
BOUND = SamplingOptions(response_format=ResponseFormat(FormatKind.REGEX, "a"))


@pytest.mark.parametrize(
    ("sampling", "needed"), [(FREE, ["chat"]), (BOUND, ["chat", "structured_output"])]
)
def test_a_response_format_needs_a_model_that_honours_it(
    sampling: SamplingOptions, needed: list[str]
) -> None:
    asked = GenerationRequest(messages=(Message(Role.USER, ("hi",)),), sampling=sampling)
    assert encode_select(asked, RequestContext("1")).capabilities == needed
