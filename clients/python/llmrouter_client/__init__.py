"""Python client of llmrouter: ask one endpoint, let it pick the model.

    async with AsyncClient("localhost:50051") as client:
        async with client.stream("What is the capital of France?", temperature=0) as stream:
            async for event in stream:
                ...

`Client` has the same methods for programs without an event loop.
"""

from llmrouter_client.batch import Batch, Question, Result
from llmrouter_client.client import AsyncClient, Stream
from llmrouter_client.conversation import Conversation, Turn
from llmrouter_client.embeddings import Embedding, Embeddings
from llmrouter_client.errors import FieldViolation, LlmrouterError
from llmrouter_client.events import (
    Adjustment,
    Answer,
    Attempt,
    Choice,
    ChoiceFinished,
    Delta,
    Event,
    Finished,
    Model,
    Started,
    Switched,
    Timings,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from llmrouter_client.ratings import Rated, Verdict
from llmrouter_client.requests import Ensemble, Message, Options, ResponseFormat
from llmrouter_client.sync import Client, SyncBatch, SyncStream
from llmrouter_client.sync_conversation import SyncConversation, SyncTurn
from llmrouter_client.tls import Tls

__all__ = [
    "Adjustment",
    "Answer",
    "AsyncClient",
    "Attempt",
    "Batch",
    "Choice",
    "ChoiceFinished",
    "Client",
    "Conversation",
    "Delta",
    "Embedding",
    "Embeddings",
    "Ensemble",
    "Event",
    "FieldViolation",
    "Finished",
    "LlmrouterError",
    "Message",
    "Model",
    "Options",
    "Question",
    "Rated",
    "ResponseFormat",
    "Result",
    "Started",
    "Stream",
    "Switched",
    "SyncBatch",
    "SyncConversation",
    "SyncStream",
    "SyncTurn",
    "Timings",
    "Tls",
    "TokenLogprob",
    "TopLogprob",
    "Turn",
    "Usage",
    "Verdict",
]
