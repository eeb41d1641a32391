"""Load reports of the standard are read, and make what is believed of endpoints fresher."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.waiting import until
from tests.unit.selector.telling import Models

from llmrouter.selector.endpoints import EndpointWatcher
from llmrouter.selector.load_reports import LoadListener, ReportedLoad, loads_in
from llmrouter.v1 import model_pb2_grpc, orca_pb2, orca_pb2_grpc

NOW = {"running:m@v": 1.0, "waiting:m@v": 9.0}


class Reports(orca_pb2_grpc.OpenRcaServiceServicer):
    def __init__(self):
        self.metrics, self.asked, self.broken = NOW, [], False

    async def StreamCoreMetrics(self, request, context):  # noqa: N802 - the standard's name
        self.asked.append(request.report_interval.ToTimedelta().total_seconds())
        while True:
            if self.broken:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "down")
            yield orca_pb2.OrcaLoadReport(named_metrics=self.metrics)
            await asyncio.sleep(0.01)


@pytest.fixture
async def service():
    """Models that are told once a minute, and reports every moment."""
    models, reports, server = Models(), Reports(), grpc.aio.server()
    model_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
    orca_pb2_grpc.add_OpenRcaServiceServicer_to_server(reports, server)
    reports.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield reports
    await server.stop(None)


@pytest.fixture
async def channel(service):
    async with grpc.aio.insecure_channel(service.address) as opened:
        yield opened


@pytest.fixture
async def watcher(service, channel):
    watching = EndpointWatcher([service.address], lambda _: channel, interval=60)
    await watching.start()
    yield watching
    await watching.close()


@pytest.fixture
async def listening(service, channel):
    started = []

    def start(told, interval=0.05):
        started.append(LoadListener([service.address], lambda _: channel, told, interval))
        started[-1].start()

    yield start
    for one in started:
        await one.close()


def load(watcher):
    [model] = [one for one in watcher.served() if one.name == "m"]
    return model.running, model.waiting


async def test_a_report_moves_the_load_long_before_models_are_told_again(
    service, watcher, listening
):
    assert load(watcher) == (3, 2)
    listening(watcher.take_load)
    await until(lambda: load(watcher) == (1, 9))
    service.metrics = {"running:m@v": 4.0}
    await until(lambda: load(watcher) == (4, 0))
    assert service.asked == [0.05]


async def test_what_a_report_does_not_name_stays_as_it_was_told(service, watcher):
    watcher.take_load(service.address, {("other", "v"): ReportedLoad(7, 7)})
    watcher.take_load("nobody:1", {("m", "v"): ReportedLoad(7, 7)})
    assert load(watcher) == (3, 2)


async def test_reports_that_break_off_are_asked_for_again(service, watcher, listening, monkeypatch):
    monkeypatch.setattr("llmrouter.selector.load_reports._PAUSE_SECONDS", 0.01)
    service.broken = True
    listening(watcher.take_load)
    await until(lambda: len(service.asked) > 2)
    service.broken = False
    await until(lambda: load(watcher) == (1, 9))


async def test_an_interval_of_nothing_asks_for_no_reports(service, watcher, listening):
    listening(watcher.take_load, interval=0)
    await asyncio.sleep(0.05)
    assert (service.asked, load(watcher)) == ([], (3, 2))


async def test_a_call_that_cannot_be_begun_is_tried_again(service, channel, watcher, monkeypatch):
    monkeypatch.setattr("llmrouter.selector.load_reports._PAUSE_SECONDS", 0.01)
    tried = []

    def dial(where):
        tried.append(where)
        if len(tried) < 3:
            raise OSError("no more files may be open")
        return channel

    listener = LoadListener([service.address], dial, watcher.take_load, 0.05)
    listener.start()
    await until(lambda: load(watcher) == (1, 9))
    await listener.close()
    assert len(tried) == 3


async def test_where_no_reports_are_offered_nothing_is_asked_over_and_over():
    server = grpc.aio.server()
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    calls = []

    def dial(where):
        calls.append(where)
        return grpc.aio.insecure_channel(where)

    listener = LoadListener([address], dial, lambda *_: None, 0.01)
    listener.start()
    await until(lambda: calls)
    await asyncio.sleep(0.1)
    await listener.close()
    await listener.close()
    await server.stop(None)
    assert calls == [address]


def test_a_report_of_too_much_is_refused():
    report = orca_pb2.OrcaLoadReport(named_metrics={f"running:{n}@v": 1 for n in range(9000)})
    with pytest.raises(ValueError, match="9000 metrics"):
        loads_in(report)


_KEYS = st.builds(
    "{}{}{}".format, st.sampled_from(["running:", "waiting:", "slots:", ""]), st.text(max_size=5),
    st.sampled_from(["@v", "@", ""]),
)  # fmt: skip


@given(st.dictionaries(_KEYS, st.floats(), max_size=20))
def test_whatever_others_report_is_read_as_loads_or_not_at_all(metrics):
    for load in loads_in(orca_pb2.OrcaLoadReport(named_metrics=metrics)).values():
        assert 0 <= load.running < 1e9
        assert 0 <= load.waiting < 1e9


def test_what_is_no_number_of_requests_counts_as_none():
    wrong = {"running:a@v": float("nan"), "running:b@v": float("inf"), "running:c@v": -1.0}
    loads = loads_in(orca_pb2.OrcaLoadReport(named_metrics=wrong))
    assert set(loads.values()) == {(0, 0)}


def test_a_version_follows_the_last_at_sign():
    report = orca_pb2.OrcaLoadReport(named_metrics={"running:a@b@v": 2.0, "running:no": 3.0})
    assert loads_in(report) == {("a@b", "v"): (2, 0)}
