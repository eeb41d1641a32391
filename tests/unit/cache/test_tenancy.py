"""Whatever happens in whatever order, nobody is served another's answer, an old or a dead one."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.cache.serving import Clock, answer, late, lookup, store, who

from llmrouter.cache.servicer import CacheServicer
from llmrouter.cache.settings import CacheSettings
from llmrouter.cache.tiers import open_tiers
from llmrouter.v1 import cache_pb2 as pb

TENANTS = st.sampled_from(["a", "ab", "b", "default"])
KEYS = st.integers(0, 3).map(lambda number: bytes([number]) * 32)
QUESTIONS = st.integers(0, 1).map(lambda number: bytes([number]) * 32)  # as some of the keys
TAGS = st.sampled_from(["s", "t"])
STEPS = st.one_of(
    st.tuples(st.just("store"), TENANTS, KEYS, st.lists(TAGS, max_size=2, unique=True), QUESTIONS),
    st.tuples(st.just("lookup"), TENANTS, KEYS),
    st.tuples(st.just("late"), TENANTS, QUESTIONS),
    st.tuples(st.just("tag"), TENANTS, TAGS),
    st.tuples(st.just("key"), TENANTS, KEYS),
    st.tuples(st.just("tenant"), TENANTS),
    st.tuples(st.just("wait"), st.integers(1, 60)),
    st.tuples(st.just("restart")),
)


class Story:
    """A service, and beside it what a plain dictionary would know."""

    def __init__(self, path, memory):
        self.clock = Clock()
        self.chosen = CacheSettings(
            disk_path=path, memory_max_bytes=memory, disk_max_bytes=64 << 20
        )
        self.known = {}
        self.kept = {}  # expired ones, too
        self.ways = {}
        self.stored = 0
        self.tiers = None

    async def restart(self):
        if self.tiers is not None:
            await self.tiers.close()
        self.tiers, *rest = await open_tiers(self.chosen, self.chosen.disk_path, self.clock)
        self.service = CacheServicer(self.chosen, self.tiers, *rest)

    async def store(self, tenant, key, tags, question):
        self.stored += 1
        text = f"{tenant}'s answer {self.stored}"
        await store(self.service, text, tenant, key, ttl=50, tags=tags, question=question)
        self.known[tenant, key] = self.kept[tenant, key] = (text, tags, self.clock.now + 50)
        self.ways[tenant, question] = (key, tags)

    async def lookup(self, tenant, key):
        found = await lookup(self.service, tenant, key)
        text, tags, until = self.known.get((tenant, key), ("", [], 0.0))
        assert found.HasField("found") == (until > self.clock.now)
        if found.HasField("found"):
            assert found.found.answer == answer(text, tags)

    async def late(self, tenant, question):
        found = await late(self.service, tenant, question=question)
        key, _ = self.ways.get((tenant, question), (b"", []))
        text, tags, _ = self.kept.get((tenant, key), ("", [], 0.0))
        assert found.HasField("found") == bool(text)
        if text:
            assert found.found.answer == answer(text, tags)

    async def tag(self, tenant, tag):
        dead = await self._invalidate(tenant, lambda key, tags: tag in tags, tag=tag)
        self.ways = {of: way for of, way in self.ways.items() if not dead(of, *way)}

    async def key(self, tenant, key):
        dead = await self._invalidate(tenant, lambda of, tags: of == key, key=key)
        self.ways = {of: way for of, way in self.ways.items() if not dead(of, *way)}

    async def tenant(self, tenant):
        dead = await self._invalidate(tenant, lambda key, tags: True, tenant=True)
        self.ways = {of: way for of, way in self.ways.items() if not dead(of, *way)}

    async def wait(self, seconds):
        self.clock.now += seconds

    async def _invalidate(self, tenant, dead, /, **target):
        request = pb.InvalidateRequest(context=who(tenant), **target)
        await self.service.Invalidate(request, None)

        def gone(of, key, tags):
            return of[0] == tenant and dead(key, tags)

        for kept in (self.known, self.kept):
            for of in [of for of, (_, tags, _) in kept.items() if gone(of, of[1], tags)]:
                del kept[of]
        return gone


@pytest.mark.parametrize("memory", [0, 1_500, 1 << 20])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, max_size=25))
async def test_any_sequence_of_operations_serves_what_a_plain_dictionary_would(memory, steps):
    path = Path(tempfile.mkdtemp())
    story = Story(path / "answers", memory)
    await story.restart()
    try:
        for name, *arguments in steps:
            await getattr(story, name)(*arguments)
        for tenant in ("a", "ab", "b", "default"):
            for number in range(4):
                await story.lookup(tenant, bytes([number]) * 32)
    finally:
        await story.tiers.close()
        shutil.rmtree(path)
