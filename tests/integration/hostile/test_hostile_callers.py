"""Callers that send too much, say nothing or bring secrets, before a suite that is a process."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import psutil
import pytest
from tests.integration.engine.tiny_model import write_tiny_folder
from tests.support.ports import free_ports

from llmrouter.v1 import gateway_pb2, generation_pb2
from llmrouter.v1.gateway_pb2_grpc import GatewayServiceStub

SECRET = "sk-planted-7f3a9c5e1b"  # noqa: S105 - planted, and nobody's
CONNECTIONS = 200
CLIENTS = 10_000
pytestmark = pytest.mark.timeout(300)


class Running:
    """The process, its folder and where it listens."""

    def __init__(self, folder, process, port, http):
        self.folder, self.process = folder, process
        self.grpc, self.url = f"127.0.0.1:{port}", f"http://127.0.0.1:{http}"
        self.http = ("127.0.0.1", http)

    def ask(self, path="/v1/models", body=None, **headers):
        """Return the status and the body of an answer over HTTP."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)  # noqa: S310 - of loopback
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - of loopback
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    write_tiny_folder(folder / "store/tiny")
    names = ("gateway", "selector", "cache", "inference")
    *ports, http = free_ports(len(names) + 1)
    body = {name: {"port": port} for name, port in zip(names, ports, strict=True)}
    body["gateway"] |= {
        "http_port": http, "http_connections": CONNECTIONS, "connections": CONNECTIONS,
        "identity": {"anonymous": "loopback"},
    }  # fmt: skip
    body["inference"] |= {"store": str(folder / "store")}
    path = folder / "llmrouter.yaml"
    path.write_text(json.dumps(body))
    environment = {"XDG_DATA_HOME": str(folder / "data"), "LLMROUTER_ENV": "production"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "llmrouter", "up", "--config", str(path)],
            stdout=log, stderr=log, env={**os.environ, **environment},
        )  # fmt: skip
    one = Running(folder, process, ports[0], http)
    try:
        for _ in range(1200):
            with contextlib.suppress(OSError):
                if "tiny" in str(one.ask()[1]):
                    break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield one
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()


def chat(**more):
    turns = [{"role": "user", "content": "ab"}]
    return {"model": "tiny", "messages": turns, "max_tokens": 2, **more}


def test_secrets_in_headers_stand_nowhere_whatever_becomes_of_their_requests(running):
    key = "llmr_0123456789ab_" + SECRET + "x" * 22
    secrets = [{"authorization": f"Bearer {SECRET}"}, {"authorization": f"Bearer {key}"},
               {"x-api-key": SECRET}, {"cookie": f"session={SECRET}"}]  # fmt: skip
    for headers in secrets:
        for body in (chat(), chat(temperature=9), chat(model="nobody"), {}, None):
            running.ask("/v1/chat/completions", body, **headers)
        running.ask("/v1/models/nobody", **headers)
    question = generation_pb2.GenerateRequest(prompt="ab", sampling={"max_tokens": 2})
    with grpc.insecure_channel(running.grpc) as channel:
        for headers in secrets:
            with contextlib.suppress(grpc.RpcError):
                GatewayServiceStub(channel).Generate(
                    question, timeout=30, metadata=tuple(headers.items())
                )
    time.sleep(1.5)  # what is written behind is written
    written = [one for one in running.folder.rglob("*") if one.is_file()]
    assert b'"event": "request"' in (running.folder / "log").read_bytes()
    assert not [one for one in written if SECRET.encode() in one.read_bytes()]


def test_a_body_of_a_hundred_megabytes_is_refused_and_fills_no_memory(running):
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
    head = f"{head}content-length: {100 << 20}\r\n\r\n".encode()
    Path(f"/proc/{running.process.pid}/clear_refs").write_text("5")  # the peak begins anew
    before = peak(running.process)
    with socket.create_connection(running.http, timeout=60) as connection:
        connection.sendall(head)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(b"x" * (1 << 20))
    # What is on its way when a connection ends may take the answer with it: here nothing is.
    with socket.create_connection(running.http, timeout=60) as connection:
        connection.sendall(head + b"x" * ((4 << 20) + 1))
        assert connection.recv(1024).startswith(b"HTTP/1.1 413")
    large = gateway_pb2.StreamGenerateRequest(request={"prompt": "x" * (100 << 20)})
    with grpc.insecure_channel(running.grpc) as channel:
        call = GatewayServiceStub(channel).StreamGenerate(large, timeout=60)
        with pytest.raises(grpc.RpcError) as refused:
            list(call)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert peak(running.process) - before < 64 << 20
    assert running.ask()[0] == 200


def peak(process):
    """Return the bytes that a process has had in memory at most."""
    told = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", told)[1]) << 10


def test_ten_thousand_turns_are_refused_by_name(running):
    turn = {"role": "user", "content": "a"}
    status, body = running.ask("/v1/chat/completions", chat(messages=[turn] * 10_000))
    assert (status, body["error"]["param"]) == (400, "messages")


def silent(address, count):
    """Connect so often and say nothing."""
    return [socket.create_connection(address, timeout=60) for _ in range(count)]


@pytest.mark.slow
def test_ten_thousand_clients_that_say_nothing_keep_nobody_out(running):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < CLIENTS + 500:
        pytest.skip(f"this process may not open {CLIENTS} connections (ulimit -n)")
    process = psutil.Process(running.process.pid)
    before = process.num_fds()
    sockets = silent(running.http, CLIENTS)
    try:
        assert running.ask("/v1/chat/completions", chat())[0] == 200
        assert process.num_fds() - before <= CONNECTIONS + 50
    finally:
        for one in sockets:
            one.close()


def list_models(channel):
    """Ask over gRPC, once the channel has a connection."""
    stub = GatewayServiceStub(channel)
    stub.ListModels(gateway_pb2.ListModelsRequest(), timeout=60, wait_for_ready=True)


def test_silent_clients_on_the_port_of_grpc_take_no_more_than_its_bound(running):
    process = psutil.Process(running.process.pid)
    with grpc.insecure_channel(running.grpc) as channel:
        list_models(channel)
        before = process.num_fds()
        sockets = silent(tuple(running.grpc.split(":")), 2 * CONNECTIONS)
        try:
            list_models(channel)
            assert process.num_fds() - before <= CONNECTIONS + 50
        finally:
            for one in sockets:
                one.close()


@pytest.mark.slow
def test_ten_thousand_silent_clients_on_the_port_of_grpc_keep_nobody_out_for_long(running):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < CLIENTS + 500:
        pytest.skip(f"this process may not open {CLIENTS} connections (ulimit -n)")
    process = psutil.Process(running.process.pid)
    before, memory = process.num_fds(), process.memory_info().rss
    sockets = silent(tuple(running.grpc.split(":")), CLIENTS)
    try:
        assert process.num_fds() - before <= CONNECTIONS + 50
        with grpc.insecure_channel(running.grpc) as channel:
            list_models(channel)
        assert process.memory_info().rss - memory < 64 << 20
    finally:
        for one in sockets:
            one.close()
