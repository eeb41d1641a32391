"""`doctor` looks at every Redis that the settings name, and says what to do."""

import asyncio

import pytest
import redis
from tests.support.redis_server import redis_server

from llmrouter.cli.checks_redis import check_redis
from llmrouter.suite import SuiteSettings

__all__ = ["redis_server"]


def settings(address, **more):
    one = {"address": address, "timeout_seconds": 1, **more}
    return SuiteSettings(
        gateway={"limits": {"redis": one}}, selector={"redis": one}, cache={"shared": one}
    )


def told(found):
    return [(one.state.value, one.said, one.remedy) for one in found]


async def test_a_server_that_answers_is_well_and_one_without_a_bound_is_told(redis_server):
    found = await check_redis(settings(redis_server.address))
    states = [one.state.value for one in found]
    assert states == ["ok", "ok", "warning", "ok"]
    assert "gateway.limits.redis) answers, version" in found[0].said
    assert "no bound on its memory" in found[2].said
    assert "maxmemory" in found[2].remedy


async def test_what_would_lose_counts_is_warned_of(redis_server):
    host, port = redis_server.address.split(":")
    with redis.Redis(host, int(port)) as client:
        client.config_set("appendonly", "no")
        client.config_set("maxmemory", "64mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
    found = told(await check_redis(settings(redis_server.address)))
    said = [one for one in found if one[0] == "warning"]
    assert len(said) == 4  # for the limits and for the selector; answers may go
    assert said[0][2] == "set appendonly yes there"
    assert "allkeys-lru" in said[1][1]


async def test_a_password_that_is_wrong_is_told_as_such(redis_server):
    host, port = redis_server.address.split(":")
    with redis.Redis(host, int(port)) as client:
        client.config_set("requirepass", "right")
    found = told(await check_redis(settings(redis_server.address)))
    assert [one[0] for one in found] == ["failed"] * 3
    assert "gateway.limits.redis.user" in found[0][2]


@pytest.mark.parametrize("silent", [False, True])
async def test_a_server_that_is_not_there_or_says_nothing_fails_within_its_time(silent):
    hung = asyncio.Event()

    async def hang(reader, writer):
        await hung.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    if not silent:
        server.close()
        await server.wait_closed()
    found = told(await check_redis(settings(address, timeout_seconds=0.2)))
    hung.set()
    server.close()
    assert [one[0] for one in found] == ["failed"] * 3
    assert f"{address} (selector.redis) does not answer" in found[1][1]
    assert "selector.redis.address" in found[1][2]


async def test_a_file_that_cannot_be_read_is_named(tmp_path):
    gone = str(tmp_path / "gone")
    found = told(await check_redis(settings("127.0.0.1:1", password_file=gone)))
    assert [one[0] for one in found] == ["failed"] * 3
    assert gone in found[0][1]


async def test_without_a_redis_in_the_settings_nothing_is_said():
    assert await check_redis(SuiteSettings()) == []
