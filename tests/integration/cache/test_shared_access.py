"""How a cache service comes into its Redis or Valkey: passwords, TLS, clusters."""

import contextlib

import pytest
from tests.authority import Authority
from tests.integration.cache.sharing import SHARED, found, sharing
from tests.support.ports import free_ports
from tests.support.redis_server import needs_server, running
from tests.support.waiting import until
from tests.unit.cache.serving import Clock, store, who

from llmrouter.cache.settings import SharedSettings
from llmrouter.cache.shared_link import SharedLink
from llmrouter.common.errors import Reason, RouterError
from llmrouter.v1 import cache_pb2 as pb

pytestmark = needs_server


async def shared_by_two(address, **settings):
    """Return the level at which a second service finds what a first one stored."""
    clock = Clock()
    async with (
        sharing(address, clock, **settings) as one,
        sharing(address, clock, **settings) as other,
    ):
        await store(one)
        return await found(other)


async def trouble(address, **settings):
    """Return why a service cannot use its server."""
    async with sharing(address, **settings) as one:
        return one.made.tiers._far._link._trouble


async def test_a_password_is_given_by_value_or_file_and_a_wrong_one_is_told(tmp_path):
    secret, right, wrong = tmp_path / "password", {"password": "hush"}, {"password": "loud"}
    secret.write_text("hush\n")
    async with running(tmp_path, options={"requirepass": "hush"}, client=right) as server:
        assert await shared_by_two(server.address, **right) is SHARED
        assert await shared_by_two(server.address, password_file=secret) is SHARED
        assert "invalid username-password pair" in await trouble(server.address, **wrong)
        assert "authenticat" in await trouble(server.address)


async def test_a_user_of_its_own_may_need_no_more_than_its_names(tmp_path):
    async with running(tmp_path) as server:
        server.do("ACL", "SETUSER", "cache", "on", ">hush", "~{llmrouter}:*", "~llmrouter:*",
                        "+@read", "+@write", "+@scripting")  # fmt: skip
        known = {"user": "cache", "password": "hush"}
        assert await shared_by_two(server.address, **known) is SHARED


@pytest.fixture
def certificates(tmp_path):
    """Files by name: those of an authority, of the server, and of an authority nobody trusts."""
    authority = Authority(tmp_path)
    pair = authority.issue()
    other = Authority(tmp_path, "other")
    return {"ca": authority.file, "other": other.file, "cert": pair.certificate, "key": pair.key}


async def test_over_tls_both_sides_are_known(tmp_path, certificates):
    [port] = free_ports(1)
    options = {
        "port": 0, "tls-port": port, "tls-ca-cert-file": certificates["ca"],
        "tls-cert-file": certificates["cert"], "tls-key-file": certificates["key"],
    }  # fmt: skip
    client = {"ssl": True, "ssl_ca_certs": str(certificates["ca"]),
              "ssl_certfile": str(certificates["cert"]),
              "ssl_keyfile": str(certificates["key"])}  # fmt: skip
    ours = {"certificate_file": certificates["cert"], "key_file": certificates["key"]}
    async with running(tmp_path, options=options, port=port, client=client) as server:
        address = server.address
        known = {"tls": True, "ca_file": certificates["ca"], **ours}
        assert await shared_by_two(address, **known) is SHARED
        assert "certificate" in await trouble(
            address, **{**known, "ca_file": certificates["other"]}
        )
        assert await trouble(address, tls=True, ca_file=certificates["ca"])  # who are we?
        assert await trouble(address)  # no TLS at all


async def test_a_file_that_cannot_be_read_is_told_at_start(tmp_path):
    chosen = SharedSettings(address="localhost:1", tls=True, ca_file=tmp_path / "none.pem")
    with pytest.raises(RouterError, match=r"cache\.shared cannot be used.*none\.pem") as refused:
        SharedLink(chosen)
    assert refused.value.reason is Reason.STORE_FAILED


@contextlib.asynccontextmanager
async def cluster_of_three(folder):
    async with contextlib.AsyncExitStack() as stack:
        nodes = []
        for number in range(3):
            place = folder / str(number)
            place.mkdir()
            options = {"cluster-enabled": "yes", "cluster-port": free_ports(1)[0],
                       "cluster-node-timeout": 2000}  # fmt: skip
            nodes.append(await stack.enter_async_context(running(place, options=options)))
        for node, begin in zip(nodes, (0, 5461, 10923), strict=True):
            end = min(begin + 5461, 16383) if begin else 5460
            node.do("CLUSTER", "ADDSLOTSRANGE", begin, end)
        for node in nodes[1:]:
            bus = node.options["cluster-port"]
            nodes[0].do("CLUSTER", "MEET", "127.0.0.1", node.port, bus)

        async def agreed():
            told = [node.do("CLUSTER", "INFO") for node in nodes]
            return all(b"cluster_state:ok" in bytes(one) for one in told)

        await until(agreed)
        yield nodes


async def test_a_cluster_shares_answers_leases_and_invalidations(tmp_path):
    clock = Clock()
    async with (
        cluster_of_three(tmp_path) as nodes,
        sharing(nodes[1].address, clock, cluster=True) as one,
        sharing(nodes[2].address, clock, cluster=True) as other,
    ):
        keys = [number.to_bytes(32) for number in range(24)]
        for key in keys:
            await store(one, key=key)
        assert {await found(other, key=key) for key in keys} == {SHARED}
        assert all(node.do("DBSIZE") for node in nodes)  # every node has its part
        await one.Invalidate(pb.InvalidateRequest(context=who(), tenant=True), None)

        async def gone():
            return await found(other, key=keys[0]) is None

        await until(gone)


async def test_a_cluster_that_lost_a_node_is_away_and_found_again(tmp_path):
    async with cluster_of_three(tmp_path) as nodes, sharing(nodes[0].address, cluster=True) as one:
        await store(one)
        for node in nodes:
            node.stop()
        link = one.made.tiers._far._link

        async def away():
            return link.away

        async def back():
            # One node may answer before the others have agreed that the cluster is whole.
            try:
                await store(one)
            except RouterError:
                return False
            return not link.away

        await until(away)
        for node in nodes:
            node.start()
        await until(back)
