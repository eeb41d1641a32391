"""The provider's keys are followed, from a file or over HTTP, and outlive what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import ValidationError
from tests.support.waiting import until
from tests.unit.gateway.identity.provider import jwks, settings

from llmrouter.gateway.identity import jwks_book
from llmrouter.gateway.identity.jwks_book import JwksBook
from llmrouter.gateway.identity.settings import JwtSettings


class Provider(ThreadingHTTPServer):
    """Gives what the test says, or leads elsewhere."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.gives, self.status, self.asked = json.dumps(jwks("ES256")).encode(), 200, 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/keys"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked += 1
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(self.server.gives)

    def log_message(self, *_):
        pass


@pytest.fixture
def provider():
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
async def follow():
    books = []

    async def start(place, **options):
        books.append(JwksBook(str(place), **{"interval": 0.02, "pause": 0.02, **options}))
        await books[-1].start()
        return books[-1]

    yield start
    for book in books:
        await book.close()
        await book.close()


async def test_keys_come_from_a_file_and_are_followed(tmp_path, follow):
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(jwks("ES256")))
    book = await follow(file)
    assert book.find("ES256") is book.find("") is not None
    file.write_text(json.dumps(jwks("EdDSA", "RS256")))
    await until(lambda: book.find("EdDSA"))
    assert book.find("ES256") is None
    assert book.find("") is None, "one of several"


async def test_keys_come_over_http(provider, follow):
    book = await follow(provider.url)
    assert book.find("ES256") is not None


async def test_an_unknown_key_has_the_provider_asked_sooner(provider, follow):
    book = await follow(provider.url, interval=3600)
    provider.gives = json.dumps(jwks("EdDSA")).encode()
    await until(lambda: book.find("EdDSA"))


async def test_many_unknown_keys_do_not_flood_the_provider(provider, follow):
    book = await follow(provider.url, interval=3600, pause=3600)
    await asyncio.sleep(0.05)  # it follows by now
    for number in range(1000):
        assert book.find(f"made up {number}") is None
    await asyncio.sleep(0.3)
    assert provider.asked == 1


@pytest.mark.parametrize("fault", ["gone", "error", "garbage", "empty", "endless", "redirect"])
async def test_keys_that_are_known_outlive_a_provider_that_fails(
    provider, follow, caplog, monkeypatch, fault
):
    monkeypatch.setattr(jwks_book, "_MAX_BYTES", 5_000)
    book = await follow(provider.url)
    match fault:
        case "gone":
            provider.socket.close()
        case "error" | "redirect":
            provider.status = {"error": 500, "redirect": 302}[fault]
        case _:
            provider.gives = {"garbage": b"[", "empty": b"{}", "endless": b" " * 99_999}[fault]
    await until(lambda: caplog.records)
    for _ in range(3):
        await book._look()
    assert book.find("ES256") is not None
    assert len(caplog.records) == 1, "told once"


async def test_a_gateway_starts_without_its_provider_and_finds_it_later(tmp_path, follow, caplog):
    book = await follow(tmp_path / "jwks.json")
    assert book.find("ES256") is None
    (tmp_path / "jwks.json").write_text(json.dumps(jwks("ES256")))
    await until(lambda: book.find("ES256"))


@pytest.mark.parametrize(
    "place", ["http://id.example/keys", "ftp://id.example/keys", "file:///etc/keys"]
)
def test_a_place_that_others_could_forge_is_refused(place):
    with pytest.raises(ValidationError, match="an https URL"):
        JwtSettings(jwks=place, issuer="i", audience="a")


@pytest.mark.parametrize("place", ["keys.json", "https://id.example/k", "http://localhost:8/k"])
def test_a_place_may_be_a_file_or_safe(place):
    assert JwtSettings(jwks=place, issuer="i", audience="a").jwks == place
    assert settings().leeway_seconds == 30
