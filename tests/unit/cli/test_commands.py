"""The command line against scripted services: output, exit codes, sentences."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections import Counter

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
            f"no gateway answers at {AWAY}, which --address says;",
        ),
        (
            ["embed", "hi", "--address", AWAY],
            f"no gateway answers at {AWAY}, which --address says;",
        ),
        (
            ["select", "hi", "--address", AWAY],
            f"no selector answers at {AWAY}, which --address says;",
        ),
        (["stats", "--selector", AWAY], f"no selector answers at {AWAY}, which --selector says;"),
        (
            ["breakers", "list", "--selector", AWAY],
            f"no selector answers at {AWAY}, which --selector says;",
        ),
        (
            ["rollout", "status", "--selector", AWAY],
            f"no selector answers at {AWAY}, which --selector says;",
        ),
        (
            ["decisions", "explain", "p1", "--address", AWAY],
            f"no selector answers at {AWAY}, which --address says;",
        ),
        (["chat", "--address", AWAY], f"no gateway answers at {AWAY}, which --address says;"),
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


def test_select_passes_every_wish_on():
    selector = FakeSelector()
    with serving_in_thread(FakeGateway(), selector) as address:
        asked = ("--ensemble", "3:judge=small", "--max-latency", "2", "--tag", "region=eu")
        assert run("select", "hi", *asked, "--address", address).exit_code == 0
        asked = ("--strategy", "cascade", "--min-confidence", "0.7", "--no-exploration")
        assert run("select", "hi", *asked, "--address", address).exit_code == 0
        assert run("select", "hi", "--ensemble", "9", "--address", address).exit_code == 2
    together, cascade = (one.routing for one in selector.requests)
    assert (together.ensemble.models, together.ensemble.judge) == (3, "small")
    assert (together.max_latency.seconds, list(together.tags)) == (2, ["region=eu"])
    assert (cascade.strategy, cascade.min_confidence) == ("cascade", 0.7)
    assert (together.no_exploration, cascade.no_exploration) == (False, True)


@pytest.mark.parametrize("columns", [200, 100, 80, 64, 63, 50, 40, 30])
@pytest.mark.parametrize(
    "command", [("select", "hi", "--explain"), ("stats",), ("breakers", "list"), ("rollout",)]
)
def test_numbers_are_never_cut_or_folded_on_a_narrow_terminal(command, columns, monkeypatch):
    def shown(width):
        monkeypatch.setenv("COLUMNS", str(width))
        result = run(*command, *flags[command[0]])
        assert result.exit_code == 0
        return re.sub(r"\x1b\[[\d;]*m", "", result.stdout)

    monkeypatch.setenv("FORCE_COLOR", "1")
    with serving_in_thread(FakeGateway(), FakeSelector()) as address:
        flags = {
            "select": ("--address", address),
            "stats": ("--selector", address, "--cache", address),
            "breakers": ("--selector", address),
            "rollout": ("status", "--selector", address),
        }
        narrow, wide = shown(columns), shown(400)
    assert "…" not in narrow
    assert max(map(len, narrow.splitlines())) <= columns
    assert Counter(numbers(narrow)) >= Counter(numbers(wide))


def numbers(text):
    """The numbers with their units, without addresses and ids, which may be folded."""
    words = re.sub(r"\S*(:\d|[a-z]\d|\d[a-z-])\S*", " ", text)
    return re.findall(r"\$?\d[\d.,]*%?(?: (?:ms|[kMG]?B)\b)?", words)


def test_stats_of_selector_and_cache(address):
    shown = run("stats", "--selector", address, "--cache", address)
    (data,) = lines(run("stats", "--selector", address, "--cache", address, "--json"))
    for fact in ("small", "ready", "41 ms", "83 ms", "97", "half-open", "0.25", "tenant acme"):
        assert fact in shown.stdout
    for fact in ("memory", "75%"):
        assert fact in shown.stdout
    assert data["costs"][0]["name"] == "acme"
    assert data["cache"]["levels"][0]["level"] == "CACHE_LEVEL_MEMORY"


@pytest.mark.parametrize("away", ["", "h:1 does not answer"])
def test_select_says_where_a_model_is_served_unless_it_is_away(away):
    with serving_in_thread(FakeGateway(), FakeSelector(away)) as address:
        shown = run("select", "hi", "--address", address).stdout
    assert ("served at" in shown) is not bool(away)


def test_select_asks_with_the_wishes_of_its_flags():
    selector = FakeSelector()
    flags = ("--min-quality", "0.5", "--max-cost", "0.01", "--max-latency", "2.5", "--tag", "a=b")
    with serving_in_thread(FakeGateway(), selector) as address:
        run("select", "hi", "--address", address, *flags, "--session", "s")
    routing = selector.requests[0].routing
    assert (routing.min_quality, routing.max_cost) == (0.5, 0.01)
    assert routing.max_latency.ToMilliseconds() == 2500
    assert (list(routing.tags), routing.session) == (["a=b"], "s")


def test_a_past_choice_is_explained_again(tmp_path):
    selector = FakeSelector()
    with serving_in_thread(FakeGateway(), selector) as address:
        shown = run("decisions", "explain", "p1", "--address", address)
        (data,) = lines(run("decisions", "explain", "p1", "--json", "--address", address))
    assert selector.requests[0].plan_id == "p1"
    for fact in ("small @ v1", "97 tokens/s", "gone"):
        assert fact in shown.stdout
    assert data == {"plan_id": "p1"}


def test_choices_are_exported_one_per_line_to_standard_output_or_a_file(tmp_path):
    selector, file = FakeSelector(), tmp_path / "decisions.jsonl"
    with serving_in_thread(FakeGateway(), selector) as address:
        told = lines(run("decisions", "export", "--limit", "3", "--address", address))
        written = run("decisions", "export", "--out", str(file), "--address", address)
        refused = run("decisions", "export", "--out", str(tmp_path), "--address", address)
    assert [one["plan_id"] for one in told] == ["p0", "p1", "p2"]
    assert [request.limit for request in selector.requests[:2]] == [3, 0]
    assert file.read_text().splitlines() == [json.dumps(one) for one in told]
    assert "3 choices written" in written.stderr
    assert refused.exit_code == 1
    assert "cannot be written" in refused.stderr


def test_breakers_are_listed_and_reset():
    selector = FakeSelector()
    with serving_in_thread(FakeGateway(), selector) as address:
        shown = run("breakers", "list", "--selector", address)
        (data,) = lines(run("breakers", "list", "--json", "--selector", address))
        closed = run("breakers", "reset", "--model", "small", "--selector", address)
    for fact in ("small @ v1", "h:1", "open", "42 s", "INTERNAL"):
        assert fact in shown.stdout
    assert data["breakers"][0]["failures"] == 5
    assert closed.stdout == "1 closed\n"
    assert selector.requests[0].model == "small"


def test_a_rollout_is_started_shown_and_changed():
    selector = FakeSelector()
    flags = ("--stages", "5,50,100", "--interval", "60", "--max-errors", "2", "--shadow", "10")
    with serving_in_thread(FakeGateway(), selector) as address:
        started = run("rollout", "start", "small", "v2", "--selector", address, *flags)
        shown = run("rollout", "status", "--selector", address)
        (data,) = lines(run("rollout", "status", "--json", "--selector", address))
        for verb in ("pause", "resume", "abort"):
            assert run("rollout", verb, "small", "--selector", address).exit_code == 0
    assert started.exit_code == 0
    spec = selector.requests[0].spec
    assert (spec.model, spec.new_version, spec.interval.seconds) == ("small", "v2", 60)
    assert list(spec.stages) == [0.05, 0.5, 1.0]
    assert (spec.max_error_rate, spec.shadow) == (0.02, 0.1)
    for fact in ("rolled back", "3 of 9 attempts", "33.3%"):
        assert fact in shown.stdout
    assert data["rollouts"][0]["spec"]["new_version"] == "v2"
    assert [request.action for request in selector.requests[1:]] == [1, 2, 3]
    assert run("rollout", "start", "a", "v2", "--stages", "few").exit_code == 2


def test_stats_of_the_cache_alone_show_what_it_spared(address):
    shown = run("stats", "cache", "--cache", address)
    (data,) = lines(run("stats", "cache", "--cache", address, "--json"))
    told = ("gateway", "exact", "12", "1,234", "$0.50", "9.0", "in flight", "joined", "acme",
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
