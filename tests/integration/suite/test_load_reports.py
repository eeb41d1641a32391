"""Inference reports its load by the standard, to any client of it."""

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from llmrouter import suite

_DOUBLE, _MESSAGE = 1, 11


def standard_report():
    """Make xds.data.orca.v3.OrcaLoadReport from the standard's own numbers, not from our proto."""
    file = descriptor_pb2.FileDescriptorProto(
        name="xds/data/orca/v3/orca_load_report.proto", package="xds.data.orca.v3", syntax="proto3"
    )
    message = file.message_type.add(name="OrcaLoadReport")
    for number, name in ((1, "cpu_utilization"), (2, "mem_utilization"), (6, "rps_fractional"),
                         (7, "eps"), (9, "application_utilization")):  # fmt: skip
        message.field.add(name=name, number=number, type=_DOUBLE, label=1)
    for number, name in ((5, "utilization"), (8, "named_metrics")):
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=9, label=1)
        entry.field.add(name="value", number=2, type=_DOUBLE, label=1)
        kind = f".xds.data.orca.v3.OrcaLoadReport.{entry.name}"
        message.field.add(name=name, number=number, type=_MESSAGE, label=3, type_name=kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("xds.data.orca.v3.OrcaLoadReport")
    )


async def test_a_client_of_the_standard_is_told_the_load(config):
    async with (
        suite.running(config[0]) as addresses,
        grpc.aio.insecure_channel(addresses.inference) as channel,
    ):
        stream = channel.unary_stream(
            "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics",
            response_deserializer=standard_report().FromString,
        )
        call = stream(b"", timeout=20)
        reports = [await call.read() for _ in range(2)]
        call.cancel()
    for report in reports:
        [slots] = [name for name in report.named_metrics if name.startswith("slots:tiny@")]
        assert report.named_metrics[slots] == 4
        assert report.named_metrics["num_requests_running"] == 0
        assert list(report.utilization) == [slots.removeprefix("slots:")]
        assert 0 <= report.cpu_utilization <= 1
        assert 0 < report.mem_utilization <= 1


async def test_a_stream_of_reports_holds_up_no_shutdown(config):
    async with suite.running(config[0]) as addresses:
        channel = grpc.aio.insecure_channel(addresses.inference)
        stream = channel.unary_stream("/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics")
        call = stream(b"", timeout=20)
        await call.read()
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await read_out(call)
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    await channel.close()


async def read_out(call):
    while await call.read() is not grpc.aio.EOF:
        pass
