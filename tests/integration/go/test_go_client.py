"""A client in another language, built from the protos alone, streams an answer."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.suite.conftest import config, four_processes, store  # noqa: F401 - fixtures
from tests.unit.client.fake_gateway import TEXT, FakeGateway, serving_in_thread

from llmrouter.common.errors import Reason, RouterError

ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The Go client, built as its README says."""
    made = tmp_path_factory.mktemp("go") / "ask"
    bin_folder = Path(sys.executable).parent
    subprocess.run(["make", "stubs-go", f"BIN={bin_folder}"], cwd=ROOT, check=True)
    build = ["go", "build", "-o", str(made), "./cmd/ask"]
    subprocess.run(build, cwd=ROOT / "clients" / "go", check=True)
    return made


def ask(program, address, *arguments):
    command = [program, "-address", address, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_it_streams_an_answer(program):
    gateway = FakeGateway()
    with serving_in_thread(gateway) as address:
        done = ask(program, address, "-temperature", "0", "What is the capital of France?")
    assert (done.returncode, done.stdout) == (0, "".join(TEXT) + "\n")
    assert "smollm2-135m-instruct-int8: best balanced score: 0.812 (cache: miss)" in done.stderr
    assert "9 tokens in 200ms" in done.stderr
    (request,) = gateway.requests
    assert request.chat.messages[0].content[0].text == "What is the capital of France?"
    assert request.sampling.HasField("temperature")


def test_it_tells_the_reason_of_a_refusal(program):
    gateway = FakeGateway([RouterError(Reason.UNKNOWN_MODEL, "no model is called x")])
    with serving_in_thread(gateway) as address:
        done = ask(program, address, "-model", "x", "hi")
    assert done.returncode == 1
    assert done.stderr == "error: no model is called x (UNKNOWN_MODEL)\n"


async def test_it_streams_an_answer_through_the_four_services(program, config):  # noqa: F811
    path, ports = config
    async with four_processes(path, ports):
        address = f"127.0.0.1:{ports['gateway']}"
        done = await asyncio.to_thread(ask, program, address, "-temperature", "0", "abcd")
    assert done.returncode == 0, done.stderr
    assert "tiny: " in done.stderr
    assert len(done.stdout) > 1
