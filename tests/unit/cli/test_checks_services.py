"""`doctor` looks at every address that the settings give, and knows a missing service."""

import contextlib

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tests.support.ports import free_ports

from llmrouter.cli.checks_services import check_services
from llmrouter.suite import SuiteSettings


@contextlib.asynccontextmanager
async def answering(service, port):
    """A service that is asked for no more than its health."""
    server, well = aio.server(), health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(well, server)
    name = f"llmrouter.v1.{service.capitalize()}Service"
    await well.set(name, health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


def told(looks):
    return [(one.service, one.finding.state.value) for one in looks]


def settings(ports, **selector):
    gateway, own, cache, inference = ports
    return SuiteSettings(
        gateway={"port": gateway},
        selector={"port": own, **selector},
        cache={"port": cache},
        inference={"port": inference},
    )


async def test_a_service_that_is_missing_where_others_run_has_failed():
    ports = free_ports(4)
    async with answering("gateway", ports[0]), answering("cache", ports[2]):
        looks = await check_services(settings(ports))
    # Nobody who runs dials inference: the selector would.
    assert told(looks) == [
        ("gateway", "ok"), ("selector", "failed"), ("cache", "ok"), ("inference", "note")
    ]  # fmt: skip
    missing = looks[1].finding
    assert missing.said.startswith(f"nothing answers at 127.0.0.1:{ports[1]}")
    assert "llmrouter selector" in missing.remedy
    assert "gateway.selector_address" in missing.remedy


async def test_a_service_alone_misses_nobody_who_would_dial_it_or_whom_it_does_not_dial():
    ports = free_ports(4)
    async with answering("cache", ports[2]):
        looks = await check_services(settings(ports))
    assert [state for _, state in told(looks)] == ["note", "note", "ok", "note"]


async def test_one_that_is_dialled_elsewhere_is_not_missed_where_its_own_runs_as_in_a_suite():
    *ports, far = free_ports(5)
    asked = settings(ports)
    asked = asked.model_copy(
        update={
            "gateway": asked.gateway.model_validate(
                {"port": ports[0], "cache_address": f"127.0.0.1:{far}"}
            )
        }
    )
    async with answering("gateway", ports[0]), answering("cache", ports[2]):
        looks = await check_services(asked)
    assert [state for name, state in told(looks) if name == "cache"] == ["ok", "note"]


async def test_a_name_that_can_be_none_is_told_as_nobody_there():
    *ports, _ = free_ports(5)
    async with answering("selector", ports[1]):
        looks = await check_services(settings(ports, inference_addresses=["selector..svc:50054"]))
    assert ("inference", "failed") in told(looks)


async def test_where_none_runs_nothing_is_wrong():
    looks = await check_services(settings(free_ports(4)))
    assert {one.finding.state.value for one in looks} == {"note"}


async def test_every_address_of_inference_services_is_looked_at():
    *ports, second = free_ports(5)
    addresses = [f"localhost:{ports[3]}", f"127.0.0.1:{second}"]
    async with answering("selector", ports[1]), answering("inference", ports[3]):
        looks = await check_services(settings(ports, inference_addresses=addresses))
    inference = [one for one in looks if one.service == "inference"]
    assert [(one.address, one.finding.state.value) for one in inference] == [
        (addresses[0], "ok"), (addresses[1], "failed")
    ]  # fmt: skip
    assert "selector.inference_addresses" in inference[1].finding.remedy


async def test_a_service_that_others_find_elsewhere_is_not_missed_here():
    *ports, far = free_ports(5)
    asked = settings(ports, inference_addresses=[f"127.0.0.1:{far}"])
    async with answering("inference", far):
        looks = await check_services(asked)
    states = [one.finding.state.value for one in looks if one.service == "inference"]
    assert states == ["note", "ok"]
