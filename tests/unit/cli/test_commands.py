"""The command line against scripted services: output, exit codes, sentences."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest
from tests.unit.cli.driving import AWAY, COMMAND, lines, run
from tests.unit.client.fake_gateway import (
    FakeCache,
    FakeGateway,
    FakeSelector,
    serving_in_thread,
    whole_answer,
)

from llmrouter.v1 import cache_pb2, generation_pb2


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


def test_stats_of_the_cache_alone_show_what_it_spared(address):
    shown = run("stats", "cache", "--cache", address)
    (data,) = lines(run("stats", "cache", "--cache", address, "--json"))
    told = ("gateway", "exact", "12", "1,234", "$0.5000", "9.0", "in flight", "joined", "acme",
            "2 gateways connected, 3 invalidations")  # fmt: skip
    for fact in told:
        assert fact in shown.stdout
    assert data["savings"][0]["hits"] == "12"


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        (("--tag", "t"), {"tag": "t"}),
        (("--key", "ab" * 32), {"key": b"\xab" * 32}),
        (("--model", "m@v"), {"model": {"model": "m", "version": "v"}}),
        (("--model", "m"), {"model": {"model": "m"}}),
        (("--all", "--tenant", "acme"), {"tenant": True}),
    ],
)
def test_invalidate_names_one_target(address, flags, asked):
    FakeCache.invalidated.clear()
    (data,) = lines(run("invalidate", *flags, "--cache", address, "--json"))
    assert data == {"event": "invalidated", "sequence": 4}
    context = generation_pb2.RequestContext(
        request_id="cli", tenant="acme" if "acme" in flags else "default"
    )
    assert FakeCache.invalidated == [cache_pb2.InvalidateRequest(context=context, **asked)]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "give one of --key, --tag, --model and --all"),
        (("--tag", "t", "--all"), "give one of"),
        (("--key", "xyz"), "is not hexadecimal"),
    ],
)
def test_an_invalidation_of_nothing_or_of_two_things_is_wrong_usage(flags, told):
    refused = run("invalidate", *flags)
    assert refused.exit_code == 2
    assert told in refused.stderr


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
