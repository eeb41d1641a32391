"""An inference service that tells what a test has it tell, and watchers of it."""

from __future__ import annotations

import grpc
import pytest
from tests.unit.selector.telling import Models

from llmrouter.selector.endpoints import EndpointWatcher
from llmrouter.v1 import model_pb2_grpc


@pytest.fixture
async def inference():
    service = Models()
    server = grpc.aio.server()
    model_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    service.server = server
    yield service
    await server.stop(None)


@pytest.fixture
async def watching():
    watchers, channels = [], []

    def channel(address):
        channels.append(grpc.aio.insecure_channel(address))
        return channels[-1]

    async def start(*addresses, patience=2.0, remembering=None, **options):
        watchers.append(EndpointWatcher(addresses, channel, **options))
        watchers[-1].remember(remembering or {})
        await watchers[-1].start(patience)
        return watchers[-1]

    yield start
    for watcher in watchers:
        await watcher.close()
        await watcher.close()
    for one in channels:
        await one.close()
