"""Whom a command asks: its flag, then the variable, then where the settings put the service."""

from __future__ import annotations

import pytest
import typer
from tests.unit.cli.driving import run

from llmrouter.cli.places import cache_at, gateway_at, gateways_at, selector_at, tls_from
from llmrouter.common.settings import ConfigError
from llmrouter_client import Tls


@pytest.fixture(autouse=True)
def _bare(monkeypatch):
    for name in ("LLMROUTER_ADDRESS", "LLMROUTER_CONFIG", "LLMROUTER_ENV"):
        monkeypatch.delenv(name, raising=False)


def seen(place):
    return place.address, place.origin


def test_by_default_the_services_are_where_they_listen_by_default():
    assert seen(gateway_at(None)) == ("127.0.0.1:50051", "is the default")
    assert seen(selector_at(None, "--selector")) == ("127.0.0.1:50052", "is the default")
    assert seen(cache_at(None, "--cache")) == ("127.0.0.1:50053", "is the default")


def test_the_settings_move_what_is_asked(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMROUTER_GATEWAY__PORT", "6000")
    monkeypatch.setenv("LLMROUTER_CACHE__HOST", "::")
    expected = ("127.0.0.1:6000", "gateway.port (from LLMROUTER_GATEWAY__PORT) says")
    assert seen(gateway_at(None)) == expected
    assert cache_at(None, "--cache").address == "[::1]:50053"
    file = tmp_path / "llmrouter.yaml"
    file.write_text("selector: {host: 0.0.0.0, port: 7000}\n")
    monkeypatch.setenv("LLMROUTER_CONFIG", str(file))
    expected = ("127.0.0.1:7000", f"selector.port (in {file}) says")
    assert seen(selector_at(None, "--selector")) == expected


def test_the_variable_stands_above_the_settings_and_the_flag_above_it(monkeypatch):
    monkeypatch.setenv("LLMROUTER_GATEWAY__PORT", "6000")
    monkeypatch.setenv("LLMROUTER_ADDRESS", "there:1")
    assert seen(gateway_at(None)) == ("there:1", "LLMROUTER_ADDRESS says")
    assert seen(gateway_at("here:2")) == ("here:2", "--address says")


def test_what_is_no_address_is_refused_naming_where_it_stands(monkeypatch):
    with pytest.raises(typer.BadParameter, match=r"must be host:port.*not 'nonsense'"):
        gateway_at("nonsense")
    monkeypatch.setenv("LLMROUTER_ADDRESS", "nonsense")
    with pytest.raises(ConfigError, match=r"^LLMROUTER_ADDRESS: must be host:port.*'nonsense'"):
        gateway_at(None)


def test_a_question_may_go_to_several_gateways(monkeypatch):
    assert gateways_at("a:1, b:2").addresses == ("a:1", "b:2")
    monkeypatch.setenv("LLMROUTER_ADDRESS", "c:3,d:4")
    assert gateways_at(None).addresses == ("c:3", "d:4")
    with pytest.raises(typer.BadParameter, match=r"must be host:port.*not 'a:1,'"):
        gateways_at("a:1,")


def test_what_is_about_one_gateway_is_refused_several_and_other_services_are_one(monkeypatch):
    with pytest.raises(typer.BadParameter, match=r"one gateway, and --address says a:1, b:2"):
        gateway_at("a:1,b:2")
    monkeypatch.setenv("LLMROUTER_ADDRESS", "c:3,d:4")
    with pytest.raises(typer.BadParameter, match=r"LLMROUTER_ADDRESS says c:3, d:4"):
        gateway_at(None)
    with pytest.raises(typer.BadParameter, match=r"must be host:port"):
        selector_at("a:1,b:2", "--selector")


def test_a_port_that_is_chosen_at_the_start_has_to_be_told(monkeypatch):
    monkeypatch.setenv("LLMROUTER_SELECTOR__PORT", "0")
    with pytest.raises(ConfigError, match=r"LLMROUTER_SELECTOR__PORT\) is 0.* with --selector"):
        selector_at(None, "--selector")


def test_that_nothing_answers_is_told_with_the_address_its_origin_and_the_flag(monkeypatch):
    monkeypatch.setenv("LLMROUTER_GATEWAY__PORT", "1")
    assert run("generate", "hi").stderr == (
        "error: no gateway answers at 127.0.0.1:1, which gateway.port (from "
        "LLMROUTER_GATEWAY__PORT) says; is the suite running? --address names another address\n"
    )


@pytest.fixture
def _no_tls(monkeypatch):
    for name in ("CA", "CERTIFICATE", "KEY"):
        monkeypatch.delenv(f"LLMROUTER_TLS_{name}", raising=False)


@pytest.mark.usefixtures("_no_tls")
def test_tls_is_spoken_once_somebody_is_to_be_believed(monkeypatch):
    assert tls_from(None, None, None) is None
    assert tls_from("system", None, None) == Tls()
    monkeypatch.setenv("LLMROUTER_TLS_CA", "ca.pem")
    monkeypatch.setenv("LLMROUTER_TLS_KEY", "mine.key")
    assert tls_from(None, "mine.pem", None) == Tls("ca.pem", "mine.pem", "mine.key")
    assert tls_from("other.pem", "mine.pem", None) == Tls("other.pem", "mine.pem", "mine.key")


@pytest.mark.usefixtures("_no_tls")
def test_a_certificate_is_shown_to_those_who_are_believed_alone():
    result = run("--tls-certificate", "mine.pem", "--tls-key", "mine.key", "stats")
    assert result.exit_code == 2
    assert "needs --tls-ca as well" in result.stderr
