"""What the server does with callers that are no good clients."""

import asyncio
import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.gateway.doubles import answer_events
from tests.unit.gateway.http.conftest import serving
from tests.unit.gateway.identity.key_ring import KeyRing

from llmrouter.common.generation import Delta
from llmrouter.common.guard import Gate
from llmrouter.common.settings import ConfigError
from llmrouter.gateway.http import door
from llmrouter.gateway.http.app import HttpApi
from llmrouter.gateway.http.fields import ChatBody, CompletionBody, EmbeddingBody
from llmrouter.gateway.identity.authentication import Identity
from llmrouter.gateway.listing import Listing
from llmrouter.gateway.settings import GatewaySettings


async def exchange(address, data):
    """Send bytes and return all that comes back before the server hangs up."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


def post(path, body, *more):
    lines = [f"POST {path} HTTP/1.1", "host: x", "connection: close", *more]
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""])
    return head.encode() + body


def status_and_body(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


async def test_a_port_in_use_is_told_with_the_setting_that_moves_it(api):
    port = int(api.address.rsplit(":", 1)[1])
    second = door.HttpDoor(lambda *_: None, GatewaySettings(http_port=port))
    with pytest.raises(ConfigError, match=r"in use; .* set gateway\.http_port"):
        await second.bind()


async def test_a_body_that_is_too_large_is_refused_before_it_is_read():
    async with serving(http_max_body_bytes=1024) as api:
        answer = await exchange(api.address, post("/v1/chat/completions", b"x" * 5000))
    status, body = status_and_body(answer)
    assert (status, "more than 1024 bytes" in body["error"]["message"]) == (413, True)


async def test_a_body_that_does_not_come_is_not_waited_for():
    async with serving(http_body_seconds=0.1) as api:
        head = post("/v1/chat/completions", b"").replace(b"length: 0", b"length: 9")
        status, body = status_and_body(await exchange(api.address, head))
    assert (status, body["error"]["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"nonsense", b'"\\ud800"', b"\xff\xfe"])
async def test_what_is_no_json_is_told(api, body):
    answer = await exchange(api.address, post("/v1/chat/completions", body))
    status, told = status_and_body(answer)
    assert (status, told["error"]["type"]) == (400, "invalid_request_error")
    assert "the body" in told["error"]["message"]


@pytest.mark.parametrize("name", ["x-large", "x-request-id"])
async def test_headers_without_end_are_cut_off(api, name):
    answer = await exchange(api.address, post("/v1/models", b"", f"{name}: {'y' * 80_000}"))
    status, body = status_and_body(answer)
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")


async def test_what_is_no_http_is_told_as_other_errors_are(api):
    status, body = status_and_body(await exchange(api.address, b"\x16\x03\x01 hello\r\n\r\n"))
    assert (status, body["error"]["code"]) == (400, "invalid_argument")


async def test_a_bad_request_id_is_refused_and_not_repeated(api):
    answer = await exchange(api.address, post("/v1/completions", b"{}", "x-request-id: a b"))
    assert b"400" in answer.split(b"\r\n")[0]
    assert b"x-request-id: a b" not in answer


async def test_a_client_that_connects_and_says_nothing_is_let_go(api, monkeypatch):
    monkeypatch.setattr(door, "_KEEP_ALIVE_SECONDS", 0.05)
    assert await exchange(api.address, b"") == b""
    assert await exchange(api.address, b"GET /v1/mod") == b""
    whole = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
    assert (await exchange(api.address, whole + b"GET /hea")).endswith(b'{"status":"ok"}')


async def test_clients_that_connect_and_say_nothing_keep_nobody_out():
    async with serving(http_connections=3) as api:
        host, port = api.address.rsplit(":", 1)
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(30)]
        answer = await exchange(api.address, post("/v1/models", b"").replace(b"POST", b"GET"))
        assert answer.startswith(b"HTTP/1.1 200")
        assert await asyncio.wait_for(idle[0][0].read(), 10) == b""
        for _, writer in idle:
            writer.close()


async def test_connections_beyond_the_bound_that_all_are_answered_are_told_so():
    async with serving(http_connections=2) as api:
        api.chain.script = [*answer_events()[:2], 60]
        body = json.dumps({"model": "auto", "stream": True, "prompt": "a"}).encode()
        host, port = api.address.rsplit(":", 1)
        busy = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        for reader, writer in busy:
            writer.write(post("/v1/completions", body))
            await reader.readuntil(b"data: ")
        answer = await exchange(api.address, post("/v1/models", b""))
        for _, writer in busy:
            writer.close()
    assert answer.startswith(b"HTTP/1.1 503")


async def test_a_slow_reader_holds_up_its_own_answer_alone(api):
    piece = "x" * 4096
    script = answer_events(text=(piece,) * 4000)
    api.chain.script = script
    body = json.dumps({"model": "auto", "stream": True, "prompt": "a"}).encode()
    host, port = api.address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 10)
    writer.write(post("/v1/completions", body))
    await reader.readexactly(1000)
    answer = await exchange(api.address, post("/v1/models", b"").replace(b"POST", b"GET"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert api.chain.log == []  # The chain waits: the other 16 MB are nowhere.
    writer.close()


@pytest.mark.parametrize("reads", [True, False])
async def test_closing_ends_the_streams_that_still_run(reads, caplog):
    async with serving() as api:
        api.chain.script = [
            *answer_events()[:2],
            *([60] if reads else [Delta(0, "x" * 4096, 1)] * 4000),
        ]
        host, port = api.address.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 10)
        writer.write(post("/v1/completions", b'{"model": "auto", "stream": true, "prompt": "a"}'))
        await reader.readuntil(b"data: ")
        assert (api.gate.active, api.chain.log) == (1, [])
    assert (api.gate.active, api.chain.log) == (0, ["closed"])
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(10):
            assert b"[DONE]" not in await reader.read()
    writer.close()
    assert caplog.text == ""


async def test_closing_lets_the_last_bytes_of_answers_leave():
    async with serving() as api:
        api.chain.script = answer_events(text=("x" * 4096,) * 200)
        host, port = api.address.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 10)
        writer.write(post("/v1/completions", b'{"model": "auto", "stream": true, "prompt": "a"}'))
        await reader.readuntil(b"data: ")
        reading = asyncio.create_task(reader.read())
        await api.gate.wait_idle()
    assert b"[DONE]" in await reading
    writer.close()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = sorted({*ChatBody.model_fields, *CompletionBody.model_fields, *EmbeddingBody.model_fields})


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]),
    body=st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), VALUES, max_size=6),
)
async def test_no_body_is_a_fault_of_ours(path, body):
    status = await status_of(path, {"model": "auto", "prompt": "a", "input": "a", **body})
    assert status in (200, 400)


async def status_of(path, body):
    """Ask the application without a socket; its chain answers everything."""

    class Chain:
        async def generate(self, request, context):
            del request, context
            for event in answer_events():
                yield event

        async def embed(self, request, context):
            raise AssertionError("no vectors are asked of this chain")

    async def list_models(allowed):
        del allowed
        return Listing(())

    keys = KeyRing()
    identity = Identity(keys, "always", keys)
    api = HttpApi(Chain(), Chain(), list_models, identity, GatewaySettings(), Gate("gateway"))
    found = []
    coming = [{"type": "http.request", "body": json.dumps(body).encode()}]

    async def receive():
        if not coming:
            await asyncio.sleep(60)
        return coming.pop()

    async def send(message):
        found.extend([message["status"]] if "status" in message else [])

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    await api.app(scope, receive, send)
    return found[0]
