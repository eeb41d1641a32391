"""Scripted services, and a stand-in for the module that runs the real ones."""

from __future__ import annotations

import sys
import types

import pytest
from tests.unit.client.fake_gateway import FakeGateway, serving_in_thread

from llmrouter.common.settings import ConfigError
from llmrouter.suite import RunningSuite


@pytest.fixture
def gateway():
    return FakeGateway()


@pytest.fixture
def address(gateway):
    with serving_in_thread(gateway) as address:
        yield address


@pytest.fixture
def suite(monkeypatch):
    """A stand-in for the module that runs services; returns what it was asked to do."""
    asked = []
    stand_in = types.ModuleType("llmrouter.suite")

    async def run_up(config, ready):
        asked.append(("up", config))
        ready(
            RunningSuite("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4", serving=True)
        )

    async def run_service(name, config):
        asked.append((name, config))
        if config is not None:
            raise ConfigError(f"{config} cannot be read: no such file")

    stand_in.RunningSuite = RunningSuite
    stand_in.run_up, stand_in.run_service = run_up, run_service
    monkeypatch.setitem(sys.modules, "llmrouter.suite", stand_in)
    monkeypatch.setattr("llmrouter.suite", stand_in, raising=False)
    return asked
