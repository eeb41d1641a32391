"""A selector on the wire, and the messages that the tests send it."""

from __future__ import annotations

from tests.unit.selector.building import selector_of, served

from llmrouter.selector.servicer import SelectorServicer
from llmrouter.v1 import generation_pb2 as generation
from llmrouter.v1 import selector_pb2 as pb

INT8, INT4, FP32 = (f"smollm2-135m-instruct-{kind}" for kind in ("int8", "int4", "fp32"))


HELD = (served(INT8), served(INT4, quality_ratio=1 / 1.12), served(FP32))


def service(held=HELD, **settings):
    return SelectorServicer(selector_of(held, **settings))


def wish(**routing):
    return pb.SelectRequest(
        context=generation.RequestContext(request_id="r", tenant="default"),
        routing=generation.RoutingWishes(**routing),
        prompt_bytes=120,
    )


def outcome_of(**outcome):
    return pb.Outcome(**{"model": INT8, "version": "v1", "address": "host:1", **outcome})


async def report(one, **outcome):
    """Ask for a plan of the model and report how it went; return how many outcomes counted."""
    told = outcome_of(**outcome)
    plan = await plan_of(one, model=told.model)
    request = pb.ReportOutcomeRequest(plan_id=plan.id, outcomes=[told])
    return (await one.ReportOutcome(request, None)).counted


async def plan_of(one, **routing):
    return (await one.Select(wish(**routing), None)).plan


async def model_of(one, name=INT8):
    models = (await one.ListCatalog(pb.ListCatalogRequest(), None)).models
    return next(model for model in models if model.name == name)
