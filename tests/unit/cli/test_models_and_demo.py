"""`models` and `demo` with stand-ins for the importers and the suite."""

from __future__ import annotations

import io
import json
import sys
import types
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress
from tests.unit.cli.driving import lines, run
from tests.unit.client.fake_gateway import TEXT, FakeGateway, serving
from tests.unit.inference.models.test_integrity import damage, imported
from tests.unit.inference.models.tiny_folder import write_tiny_folder

from llmrouter.cli.output import Report
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.sizes import size_text
from llmrouter.inference import importers
from llmrouter.inference.models.sources.named import named_source

QUALITY = SimpleNamespace(
    perplexity=20.16, reference_perplexity=20.15, kl_divergence=0.009, top1_agreement=0.9, tokens=64
)
CARD = SimpleNamespace(
    version="0123456789ab",
    precision="int8",
    parameters=135_000_000,
    licence="Apache-2.0",
    quality=QUALITY,
    verified=None,
    speed=None,
)

FILE = named_source("a/b.gguf")


def folder(name, card=CARD):
    return SimpleNamespace(
        name=f"card of {name}",
        path=Path(name),
        card=card,
        architecture="llama",
        context_length=8192,
        size_bytes=145_000_000,
    )


def found(folders, name):
    for one in folders:
        if one.path.name == name:
            return one
    raise RouterError(Reason.UNKNOWN_MODEL, f"{name} is not there")


@pytest.fixture
def held(monkeypatch):
    """The folders the store holds."""
    folders = []
    stand_in = types.ModuleType("llmrouter.inference.models.store")
    stand_in.ModelStore = lambda root: SimpleNamespace(
        root=root,
        recover=lambda: None,
        names=lambda: [one.path.name for one in folders],
        model=lambda name: found(folders, name),
    )
    monkeypatch.setitem(sys.modules, "llmrouter.inference.models.store", stand_in)
    return folders


@pytest.fixture
def pulled(monkeypatch, held):
    """What the importers were asked to do."""
    asked = []
    stand_in = types.ModuleType("llmrouter.inference.importers.run")

    def pull(name, store, precisions, progress, damaged, tell):
        asked.append((name, precisions))
        if name == "hurt":
            damaged("hurt-int8", "hurt-int8/model.onnx: has 1 bytes, but 2 when imported")
        if name == "gone":
            raise RouterError(Reason.UNKNOWN_MODEL, "no model is called gone")
        progress(f"download {name}", 1_000, 0)
        progress(f"download {name}", 2_000, 2_000)
        held.extend(folder(f"{name}-{p}") for p in ("int8", "int4", "fp32"))
        return [folder(f"{name}-int8")]

    def import_from(source, name, store, precisions, progress, importer, tell):
        asked.append((source, name, precisions, importer))
        if name == "later":
            tell("waits for [another]")
            raise KeyboardInterrupt
        return [folder(f"{name}-int8")]

    stand_in.pull, stand_in.import_from = pull, import_from
    monkeypatch.setitem(sys.modules, "llmrouter.inference.importers.run", stand_in)
    monkeypatch.setattr(importers, "run", stand_in, raising=False)
    return asked


