"""One real suite in a thread for all tests of this folder: a tiny decoder and a tiny encoder."""

import contextlib
import json

import pytest
from tests.integration.embedding.tiny_encoder import write_encoder
from tests.integration.engine.tiny_model import write_tiny_folder
from tests.support.background import in_background

from llmrouter import suite


@contextlib.contextmanager
def tiny_suite(root, **inference):
    """Run it; yields where the services listen."""
    write_tiny_folder(root / "store/tiny")
    write_encoder(root / "store/vectors")
    body = {
        "gateway": {
            "identity": {"anonymous": "loopback", "key_store": str(root / "keys.sqlite")}
            | {"audit_file": str(root / "audit.jsonl")},
            "default_deadline_seconds": 20,
            "safety": {"questions": {"secrets": "redact"}},
        },
        "selector": {"refresh_interval_seconds": 0.2},
        "cache": {"disk_path": str(root / "answers")},
        "inference": {"slots": 4, "max_tokens": 16, **inference},
    }
    path = root / "llmrouter.yaml"
    path.write_text(json.dumps(body))
    with in_background(
        lambda: suite.running(path, ports="free", store=root / "store")
    ) as addresses:
        yield addresses


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    """Where the services listen."""
    with tiny_suite(tmp_path_factory.mktemp("fuzzed")) as addresses:
        yield addresses
