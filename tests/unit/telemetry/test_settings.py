"""Telemetry as the settings ask for it, and what is said of wrong ones."""

import socket

import pytest

from llmrouter.common.settings import ConfigError, parse
from llmrouter.common.telemetry.exporting import metric_exporter, span_exporter
from llmrouter.common.telemetry.settings import TelemetrySettings
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry


def settings(**given):
    return parse(TelemetrySettings, given, "telemetry")


def test_nothing_leaves_unless_it_is_asked_to():
    telemetry = Telemetry.open(settings(), "gateway")
    assert (telemetry.tracer, telemetry.meter, telemetry.page) == (None, None, None)
    channel = object()
    assert telemetry.channel(channel) is channel
    assert SILENT.calls("gateway") is None


def test_an_endpoint_without_a_scheme_is_refused():
    with pytest.raises(ConfigError, match=r"telemetry.otlp_endpoint.*http://"):
        settings(otlp_endpoint="collector:4317")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_headers_that_cannot_be_read_are_refused_without_quoting_them(protocol, tmp_path):
    file = tmp_path / "headers"
    file.write_text("x-key: good\nplanted-secret\n")
    given = settings(
        otlp_endpoint="http://127.0.0.1:4317", otlp_protocol=protocol, otlp_headers_file=file
    )
    for make in (span_exporter, metric_exporter):
        with pytest.raises(ConfigError, match="line 2") as refused:
            make(given)
        assert "planted" not in str(refused.value)


@pytest.mark.parametrize("setting", ["otlp_headers_file", "otlp_certificate_file"])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_file_that_is_not_there_is_named(setting, protocol, tmp_path):
    given = settings(
        otlp_endpoint="https://127.0.0.1:4317",
        otlp_protocol=protocol,
        **{setting: tmp_path / "missing"},
    )
    with pytest.raises(ConfigError, match=rf"telemetry.{setting}.*missing"):
        span_exporter(given)


def test_a_page_whose_port_is_taken_says_which_setting_names_another():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=r"telemetry\.prometheus\.port"):
            Telemetry.open(settings(prometheus={"enabled": True, "port": port}), "gateway")


async def test_the_event_loops_lag_is_measured_and_all_ends_in_time():
    telemetry = Telemetry.open(settings(prometheus={"enabled": True, "port": 0}), "gateway")
    telemetry.start()
    assert telemetry.page is not None
    await telemetry.close()
