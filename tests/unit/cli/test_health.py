"""`health`: what a container's health check runs."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tests.unit.cli.driving import AWAY, lines, run

from llmrouter.common.hosting import Hosted, Service


@pytest.fixture
def served():
    """A service in a thread of its own: its address, and what makes it ready."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def call(making):
        return asyncio.run_coroutine_threadsafe(making, loop).result(20)

    async def host():
        return Hosted(Service("cache", "x.Y", lambda server: None, "127.0.0.1", 0))

    hosted = call(host())
    try:
        yield call(hosted.bind()), lambda: call(hosted.start())
    finally:
        call(hosted.stop(grace=0))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_service_that_is_not_ready_exits_1_until_it_is(served):
    address, make_ready = served
    result = run("health", "cache", "--address", address)
    assert (result.exit_code, result.stderr) == (
        1, f"error: the cache at {address} is not ready\n"
    )  # fmt: skip
    make_ready()
    assert run("health", "cache", "--address", address).exit_code == 0


def test_a_service_that_is_not_ready_is_live(served):
    address, _ = served
    result = run("health", "cache", "--live", "--address", address)
    assert (result.exit_code, result.stdout) == (0, f"live cache {address}\n")


def test_health_for_machines_is_one_object(served):
    address, make_ready = served
    told = run("health", "cache", "--address", address, "--json")
    assert told.exit_code == 1
    make_ready()
    [whole] = lines(run("health", "cache", "--address", address, "--json"))
    assert lines(told) == [{"service": "cache", "address": address, "status": "NOT_SERVING"}]
    assert whole == {"service": "cache", "address": address, "status": "SERVING"}


@pytest.mark.parametrize("service", ["gateway", "selector", "cache", "inference"])
def test_nobody_at_the_address_is_told_by_the_name_of_the_service(service):
    result = run("health", service, "--address", AWAY)
    assert result.exit_code == 1
    named = service.replace("inference", "inference service")
    assert f"no {named} answers at {AWAY}, which --address says" in result.stderr
