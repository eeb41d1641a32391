"""Names that stand for what comes and goes: a real resolver asks a real name server."""

import asyncio
import json
import sys

import grpc
import pytest
from tests.integration.cluster.calling import TOKENS
from tests.support.cluster import DOMAIN, Cluster, Shape
from tests.support.paced.llmrouter_paced import Pace, text_of
from tests.support.waiting import until

from llmrouter.v1 import cache_pb2
from llmrouter.v1.cache_pb2_grpc import CacheServiceStub

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("may_have_clusters"),
]

PATIENCE = 60
"""Seconds; a guard, many times what is usual."""


class Calling:
    """Somebody on a host of its own who asks the gateways behind their name all the time."""

    def __init__(self, cluster, folder):
        host = cluster.network.host("caller")
        host.asks(cluster.names.address, DOMAIN)
        self._log = folder / "caller.log"
        program = [sys.executable, "-m", "tests.integration.cluster.calling"]
        self._process = host.start([*program, cluster.named("gateway")], self._log)

    def told(self):
        """Return what was told so far, in order."""
        whole = self._log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    async def more(self, count):
        """Return the next so many answers or failures."""
        before = len(self.told())
        async with asyncio.timeout(PATIENCE):
            while len(told := self.told()) < before + count:
                assert self._process.poll() is None, self._log.read_text()[-2000:]
                await asyncio.sleep(0.05)
        return told[before:]

    def failures(self):
        """Return what was not answered as it should be."""
        return [one for one in self.told() if one.get("text") != text_of(TOKENS)]


async def followers_of(cache):
    """Return how many gateways a cache service has."""
    async with grpc.aio.insecure_channel(cache.address) as channel:
        asked = cache_pb2.GetStatisticsRequest()
        return (await CacheServiceStub(channel).GetStatistics(asked, timeout=10)).gateways


@pytest.fixture
def named(tmp_path):
    shape = Shape(gateways=2, selectors=2, caches=2, names=True, pace=Pace(step=0.002))
    return Cluster(shape, tmp_path)


@pytest.mark.parametrize("gently", [True, False], ids=["by order", "by faults"])
async def test_callers_notice_nothing_while_all_behind_their_names_is_replaced(
    named, tmp_path, gently
):
    async with named as cluster:
        calls = Calling(cluster, tmp_path)
        await calls.more(20)
        began = {name: one.address for name, one in cluster.members.items()}
        for name in began:
            await cluster.replace(name, gently=gently)
            await cluster.knows_all_engines()
            await calls.more(40)
            assert not calls.failures(), name
        assert all(one.address != began[name] for name, one in cluster.members.items())
        # The last of each that came is found, too: it does the work alone.
        for role in ("gateway", "selector", "cache", "inference"):
            cluster.members[f"{role}-0"].kill()
            await calls.more(40)
            assert not calls.failures(), role
        await until(lambda: followers_of(cluster.members["cache-1"]))
        answered = {one["engine"] for one in (await calls.more(40))[-20:]}
        assert answered == {f"inference-1.{cluster.named('inference')}"}
