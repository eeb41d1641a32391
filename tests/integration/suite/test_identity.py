"""Keys made on the command line open a running gateway, and close it again."""

from __future__ import annotations

import asyncio
import json
import ssl

import pytest
import yaml
from tests.authority import Authority
from tests.integration.suite.conftest import four_processes
from tests.support.waiting import until
from tests.unit.cli.driving import lines, run
from tests.unit.gateway.identity import provider

from llmrouter import suite
from llmrouter_client import AsyncClient, LlmrouterError, Tls


@pytest.fixture(params=["one process", "four processes"])
async def guarded(request, config):
    """Configuration and gateway of a suite that lets nobody in without a credential."""
    path, ports = config
    settings = yaml.safe_load(path.read_text())
    settings["gateway"]["identity"]["anonymous"] = "never"
    path.write_text(json.dumps(settings))
    if request.param == "one process":
        async with suite.running(path) as addresses:
            yield path, addresses.gateway
    else:
        opening = made(path, "opening")
        async with four_processes(path, ports, opening["text"]):
            yield path, f"127.0.0.1:{ports['gateway']}"


def made(path, *flags):
    (told,) = lines(run("keys", "create", *flags, "--config", str(path), "--json"))
    return told


async def ask(address, key):
    async with AsyncClient(address, api_key=key) as client:
        return (await client.generate("abcd", temperature=0, max_tokens=2)).model


async def refusal(address, key):
    with pytest.raises(LlmrouterError) as refused:
        await ask(address, key)
    return refused.value.reason


async def until_it_is(wanted, look):
    async def is_it():
        return await look() == wanted

    await until(is_it, pause=0.1)


async def outcome(address, key):
    try:
        return await ask(address, key)
    except LlmrouterError as error:
        return error.reason


async def test_a_key_opens_the_gateway_until_it_is_revoked(guarded):
    path, address = guarded
    assert await refusal(address, None) == "UNAUTHENTICATED"
    told = made(path, "ci", "--tenant", "acme", "--scope", "generate")
    await until_it_is("tiny", lambda: outcome(address, told["text"]))
    async with AsyncClient(address, api_key=told["text"]) as client:
        with pytest.raises(LlmrouterError) as refused:
            await client.models()
    assert refused.value.reason == "PERMISSION_DENIED"
    run("keys", "revoke", "ci", "--config", str(path))
    await until_it_is("UNAUTHENTICATED", lambda: outcome(address, told["text"]))


async def test_a_key_for_another_model_gets_no_answer_of_this_one(guarded):
    path, address = guarded
    told = made(path, "ci", "--model", "another")
    await until_it_is("NO_CANDIDATE", lambda: outcome(address, told["text"]))


async def test_a_token_of_the_configured_provider_opens_it_too(config, tmp_path):
    path, _ = config
    (tmp_path / "jwks.json").write_text(json.dumps(provider.jwks("ES256")))
    body = yaml.safe_load(path.read_text())
    body["gateway"]["identity"] |= {
        "anonymous": "never",
        "jwt": {
            "jwks": str(tmp_path / "jwks.json"),
            "issuer": provider.ISSUER,
            "audience": provider.AUDIENCE,
            "scope_claim": "scope",
        },
    }
    path.write_text(json.dumps(body))
    async with suite.running(path) as addresses:
        good = provider.token(scope="generate")
        await until_it_is("tiny", lambda: outcome(addresses.gateway, good))
        assert await refusal(addresses.gateway, provider.token(scope="embed")) == (
            "PERMISSION_DENIED"
        )
        assert await refusal(addresses.gateway, provider.token(exp=1)) == "UNAUTHENTICATED"


async def test_a_certificate_says_who_asks_over_grpc_and_http(config, tmp_path):
    path, _ = config
    authority = Authority(tmp_path)
    shown, known, unknown = (authority.issue(name) for name in ("server", "ci", "other"))
    body = yaml.safe_load(path.read_text())
    body["gateway"]["identity"] |= {
        "anonymous": "never", "certificates": {"ci": {"tenant": "acme", "scopes": ["generate"]}}
    }  # fmt: skip
    body["gateway"]["tls"] = {
        "certificate_file": str(shown.certificate), "key_file": str(shown.key),
        "client_ca_file": str(authority.file),
    }  # fmt: skip
    path.write_text(json.dumps(body))
    async with suite.running(path) as addresses:
        await until_it_is("tiny", lambda: outcome_over_tls(addresses.gateway, authority, known))
        told = await outcome_over_tls(addresses.gateway, authority, unknown)
        assert told == "UNAUTHENTICATED"
        assert await status_over_tls(addresses.http, authority, known) == 403, "no scope `models`"
        assert await status_over_tls(addresses.http, authority, unknown) == 401


async def outcome_over_tls(address, authority, pair):
    tls = Tls(ca_file=authority.file, certificate_file=pair.certificate, key_file=pair.key)
    async with AsyncClient(address, tls=tls) as client:
        try:
            return (await client.generate("abcd", temperature=0, max_tokens=2)).model
        except LlmrouterError as error:
            return error.reason


async def status_over_tls(address, authority, pair):
    context = ssl.create_default_context(cafile=authority.file)
    context.load_cert_chain(pair.certificate, pair.key)
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    writer.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    async with asyncio.timeout(30):
        line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def test_refusals_and_acts_stand_in_one_log(guarded):
    path, address = guarded
    made(path, "ci")
    await refusal(address, None)
    file = path.with_name("audit.jsonl")

    async def acts():
        return {json.loads(line)["act"] for line in file.read_text().splitlines()}

    await until_it_is({"key.created", "refused"}, acts)
    assert "llmr_" not in file.read_text()
