"""An inference service that tells what it holds, in whatever manner a test wants."""

from __future__ import annotations

import asyncio
import contextlib

import grpc

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.guard import DETAILS_KEY
from llmrouter.common.wire_errors import to_status
from llmrouter.v1 import inference_pb2 as pb
from llmrouter.v1 import model_pb2, model_pb2_grpc


class Models(model_pb2_grpc.ModelServiceServicer):
    """Tells its models every interval and after `tell`; may be down, hang, drain, or only list."""

    def __init__(self):
        self.models = [
            pb.LoadedModel(
                name="m",
                version="v",
                state=pb.MODEL_STATE_READY,
                context=512,
                capabilities=["chat", "completion"],
                quality=pb.ModelQuality(perplexity=25, reference_perplexity=20),
                statistics=pb.EngineStatistics(running=3, waiting=2, slots=4),
                tokenizer="tok",
                longest_token_bytes=81,
            ),
            pb.LoadedModel(name="broken", state=pb.MODEL_STATE_FAILED, error="bad magic"),
        ]
        self.does = "watch"
        self.asked = 0
        self.changed = asyncio.Event()

    def tell(self):
        self.changed.set()

    async def Watch(self, request, context):  # noqa: N802 - the proto's name
        self.asked += 1
        while True:
            match self.does:
                case "hang":
                    await asyncio.Event().wait()
                case "down":
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "down")
                case "list":
                    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "what?")
                case "drain":
                    status = to_status(RouterError(Reason.DRAINING, "going"))
                    details = ((DETAILS_KEY, status.SerializeToString()),)
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "going", details)
            memory = model_pb2.MemoryStatus(
                used_bytes=750, limit_bytes=1000, model_bytes=200, budget_bytes=600
            )
            self.changed.clear()  # before the answer: `tell` may come while it is taken in
            yield model_pb2.ModelServiceWatchResponse(models=self.models, memory=memory, cpu=0.5)
            waiting = request.interval.ToTimedelta().total_seconds()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), waiting)

    async def List(self, request, context):  # noqa: N802 - the proto's name
        self.asked += 1
        return model_pb2.ModelServiceListResponse(models=self.models)
