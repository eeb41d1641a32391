"""A selector with its stores, one of those that share a server."""

from tests.unit.selector.building import served

from llmrouter.common.redis_server import RedisSettings
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.redis_state import RedisState
from llmrouter.selector.settings import CatalogEntry, SelectorSettings
from llmrouter.selector.state_store import SqliteState
from llmrouter.selector.strategy_settings import LearnedSettings

HELD = (served("m", "v1"), served("m", "v2"), served("large"))
CATALOG = (
    CatalogEntry(name="m", quality=0.5, input_price=1, output_price=1),
    CatalogEntry(name="large", quality=0.6, input_price=50, output_price=50),
)
KEY = ("m", "v1", "host:1")


class Member:
    """One selector with its stores."""

    def __init__(self, server, folder, name, patience=1.0):
        settings = RedisSettings(address=server.address, timeout_seconds=patience)
        self.store = RedisState(settings, SqliteState(folder / f"{name}.sqlite"), beat=0.05)
        learned = LearnedSettings(exploration=0)
        self.selector = ModelSelector(
            SelectorSettings(catalog=CATALOG, learned=learned), lambda: HELD, store=self.store
        )

    async def start(self):
        documents = await self.store.load()
        self.selector.restore(documents)
        await self.store.follow(self.selector.take, documents)
        return self

    async def close(self):
        await self.selector.teacher.close()
        await self.store.close()

    @property
    def rollout(self):
        [found] = self.selector.rollouts.all(self.selector.clock())
        return found

    def breaker(self):
        return self.selector.breakers.state(KEY, self.selector.clock())
