"""Whatever happens in whatever order, nobody is served another's answer, an old or a dead one."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.cache.serving import Clock, answer, lookup, store, who

from llmrouter.cache.servicer import CacheServicer
from llmrouter.cache.settings import CacheSettings
from llmrouter.cache.tiers import open_tiers
from llmrouter.v1 import cache_pb2 as pb

TENANTS = st.sampled_from(["a", "ab", "b", "default"])
KEYS = st.integers(0, 3).map(lambda number: bytes([number]) * 32)
TAGS = st.sampled_from(["s", "t"])
STEPS = st.one_of(
    st.tuples(st.just("store"), TENANTS, KEYS, st.lists(TAGS, max_size=2, unique=True)),
    st.tuples(st.just("lookup"), TENANTS, KEYS),
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
        self.stored = 0
        self.tiers = None

    async def restart(self):
        if self.tiers is not None:
            await self.tiers.close()
        self.tiers, marks = await open_tiers(self.chosen, self.chosen.disk_path, self.clock)
        self.service = CacheServicer(self.chosen, self.tiers, marks)

    async def store(self, tenant, key, tags):
        self.stored += 1
        text = f"{tenant}'s answer {self.stored}"
        await store(self.service, text, tenant, key, ttl=50, tags=tags)
        self.known[tenant, key] = (text, tags, self.clock.now + 50)

    async def lookup(self, tenant, key):
        found = await lookup(self.service, tenant, key)
        text, tags, until = self.known.get((tenant, key), ("", [], 0.0))
        assert found.HasField("found") == (until > self.clock.now)
        if found.HasField("found"):
            assert found.found.answer == answer(text, tags)

    async def tag(self, tenant, tag):
        await self._invalidate(tenant, lambda of, kept: tag in kept[1], tag=tag)

    async def key(self, tenant, key):
        await self._invalidate(tenant, lambda of, kept: of[1] == key, key=key)

    async def tenant(self, tenant):
        request = pb.InvalidateRequest(context=who(tenant), tenant=True)
        await self.service.Invalidate(request, None)
        self.known = {of: kept for of, kept in self.known.items() if of[0] != tenant}

    async def wait(self, seconds):
        self.clock.now += seconds

    async def _invalidate(self, tenant, dead, **target):
        request = pb.InvalidateRequest(context=who(tenant), **target)
        await self.service.Invalidate(request, None)
        self.known = {
            of: kept for of, kept in self.known.items() if of[0] != tenant or not dead(of, kept)
        }


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
