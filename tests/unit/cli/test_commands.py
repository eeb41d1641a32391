"""The command line against scripted services: output, exit codes, sentences."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import types
from pathlib import Path

import jsonschema
import pytest
import yaml
from tests.unit.client.fake_gateway import (
    TEXT,
    FakeGateway,
    FakeSelector,
    serving_in_thread,
    whole_answer,
)
from typer.testing import CliRunner

from llmrouter.cli.__main__ import app
from llmrouter.common.errors import FieldViolation, Reason, RouterError
from llmrouter.common.settings import ConfigError
from llmrouter.suite import RunningSuite, SuiteSettings, load_settings
from llmrouter.v1 import generation_pb2 as g

AWAY = "127.0.0.1:1"
COMMAND = (sys.executable, "-m", "llmrouter.cli")


def run(*arguments: str, stdin: str | None = None):
    result = CliRunner().invoke(app, arguments, input=stdin)
    assert isinstance(result.exception, SystemExit | None), "it would show a traceback"
    return result


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def gateway():
    return FakeGateway()


@pytest.fixture
def address(gateway):
    with serving_in_thread(gateway) as address:
        yield address


@pytest.fixture
def suite(monkeypatch):
    """A stand-in for the module that runs services; returns what it was asked to do."""
    asked = []
    stand_in = types.ModuleType("llmrouter.suite")

    async def run_up(config, ready):
        asked.append(("up", config))
        ready(
            RunningSuite("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4", serving=True)
        )

    async def run_service(name, config):
        asked.append((name, config))
        if config is not None:
            raise ConfigError(f"{config} cannot be read: no such file")

    stand_in.RunningSuite = RunningSuite
    stand_in.run_up, stand_in.run_service = run_up, run_service
    monkeypatch.setitem(sys.modules, "llmrouter.suite", stand_in)
    monkeypatch.setattr("llmrouter.suite", stand_in, raising=False)
    return asked


def test_generate_streams_the_answer_and_then_its_route(address):
    result = run("generate", "hi", "--address", address)
    assert result.exit_code == 0
    assert result.stdout == "".join(TEXT) + "\n"
    route = {line.split("  ")[0]: line for line in result.stderr.splitlines()}
    assert "smollm2-135m-instruct-int8 @ 0123456789ab" in route["model"]
    assert "best balanced score: 0.812" in route["why"]
    assert "miss" in route["cache"]
    assert "80 tokens/s, 9 tokens in" in route["speed"]
    assert "ms" in route["first token"]
    assert "big QUEUE_FULL (h:1), then smollm2-135m-instruct-int8 answered" in route["attempts"]


def test_generate_sends_what_it_was_told(address, gateway):
    options = "--model m --strategy s --temperature 0 --max-tokens 5 --seed 1 --top-k 2 --top-p 0.5"
    result = run(
        "generate", "-", *options.split(), "--stop", "a", "--stop", "b", "--no-cache", "--raw",
        "--no-route", "--timeout", "30", "--address", address, stdin="piped in",
    )  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    (request,) = gateway.requests
    assert request.prompt == "piped in"
    assert request.sampling == g.SamplingOptions(
        temperature=0, max_tokens=5, seed=1, top_k=2, top_p=0.5, stop=["a", "b"]
    )
    assert request.routing == g.RoutingWishes(model="m", strategy="s")
    assert request.cache.mode == g.CACHE_MODE_OFF
    assert gateway.deadlines[0] <= 30


def test_generate_sends_what_shapes_the_draw(address, gateway):
    options = (
        "--min-p 0.05 --repetition-penalty 1.1 --presence-penalty 0.5 --frequency-penalty -0.5 "
        "--logit-bias 42=-100 --logit-bias 7=1.5 --min-tokens 2 -n 3 --logprobs --top-logprobs 4"
    )
    assert run("generate", "hi", *options.split(), "--address", address).exit_code == 0
    assert gateway.requests[0].sampling == g.SamplingOptions(
        min_p=0.05, repetition_penalty=1.1, presence_penalty=0.5, frequency_penalty=-0.5,
        logit_bias={42: -100, 7: 1.5}, min_tokens=2, n=3, logprobs=True, top_logprobs=4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flag", "value", "sent"),
    [
        ("--json-schema", ' {"type": "object"}', {"json_schema": ' {"type": "object"}'}),
        ("--json-schema", "FILE", {"json_schema": "from a file"}),
        ("--regex", "a+", {"regex": "a+"}),
        ("--grammar", "FILE", {"grammar": "from a file"}),
    ],
)
def test_generate_asks_for_a_format(address, gateway, tmp_path, flag, value, sent):
    file = tmp_path / "format"
    file.write_text("from a file")
    given = str(file) if value == "FILE" else value
    assert run("generate", "hi", flag, given, "--address", address).exit_code == 0
    assert gateway.requests[0].sampling.response_format == g.ResponseFormat(**sent)


def test_generate_asks_for_any_json_object(address, gateway):
    assert run("generate", "hi", "--json-object", "--address", address).exit_code == 0
    assert gateway.requests[0].sampling.response_format.HasField("json_object")


@pytest.mark.parametrize(
    "options",
    [
        ("--regex", "a", "--json-object"),
        ("--json-schema", "/no/such/file"),
        ("--grammar", "/no/such/file"),
    ],
)
def test_formats_that_cannot_be_are_wrong_usage(address, options):
    assert run("generate", "hi", *options, "--address", address).exit_code == 2


def test_a_bias_that_is_none_is_wrong_usage(address):
    result = run("generate", "hi", "--logit-bias", "the=1", "--address", address)
    assert result.exit_code == 2
    assert "TOKEN=BIAS" in result.stderr


def test_further_answers_follow_the_first_one(address, gateway):
    said = [
        g.GenerationEvent(delta=g.Delta(text=text, choice=choice))
        for text, choice in (("b", 1), ("a", 0), ("B\x1b", 1), ("A", 0))
    ]
    gateway.scripts = [[whole_answer()[0], *said, whole_answer()[-1]]]
    result = run("generate", "hi", "-n", "2", "--address", address)
    assert result.stdout == "aA\n\n--- answer 2 ---\nbB\n"


def test_json_tells_log_probabilities_under_the_names_of_the_openai_api(address, gateway):
    top = g.TopLogprob(token_id=7, logprob=-1.5, bytes=b"b")
    told = g.TokenLogprob(token_id=6, logprob=-0.5, bytes=b"\xff", top_logprobs=[top])
    delta = g.GenerationEvent(delta=g.Delta(text="a", logprobs=[told]))
    gateway.scripts = [[whole_answer()[0], delta, whole_answer()[-1]]]
    events = lines(run("generate", "hi", "--json", "--address", address))
    likely = {"token_id": 7, "token": "b", "bytes": [98], "logprob": -1.5}
    assert events[1]["logprobs"] == [
        {
            "token_id": 6, "token": "\ufffd", "bytes": [255], "logprob": -0.5,
            "top_logprobs": [likely],
        }
    ]  # fmt: skip


def test_generate_json_is_one_event_per_line(address):
    events = lines(run("generate", "hi", "--json", "--address", address))
    assert [event["event"] for event in events] == [
        "started", *["delta"] * len(TEXT), "choice_finished", "finished"
    ]  # fmt: skip
    assert events[-1]["attempts"][0]["error_reason"] == "QUEUE_FULL"


def test_a_model_cannot_steer_the_terminal(address, gateway):
    hostile = g.GenerationEvent(delta=g.Delta(text="a\x1b[2J\x07\x9bb\tc\n[red]d"))
    gateway.scripts = [[whole_answer()[0], hostile, whole_answer()[-1]]]
    assert run("generate", "hi", "--address", address).stdout == "a[2Jb\tc\n[red]d\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["generate", "hi", "--address", AWAY],
            f"nothing answers at {AWAY}; is the suite running?",
        ),
        (["generate", "hi", "--top-k", "-1"], "--top-k is -1; it must be 0 to 1000000"),
        (["generate", "hi", "--max-tokens", "-1"], "--max-tokens is -1; it must be 1 to 1000000"),
        (["select", "hi", "--address", AWAY], f"no selector answers at {AWAY}"),
        (["stats", "--selector", AWAY], f"no selector answers at {AWAY}"),
        (["chat", "--address", AWAY], f"nothing answers at {AWAY}"),
    ],
)
def test_failures_are_one_sentence_and_exit_1(arguments, sentence):
    result = run(*arguments, stdin="hi\n")
    assert (result.exit_code, result.stdout) == (1, "")
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert sentence in last
    machine = run(*arguments, "--json", stdin="hi\n")
    assert (machine.exit_code, machine.stderr) == (1, "")
    told = lines(machine)[-1]
    assert told["event"] == "error"
    assert sentence in told["message"]


def test_a_refusal_tells_the_servers_sentence_unbroken(address, gateway):
    said = "the prompt has 9,000 tokens and [m] holds 8,192; " + "long " * 40 + "end"
    gateway.scripts = [[RouterError(Reason.CONTEXT_TOO_LONG, said)]]
    result = run("generate", "hi", "--address", address)
    assert (result.exit_code, result.stderr) == (1, f"error: {said}\n")


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("sampling.max_tokens", "--max-tokens is wrong"),
        ("sampling.response_format.json_schema", "--json-schema is wrong"),
        ("sampling.logit_bias[7]", "--logit-bias is wrong"),
        ("routing.strategy", "--strategy is wrong"),
        ("chat.messages[0].content[0].text", "the question is wrong"),
        ("chat.messages", "the question is wrong"),
        ("prompt", "the question is wrong"),
        ("cache.ttl", "cache.ttl is wrong"),
    ],
)
def test_a_wrong_field_is_told_as_the_flag_that_set_it(address, gateway, field, told):
    violations = (FieldViolation(field, "is wrong"),)
    refusal = RouterError(Reason.INVALID_ARGUMENT, f"{field} is wrong", violations=violations)
    gateway.scripts = [[refusal]]
    assert run("generate", "hi", "--address", address).stderr == f"error: {told}\n"


@pytest.mark.parametrize("command", ["generate", "select"])
@pytest.mark.parametrize(("given", "why"), [(" ", "is empty"), ("\udcff", "is not UTF-8 text")])
def test_a_question_without_text_is_wrong_usage(command, given, why):
    result = run(command, given, "--address", AWAY)
    assert (result.exit_code, why in result.stderr) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate"],
        ["generate", "hi", "--temperature", "warm"],
        ["generate", "hi", "--timeout", "0"],
        ["nonsense"],
        ["models", "import", "x.gguf"],
        ["select", "hi", "--max-tokens", "0"],
    ],
)
def test_wrong_usage_exits_2(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_chat_carries_the_conversation(address, gateway):
    result = run("chat", "--system", "be brief", "--address", address, stdin="one\n\ntwo\n/quit\n")
    assert result.exit_code == 0
    assert result.stdout == ("".join(TEXT) + "\n") * 2
    turns = [m.content[0].text for m in gateway.requests[1].chat.messages]
    assert turns == ["be brief", "one", "".join(TEXT), "two"]


def test_select_explains_every_score():
    selector = FakeSelector()
    with serving_in_thread(FakeGateway(), selector) as address:
        short = run("select", "été", "--address", address)
        long = run("select", "été", "--explain", "--strategy", "balanced", "--address", address)
        data = lines(run("select", "été", "--json", "--address", address))
        run("select", "-", "--address", address, stdin="piped in")
    assert [one.prompt_bytes for one in selector.requests] == [5, 5, 5, 8]
    assert all(line == line.rstrip() for line in long.stdout.splitlines())
    assert "small @ v1" in short.stdout
    assert "97 tokens/s" not in short.stdout
    for fact in ("0.900", "0.30", "0.270", "97 tokens/s", "0.620", "gone", "no endpoint holds it"):
        assert fact in long.stdout
    assert data[0]["candidates"][0]["components"][0]["name"] == "speed"


@pytest.mark.parametrize("command", [("select", "hi", "--explain"), ("stats",)])
def test_numbers_are_never_folded_on_a_narrow_terminal(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with serving_in_thread(FakeGateway(), FakeSelector()) as address:
        flags = ("--selector", address, "--cache", address)
        shown = run(*command, *(flags if command == ("stats",) else ("--address", address)))
    assert shown.exit_code == 0
    assert "…" not in shown.stdout


def test_stats_of_selector_and_cache(address):
    shown = run("stats", "--selector", address, "--cache", address)
    (data,) = lines(run("stats", "--selector", address, "--cache", address, "--json"))
    for fact in ("small", "ready", "41 ms", "97", "memory", "75%"):
        assert fact in shown.stdout
    assert data["cache"]["levels"][0]["level"] == "CACHE_LEVEL_MEMORY"


@pytest.mark.parametrize("name", ["up", "gateway", "selector", "cache", "inference"])
def test_services_run_until_they_are_drained(suite, name):
    result = run(name, "--json")
    assert result.exit_code == 0
    told = [line for line in lines(result) if line["event"] != "ready"]
    assert [line["event"] for line in told] == ["starting", "stopped"]
    assert suite == [(name, None)]


def test_up_tells_where_the_services_listen(suite):
    [ready] = [line for line in lines(run("up", "--json")) if line["event"] == "ready"]
    assert ready["addresses"]["gateway"] == "127.0.0.1:1"
    assert "gateway 127.0.0.1:1" in run("up").stderr


def test_up_tells_when_no_model_is_ready(suite, monkeypatch):
    async def run_up(config, ready):
        ready(RunningSuite("g", "s", "c", "i", serving=False))

    monkeypatch.setattr("llmrouter.suite.run_up", run_up)
    assert "no model is ready" in run("up").stderr
    [ready] = [line for line in lines(run("up", "--json")) if line["event"] == "ready"]
    assert ready["serving"] is False


def test_settings_are_a_file_that_can_be_used(tmp_path):
    shown = run("settings")
    file = tmp_path / "llmrouter.yaml"
    file.write_text(shown.stdout)
    assert load_settings(file) == SuiteSettings()
    assert "# Port to listen on; 0 takes a free one. (0 to 65535)" in shown.stdout
    only = run("settings", "cache").stdout
    assert yaml.safe_load(only)["cache"]["port"] == 50053
    assert "gateway:" not in only


@pytest.mark.parametrize("section", [(), ("cache",)])
def test_settings_for_machines_are_a_json_schema(section):
    (schema,) = lines(run("settings", *section, "--json"))
    jsonschema.Draft202012Validator.check_schema(schema)
    wrong = {"port": "x"} if section else {"cache": {"port": "x"}}
    with pytest.raises(jsonschema.ValidationError, match="'x' is not"):
        jsonschema.validate(wrong, schema)


def test_a_wrong_configuration_is_one_sentence(suite):
    result = run("cache", "--config", "gone.yaml")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "error: gone.yaml cannot be read: no such file"
    assert suite == [("cache", Path("gone.yaml"))]


def test_a_defect_shows_no_traceback(monkeypatch):
    def broken(_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("llmrouter.cli.generate.asyncio.run", lambda work: broken(work.close()))
    result = run("generate", "hi")
    assert result.exit_code == 1
    assert result.stderr == "error: llmrouter failed unexpectedly (KeyError: 'oops')\n"


async def test_ctrl_c_exits_130_and_cancels_the_call():
    gateway = FakeGateway([*whole_answer()[:2], 60.0])
    with serving_in_thread(gateway) as address:
        arguments = (*COMMAND, "generate", "hi", "--address", address)
        process = await asyncio.create_subprocess_exec(
            *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert await process.stdout.read(3) == b"The"
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(process.communicate(), 10)
        assert gateway.ended.wait(5)
    assert process.returncode == 130
    assert b"Traceback" not in errors


def test_a_reader_that_goes_away_ends_the_program_quietly():
    gateway = FakeGateway([*whole_answer()[:3], 0.5, *whole_answer()[1:]])
    with serving_in_thread(gateway) as address:
        shell = '"$@" | head -c 1; exit ${PIPESTATUS[0]}'
        arguments = ("bash", "-c", shell, "bash", *COMMAND, "generate", "hi", "--address", address)
        done = subprocess.run(arguments, capture_output=True, timeout=30, check=False)
        assert gateway.ended.wait(5)
    assert (done.stdout, done.stderr, done.returncode) == (b"T", b"", 1)


def test_help_is_fast_because_nothing_heavy_is_imported():
    code = (
        "import sys, llmrouter.cli.__main__;"
        "heavy = {'onnx', 'numpy', 'gguf', 'tokenizers', 'onnxruntime', 'llmrouter.suite'};"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_version_is_told():
    result = run("--version")
    assert (result.exit_code, result.stdout.startswith("llmrouter ")) == (0, True)


def test_ctrl_c_while_the_program_still_loads_shows_no_traceback():
    code = """
import sys
class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == 'typer':
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from llmrouter.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


def test_embed_writes_the_vectors_as_json(address, gateway):
    result = run("embed", "red", "blue", "--model", "mini", "--address", address, "--json")
    (answer,) = lines(result)
    assert [one["values"] for one in answer["vectors"]] == [[1.0, 0.0], [1.0, 1.0]]
    assert (gateway.requests[0].model, answer["model"]) == ("mini", "mini")


def test_embed_shows_how_alike_texts_are_to_the_first_and_reads_lines(address, gateway):
    result = run("embed", "-", "--address", address, stdin="red\n\nblue\n")
    assert list(gateway.requests[0].texts) == ["red", "blue"]
    assert "0.707" in result.stdout