def test_models_list(held, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    store = ("--store", str(tmp_path))
    assert "llmrouter models pull" in run("models", "list", *store).stdout
    held += [folder("small-int8"), folder("bare", card=None)]
    shown = run("models", "list", *store).stdout
    for fact in ("small-int8", "0123456789ab", "8,192", "145 MB", "20.16", "+0.05%", "0.0090"):
        assert fact in shown
    assert "card of" not in shown, "models are loaded by the names of their folders"
    (first, second) = json.loads(run("models", "list", "--json", *store).stdout)["models"]
    assert (first["perplexity"], second["perplexity"]) == (20.16, None)


def test_a_model_whose_replacement_was_killed_is_listed(tmp_path):
    write_tiny_folder(tmp_path / ".replaced-x" / "a")
    listed = run("models", "list", "--json", "--store", str(tmp_path))
    assert [one["name"] for one in json.loads(listed.stdout)["models"]] == ["a"]
    assert (tmp_path / "a").is_dir()


def test_what_another_engine_said_is_listed_where_one_was_asked(held, tmp_path):
    verified = SimpleNamespace(engine="llama.cpp", quality=QUALITY)
    card = SimpleNamespace(**vars(CARD) | {"verified": verified})
    held += [folder("small-int8", card), folder("bare", card=None)]
    shown = run("models", "list", "--store", str(tmp_path)).stdout
    assert "90% llama.cpp" in shown
    listed = run("models", "list", "--json", "--store", str(tmp_path)).stdout
    (first, second) = json.loads(listed)["models"]
    assert (first["verified"]["top1_agreement"], second["verified"]) == (0.9, None)


def test_what_a_card_says_neither_ends_the_list_nor_steers_the_terminal(held, tmp_path):
    verified = SimpleNamespace(engine="\x1b]0;owned\x07[/x]", quality=QUALITY)
    card = SimpleNamespace(**vars(CARD) | {"version": "[/red]\x1b[2J\n", "verified": verified})
    held += [folder("odd-int8", card), folder("small-int8")]
    shown = run("models", "list", "--store", str(tmp_path))
    assert shown.exit_code == 0, shown.stderr
    assert "[/red][2J " in shown.stdout
    assert "90% ]0;owned[/x]" in shown.stdout
    assert "small-int8" in shown.stdout
    assert "\x1b" not in shown.stdout


def test_a_broken_folder_hides_no_other(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "genai_config.json").write_text("{")
    result = run("models", "list", "--store", str(tmp_path))
    assert (result.exit_code, "broken: broken: " in result.stderr) == (0, True)
    listed = run("models", "list", "--store", str(tmp_path), "--json")
    assert json.loads(listed.stdout)["models"][0]["name"] == "broken"


def test_a_folder_that_is_no_model_is_listed_as_such(held, tmp_path):
    (tmp_path / "half").mkdir()
    held.append(folder("whole"))
    result = run("models", "list", "--store", str(tmp_path))
    assert "whole" in result.stdout
    assert "half: is no model folder: it has no genai_config.json" in result.stderr
    listed = json.loads(run("models", "list", "--store", str(tmp_path), "--json").stdout)["models"]
    assert [one["name"] for one in listed] == ["whole", "half"]


def test_a_model_takes_one_line_of_a_narrow_terminal(held, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    held.append(folder("smollm2-135m-instruct-int8"))
    shown = run("models", "list", "--store", str(tmp_path)).stdout.splitlines()
    assert len(shown) == 2
    assert "smollm2-135m-instruct-int8" in shown[1]


def test_a_store_that_is_not_there_is_wrong_usage(held):
    result = run("models", "list", "--store", "/no/such/folder")
    assert (result.exit_code, "/no/such/folder is not a folder" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_400, "999 kB"),
        (999_500, "1.0 MB"),
        (145_200_000, "145 MB"),
        (10**13, "10 TB"),
        (10**15, "1000 TB"),
    ],
)
def test_sizes_are_told_in_the_largest_unit_they_fill(count, text):
    assert size_text(count) == text


def test_without_a_terminal_every_stage_is_told_once_when_it_is_done(pulled, tmp_path):
    done = run("models", "pull", "x", "--store", str(tmp_path))
    assert done.stderr == "download x 2.0 kB: done\n"


def test_pulling_tells_which_damaged_model_it_replaces(pulled, tmp_path):
    done = run("models", "pull", "hurt", "--store", str(tmp_path))
    told = "damaged: hurt-int8/model.onnx: has 1 bytes, but 2 when imported; fetching it again"
    assert done.stderr.splitlines()[0] == told
    machine = run("models", "pull", "hurt", "--store", str(tmp_path), "--json")
    assert lines(machine)[0]["event"] == "damaged"


def test_what_no_bar_shows_of_an_import_is_told(pulled, tmp_path):
    arguments = ("models", "import", "a/b.gguf", "--name", "later", "--store", str(tmp_path))
    done = run(*arguments)
    assert (done.exit_code, done.stderr) == (130, "waits for [another]\n")
    told = {"event": "note", "message": "waits for [another]"}
    assert lines(run(*arguments, "--json"))[0] == told


def test_on_a_terminal_notes_are_written_by_the_console_that_draws_the_bars():
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, highlight=False)
    Report(Progress(console=console)).tell("waits for [another]")
    assert written.getvalue() == "waits for [another]\n"


def test_check_tells_whole_damaged_and_unknown_models_apart(tmp_path):
    imported(tmp_path / "sound")
    write_tiny_folder(tmp_path / "foreign")
    store = ("--store", str(tmp_path))
    done = run("models", "check", *store)
    assert (done.exit_code, done.stderr) == (0, "")
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [
        "not known foreign nothing was recorded at its import", "whole sound 5 files as imported"
    ]  # fmt: skip
    damage(tmp_path / "sound" / "tokenizer.json")
    done = run("models", "check", "sound", *store)
    assert done.exit_code == 1
    assert done.stderr.startswith("damaged sound ")
    assert "tokenizer.json: is damaged" in done.stderr
    (told,) = lines(run("models", "check", "sound", "--json", *store))
    assert "is damaged" in told["models"][0]["error"]


def test_a_model_that_is_not_there_is_not_called_damaged(tmp_path):
    imported(tmp_path / "sound")
    done = run("models", "check", "none", "sound", "--store", str(tmp_path))
    assert done.exit_code == 1
    assert done.stderr == f"error: none is not in {tmp_path}; there are: sound\n"
    assert done.stdout == "whole sound 5 files as imported\n"


