"""The table of errors is complete, equals the protos and survives the wire."""

import re
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
from google.rpc import status_pb2
from grpc import aio

from llmrouter.common.errors import (
    RULES,
    FieldViolation,
    QuotaViolation,
    Reason,
    RouterError,
    context_too_long,
)
from llmrouter.common.guard import DETAILS_KEY
from llmrouter.common.wire_errors import from_rpc_error, from_status, to_status
from llmrouter.v1 import errors_pb2

PROTO = Path(__file__).parents[3] / "protos" / "llmrouter" / "v1" / "errors.proto"


def rpc_error(code, details="gone", trailing=()):
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(*trailing), details=details)


def test_every_reason_of_the_protos_is_known_and_no_other():
    names = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert names - {"UNSPECIFIED"} == {reason.value for reason in Reason}


@pytest.mark.parametrize(("at_least", "has"), [(False, "has"), (True, "has at least")])
def test_too_long_a_prompt_is_told_with_the_model_and_what_helps(at_least, has):
    told = context_too_long(20_031, 8192, "tiny", at_least=at_least)
    assert told.message == (
        f"the prompt {has} 20031 tokens, too many for the context of 8192 of tiny; "
        "shorten it, or ask a model with a longer context"
    )
    assert told.metadata == {"prompt_tokens": "20031", "context": "8192", "model": "tiny"}


def test_every_reason_has_a_rule_with_the_status_that_its_proto_comment_states():
    found = re.findall(r"// ([A-Z_]+): (?:.|\n)*?ERROR_REASON_([A-Z_]+) =", PROTO.read_text())
    stated = {reason: status for status, reason in found}
    assert {reason.value: RULES[reason].status for reason in Reason} == stated


@pytest.mark.parametrize("reason", Reason)
def test_an_error_comes_back_from_the_wire_as_it_went(reason):
    error = RouterError(
        reason,
        "größer als erlaubt",
        metadata={"context": "2048"},
        retry_after=1.5,
        violations=(FieldViolation("prompt", "is empty"),),
        quotas=(QuotaViolation("tenant acme", "10 requests per second"),),
    )
    back = from_status(to_status(error))
    assert back is not None
    assert (back.reason, back.message, back.metadata) == (reason, error.message, error.metadata)
    assert (back.retry_after, back.violations) == (1.5, error.violations)
    assert back.quotas == error.quotas
    assert back.status in grpc.StatusCode.__members__


def test_a_status_of_someone_else_is_not_taken_for_ours():
    assert from_status(status_pb2.Status(code=5, message="no")) is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, Reason.UPSTREAM_UNAVAILABLE),
        (grpc.StatusCode.CANCELLED, Reason.UPSTREAM_UNAVAILABLE),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED),
        (grpc.StatusCode.UNIMPLEMENTED, Reason.INTERNAL),
        (grpc.StatusCode.UNKNOWN, Reason.INTERNAL),
    ],
)
def test_a_bare_transport_error_is_told_as_the_nearest_reason(code, reason):
    assert from_rpc_error(rpc_error(code), "selector").reason is reason


def test_a_request_that_is_larger_than_a_service_takes_is_the_callers_fault():
    told = "SERVER: Received message larger than max (9 vs. 8)"
    large = from_rpc_error(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, told), "inference")
    assert large.reason is Reason.INVALID_ARGUMENT
    assert "larger than inference takes" in large.message
    full = from_rpc_error(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room"), "inference")
    assert full.reason is Reason.QUEUE_FULL


@pytest.mark.parametrize(
    "details", [b"\xff\xff no status", status_pb2.Status(code=5, message="x").SerializeToString()]
)
def test_details_that_make_no_sense_do_not_hide_the_error(details):
    error = rpc_error(grpc.StatusCode.UNAVAILABLE, trailing=((DETAILS_KEY, details),))
    assert from_rpc_error(error, "cache").reason is Reason.UPSTREAM_UNAVAILABLE


@pytest.mark.parametrize("one", ["x", "%", "ä", "\n", "😀"])
def test_an_error_that_quotes_a_long_name_still_fits_into_a_header(one):
    long = one * 50_000
    violations = (FieldViolation(long, long),) * 4
    error = RouterError(Reason.NO_CANDIDATE, long, metadata={"why": long}, violations=violations)
    status = to_status(error)
    assert len(status.SerializeToString()) < 4096
    assert len(quote(status.message)) <= 1024
    assert status.message.startswith(one * 3)
    assert status.message.endswith("\u2026")
    back = from_status(status)
    assert back is not None
    assert back.reason is Reason.NO_CANDIDATE


@pytest.mark.parametrize("fits", ["", "ä" * 170, "x" * 1024])
def test_a_message_that_fits_is_told_whole(fits):
    assert to_status(RouterError(Reason.INTERNAL, fits)).message == fits
