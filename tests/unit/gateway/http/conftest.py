"""The HTTP API on a free port of the loopback, over a chain that plays scripts."""

import contextlib

import pytest
from openai import AsyncOpenAI
from tests.unit.gateway.doubles import play
from tests.unit.gateway.identity.key_ring import KeyRing

from llmrouter.common.embedding import EmbeddingResult, Vector
from llmrouter.common.guard import Gate
from llmrouter.gateway.http.app import HttpApi
from llmrouter.gateway.http.door import HttpDoor
from llmrouter.gateway.http.live import add_live_page
from llmrouter.gateway.identity.authentication import Identity
from llmrouter.gateway.listing import ListedModel, Listing
from llmrouter.gateway.settings import GatewaySettings


class Chain:
    """The chain and the embedder: a script for every request, or one per prompt."""

    def __init__(self):
        self.script, self.scripts = (), {}
        self.calls, self.log = [], []

    def generate(self, request, context):
        self.calls.append((request, context))
        return play(self.scripts.get(request.prompt, self.script), self.log)

    async def embed(self, request, context):
        self.calls.append((request, context))
        vectors = tuple(Vector((0.5, -1.0, len(text)), 3) for text in request.texts)
        return EmbeddingResult("mini", "v3", vectors)


class Api:
    def __init__(self, chain, gate, keys, address, routes=()):
        self.chain, self.gate, self.keys, self.address = chain, gate, keys, address
        self.routes = routes
        self.client = AsyncOpenAI(
            base_url=f"http://{address}/v1", api_key="none", max_retries=0, timeout=10
        )


@contextlib.asynccontextmanager
async def serving(anonymous="loopback", trouble=str, page=None, **settings):
    chain, gate, keys = Chain(), Gate("gateway"), KeyRing()

    async def list_models(allowed):
        listed = ListedModel("first", "v1"), ListedModel("second", "v2", ("other",))
        shown = tuple(one for one in listed if not allowed or one.name in allowed)
        return Listing(shown, ("balanced",))

    configured = GatewaySettings(http_port=0, **settings)
    identity = Identity(keys, anonymous, keys)
    http = HttpApi(chain, chain, list_models, identity, configured, gate, trouble=trouble)
    if page is not None:
        add_live_page(http, page)
    door = HttpDoor(http.app, configured)
    address = await door.bind()
    await door.open()
    api = Api(chain, gate, keys, address, http.app.routes)
    try:
        yield api
    finally:
        await api.client.close()
        await door.close()


@pytest.fixture
async def api():
    async with serving() as running:
        yield running