def test_models_pull_and_import(pulled, tmp_path):
    store = ("--store", str(tmp_path))
    done = run("models", "pull", "x", "--precision", "int8", "--precision", "int4", *store)
    assert (done.exit_code, done.stdout.split()[:2]) == (0, ["ready", "x-int8"])
    events = [
        json.loads(line)
        for line in run("models", "pull", "y", "--json", *store).stdout.splitlines()
    ]
    assert [event["event"] for event in events] == ["progress", "written"]
    assert run("models", "import", "a/b.gguf", "--name", "mine", *store).exit_code == 0
    assert pulled == [("x", ["int8", "int4"]), ("y", None), (FILE, "mine", None, None)]


def test_an_import_tells_what_it_replaced(pulled, held, tmp_path):
    arguments = ("models", "import", "a/b.gguf", "--name", "mine", "--store", str(tmp_path))
    assert "in place of" not in run(*arguments).stdout
    held.append(folder("mine-int8", card=SimpleNamespace(version="0ld")))
    assert "ready mine-int8 in place of version 0ld" in run(*arguments).stdout
    told = json.loads(run(*arguments, "--json").stdout.splitlines()[-1])
    assert told["replaced"] == {"mine-int8": "0ld"}


def test_without_a_flag_the_store_is_that_of_the_settings(tmp_path, monkeypatch):
    imported(tmp_path / "kept" / "sound")
    file = tmp_path / "llmrouter.yaml"
    file.write_text(f"inference: {{store: {tmp_path / 'kept'}}}\n")
    monkeypatch.setenv("LLMROUTER_CONFIG", str(file))
    assert "sound" in run("models", "list").stdout
    assert "whole" in run("models", "check").stdout
    monkeypatch.setenv("LLMROUTER_INFERENCE__STORE", str(tmp_path / "empty"))
    assert f"no models in {tmp_path / 'empty'}" in run("models", "check").stderr


def test_another_importer_is_asked_for_by_name(pulled, tmp_path):
    arguments = ("a/b.gguf", "--name", "mine", "--importer", "gguf-ctranslate2")
    assert run("models", "import", *arguments, "--store", str(tmp_path)).exit_code == 0
    assert pulled == [(FILE, "mine", None, "gguf-ctranslate2")]


def test_a_url_needs_its_checksum_and_the_error_names_the_flag(pulled):
    url = ("models", "import", "https://models.example/b.gguf", "--name", "mine")
    done = run(*url)
    assert (done.exit_code, "--sha256 must be given" in done.stderr, pulled) == (2, True, [])
    assert run(*url, "--sha256", "0" * 64).exit_code == 0
    [(source, *_)] = pulled
    assert (source.remote.place, source.sha256) == ("models.example/b.gguf", "0" * 64)


def test_an_unknown_model_is_one_sentence(pulled, tmp_path):
    done = run("models", "pull", "gone", "--store", str(tmp_path))
    assert (done.exit_code, done.stderr) == (1, "error: no model is called gone\n")


def test_the_demo_fetches_once_and_asks_three_times(pulled, monkeypatch, tmp_path):
    gateway = FakeGateway()
    stand_in = types.ModuleType("llmrouter.suite")

    @asynccontextmanager
    async def running(config, *, ports, store):
        assert (config, ports, store) == (None, "free", tmp_path)
        async with serving(gateway) as address:
            yield SimpleNamespace(gateway=address)

    stand_in.running = running
    monkeypatch.setitem(sys.modules, "llmrouter.suite", stand_in)
    monkeypatch.setattr("llmrouter.suite", stand_in, raising=False)
    done = run("demo", "--store", str(tmp_path))
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("".join(TEXT)) == 3
    assert "Try next" in done.stdout
    assert "What is the capital of France?" in done.stderr
    assert [r.routing.strategy for r in gateway.requests] == ["", "quality-first", "quality-first"]
    assert all(r.sampling.temperature == 0 for r in gateway.requests)
    assert run("demo", "--store", str(tmp_path), "--json").exit_code == 0
    assert pulled == [("smollm2-135m-instruct", None)]


def test_the_demo_fetches_to_the_store_that_it_runs_on(pulled, monkeypatch, tmp_path):
    roots = []
    monkeypatch.setattr(
        "llmrouter.cli.demo._fetch", lambda store, *, as_json: roots.append(store.root)
    )
    monkeypatch.setattr("llmrouter.cli.demo._ask", asking_nothing)
    file = tmp_path / "own.yaml"
    file.write_text(f"inference: {{store: {tmp_path / 'kept'}}}\n")
    assert run("demo", "--config", str(file)).exit_code == 0
    assert roots == [tmp_path / "kept"]


async def asking_nothing(config, store, *, as_json):
    pass
