"""What is said in a conversation, from its protos, and what is told in it, to them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from llmrouter.common.errors import RouterError, invalid
from llmrouter.common.wire_errors import to_status
from llmrouter.common.wire_event import encode_event
from llmrouter.common.wire_request import decode_request
from llmrouter.gateway.conversing import Accepted, Change, Command, GiveUp, Grant, Say
from llmrouter.gateway.reply import Cancelled, Outcome
from llmrouter.v1 import gateway_pb2 as pb
from llmrouter.v1 import generation_pb2

__all__ = ["decode_commands", "encode_outcome"]

_MAX_CREDIT = 16 << 20


async def decode_commands(requests: AsyncIterator[pb.ConverseRequest]) -> AsyncIterator[Command]:
    """Give what the caller says.

    Raises:
        RouterError: INVALID_ARGUMENT naming the field that means nothing.
    """
    async for request in requests:
        yield _decode(request)


def _decode(request: pb.ConverseRequest) -> Command:
    match request.WhichOneof("kind"):
        case "options":
            told = request.options
            return Change(
                decode_request(
                    generation_pb2.GenerateRequest(
                        sampling=told.sampling,
                        routing=told.routing,
                        cache=told.cache,
                        priority=told.priority,
                    )
                )
            )
        case "turn":
            chat = generation_pb2.Chat(messages=request.turn.messages)
            return Say(decode_request(generation_pb2.GenerateRequest(chat=chat)).messages)
        case "cancel":
            return GiveUp(request.cancel.turn)
        case "credit":
            count = request.credit.bytes
            if not 1 <= count <= _MAX_CREDIT:
                raise invalid("credit.bytes", f"is {count}; it must be 1 to {_MAX_CREDIT}")
            return Grant(count)
    raise invalid("kind", "is not set; say options, a turn, a cancel or credit")


def encode_outcome(turn: int, outcome: Accepted | Outcome) -> pb.ConverseResponse:
    """Return what is told of a turn."""
    match outcome:
        case Accepted(forgotten):
            accepted = pb.TurnAccepted(forgotten_messages=forgotten)
            return pb.ConverseResponse(turn=turn, accepted=accepted)
        case Cancelled(tokens):
            return pb.ConverseResponse(turn=turn, cancelled=pb.TurnCancelled(tokens=tokens))
        case RouterError():
            return pb.ConverseResponse(turn=turn, failed=to_status(outcome))
        case _:
            return pb.ConverseResponse(turn=turn, event=encode_event(outcome))
