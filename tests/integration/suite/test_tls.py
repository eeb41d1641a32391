"""The whole suite as four programs that show each other certificates, asked over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys

import pytest
import yaml
from tests.authority import Authority
from tests.integration.suite.conftest import SERVICES, programs, wait_until_ready
from tests.support.ports import free_ports

from llmrouter_client import AsyncClient, LlmrouterError, Tls


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def secured(config, authority):
    """A configuration over mutual TLS; gateways let callers without certificates in."""
    path, ports = config
    settings = yaml.safe_load(path.read_text())
    for name, port in zip(SERVICES, free_ports(4), strict=True):
        pair = authority.issue(name)
        files = {"certificate_file": str(pair.certificate), "key_file": str(pair.key)}
        wanted = {} if name == "gateway" else {"client_ca_file": str(authority.file)}
        settings[name] |= {"tls": files | wanted, "health_port": port}
        if name in ("gateway", "selector"):
            settings[name]["dial_tls"] = files | {"ca_file": str(authority.file)}
    path.write_text(json.dumps(settings))
    return path, ports, {name: settings[name]["health_port"] for name in SERVICES}


@contextlib.asynccontextmanager
async def serving(secured, tls):
    """The four programs, once a model answers."""
    path, ports, health = secured
    async with programs(path):
        for port in health.values():
            await wait_until_ready(port)
        async with AsyncClient(f"127.0.0.1:{ports['gateway']}", tls=tls) as client:
            for _ in range(400):
                if any(model.ready for model in await client.models()):
                    break
                await asyncio.sleep(0.1)
            yield client


def llmrouter(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "llmrouter", *arguments],
        capture_output=True, text=True, timeout=60, check=False, env=os.environ | variables,
    )  # fmt: skip


async def test_a_question_is_answered_over_mutual_tls(secured, authority):
    _, ports, _ = secured
    async with serving(secured, Tls(ca_file=authority.file)) as client:
        answer = await client.generate("abc", raw=True, max_tokens=3, temperature=0)
        assert answer.model == "tiny"
        again = await client.generate("abc", raw=True, max_tokens=3, temperature=0)
        assert again.text == answer.text
        shown = authority.issue("operator")
        options = [
            "--tls-ca", str(authority.file), "--tls-certificate", str(shown.certificate),
            "--tls-key", str(shown.key),
        ]  # fmt: skip
        inference = f"127.0.0.1:{ports['inference']}"
        ask = ("health", "inference", "--address", inference)
        told = await asyncio.to_thread(llmrouter, *options, *ask)
        assert (told.returncode, told.stderr) == (0, "")
        refused = await asyncio.to_thread(llmrouter, "--tls-ca", str(authority.file), *ask)
        assert refused.returncode == 1
        assert "ended the connection before any call" in refused.stderr
        gateway = ("generate", "--raw", "abc", "--address", f"127.0.0.1:{ports['gateway']}")
        asked = await asyncio.to_thread(
            llmrouter, *gateway, "--max-tokens", "3", LLMROUTER_TLS_CA=str(authority.file)
        )
        assert asked.returncode == 0, asked.stderr
        stranger = Authority(authority.folder, "stranger")
        wrong = await asyncio.to_thread(llmrouter, "--tls-ca", str(stranger.file), *gateway)
        assert wrong.returncode == 1
        assert "is not believed: unable to get local issuer certificate" in wrong.stderr


async def test_a_client_that_believes_nobody_known_says_so(secured, authority, tmp_path):
    stranger = Authority(tmp_path, "stranger")
    _, ports, _ = secured
    async with serving(secured, Tls(ca_file=authority.file)):
        address = f"127.0.0.1:{ports['gateway']}"
        async with AsyncClient(address, tls=Tls(ca_file=stranger.file), retries=0) as client:
            with pytest.raises(LlmrouterError, match="is not believed: unable to get local issuer"):
                await client.models(timeout=10)


async def test_a_certificate_that_cannot_be_read_is_told_when_a_service_starts(secured, authority):
    path, *_ = secured
    (authority.folder / "cache.key").unlink()
    told = await asyncio.to_thread(llmrouter, "cache", "--config", str(path))
    assert told.returncode == 1
    said = told.stderr.splitlines()[-1]
    assert said.startswith("error: cache.tls.key_file: ")
    assert said.endswith("cache.key cannot be read: No such file or directory")
