"""Clients of OpenAI's API that are not ours talk to the suite without change: Node's, LangChain's
and LiteLLM's, beside OpenAI's own for Python (`suite/test_openai_client.py`).

`make client-tools` installs them below `build/clients`.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOOLS = HERE.parents[2] / "build/clients"
PYTHON = TOOLS / "venv/bin/python"
WRONG_KEY = "llmr_" + "0" * 12 + "_" + "x" * 43
MISSING = "is missing; `make client-tools` installs it"
PROGRAMS = {
    "node": ([shutil.which("node") or "node", HERE / "node_calls.mjs", TOOLS],
             TOOLS / "node_modules/openai"),
    "langchain": ([PYTHON, HERE / "langchain_calls.py"], PYTHON),
    "litellm": ([PYTHON, HERE / "litellm_calls.py"], PYTHON),
}  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="session", params=PROGRAMS)
def told(request, running):
    """What one of them was told, and which it is."""
    command, needed = PROGRAMS[request.param]
    if not needed.exists() or shutil.which(str(command[0])) is None:
        pytest.skip(f"{needed} {MISSING}")
    done = subprocess.run(
        [*command, f"http://{running.http}/v1"], capture_output=True, text=True, timeout=240,
        check=False, env={**os.environ, "WRONG_KEY": WRONG_KEY},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return {**json.loads(done.stdout.splitlines()[-1]), "client": request.param}


def test_an_answer_is_the_same_whole_and_streamed_and_its_tokens_are_counted(told):
    assert told["whole"]["text"]
    assert told["whole"] == told["streamed"] == {**told["whole"], "tokens": 8}
    if told["client"] == "node":  # which gathers a stream by itself
        assert told["gathered"] == told["whole"]["text"]


def test_an_answer_fits_the_schema_that_is_asked_for(told):
    said = told["parsed"]
    day = said["day"] if isinstance(said, dict) else json.loads(said)
    assert day in ("Monday", "Sunday")


def test_several_answers_with_a_seed_are_the_same_again(told):
    first, second = told["several"]
    assert first == second
    assert len(first) == 2


def test_log_probabilities_and_stop_strings_are_told(told):
    assert len(told["logprobs"]) == 8
    assert all(logprob <= 0 and others == 2 for _, logprob, others in told["logprobs"])
    assert told["stopped"] == [told["whole"]["text"][:2], "stop"]


def test_calls_of_tools_are_the_same_whole_and_streamed(told):
    calls = [["c1", "warmth", {"city": "Oslo"}], ["c2", "rain", {}]]
    assert told["tools"] == [calls, calls]


def test_raw_prompts_and_texts_come_back_in_their_places(told):
    assert told["completions"] == [0, 1]
    assert told["embeddings"] == [4, 4]
    if told["client"] == "node":  # the adapters list no models
        assert {"auto", "tiny"} <= set(told["models"])


def test_a_refusal_is_the_exception_that_its_callers_know(told):
    errors = told["errors"]
    assert "BadRequestError" in errors["bound"][0]
    assert "NotFoundError" in errors["unknown"][0]
    assert "AuthenticationError" in errors["key"][0]
    if told["client"] != "litellm":  # whose errors have neither
        assert errors["bound"][2] == "temperature"
        assert errors["unknown"][3] == "model_not_found"
