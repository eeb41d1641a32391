"""The command that imports, from places on this machine that stand for places far away."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.cli.driving import run as cli
from tests.unit.inference.importers.tiny_gguf import Tiny, write_tiny_gguf
from tests.unit.inference.sources.breaking_server import serving
from tests.unit.inference.sources.fake_hub import COMMIT, REPOSITORY, hub_serving

from llmrouter.inference.models.store import ModelStore


@pytest.fixture
def gguf(tmp_path: Path) -> bytes:
    write_tiny_gguf(tmp_path / "tiny.gguf", Tiny(layers=1))
    return (tmp_path / "tiny.gguf").read_bytes()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_a_program_of_its_own_asks_the_hub_of_its_environment(
    gguf: bytes, store: ModelStore, tmp_path: Path
) -> None:
    with hub_serving() as hub:
        hub.files, hub.large, hub.private_token = {"tiny.gguf": gguf}, {"tiny.gguf"}, "hf_secret"
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hub"),
            "HF_TOKEN": hub.private_token,
        }
        command = [
            sys.executable, "-m", "llmrouter", "models", "import", f"hf://{REPOSITORY}@main",
            "--name", "mine", "--precision", "int8", "--store", str(store.root),
        ]  # fmt: skip
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=100, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "ready mine-int8" in done.stdout
    assert "hf_secret" not in done.stdout + done.stderr
    card = store.folder("mine-int8").card
    assert card is not None
    assert card.source.location == f"hf://{REPOSITORY}@{COMMIT}/tiny.gguf"
    assert card.source.sha256 == hashlib.sha256(gguf).hexdigest()
    assert list((tmp_path / "hub").rglob("tiny.gguf")), "the hub's cache keeps the file"


def test_a_url_is_imported_though_its_connection_breaks(gguf: bytes, store: ModelStore) -> None:
    with serving() as server:
        server.content, server.cuts = gguf, [len(gguf) // 2]
        done = cli(
            "models", "import", server.url, "--sha256", hashlib.sha256(gguf).hexdigest(),
            "--name", "mine", "--precision", "int4", "--store", str(store.root), "--json",
        )  # fmt: skip
        assert server.ranges == [None, f"bytes={len(gguf) // 2}-"]
    assert done.exit_code == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0] == {
        "event": "progress", "stage": "download", "done": len(gguf), "total": len(gguf)
    }  # fmt: skip
    assert store.names() == ["mine-int4"]
    assert list(store.downloads.iterdir()) == []


def test_a_url_with_another_checksum_leaves_nothing(gguf: bytes, store: ModelStore) -> None:
    with serving() as server:
        server.content = gguf
        done = cli(
            "models", "import", server.url, "--sha256", "0" * 64, "--name", "mine",
            "--store", str(store.root),
        )  # fmt: skip
    assert (done.exit_code, "nothing was kept" in done.stderr) == (1, True)
    assert store.names() == []
    assert list(store.downloads.iterdir()) == []
