"""Whatever it is made of, a model whose tokenizer or template no load takes is not published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.fuzz.seeds import ROOT
from tests.unit.inference.importers.tiny_gguf import Tiny, write_tiny_gguf

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.importers.run import import_checkpoint
from llmrouter.inference.models.checksum import folder_sha256
from llmrouter.inference.models.store import ModelStore

FOLDERS = ("genai/qwen2-int4", "optimum/qwen2", "ctranslate2/llama", "huggingface/llama")
CONFIG, TEMPLATE = "tokenizer_config.json", "chat_template.jinja"
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
BROKEN = {
    "no JSON": ("[" * 200_000, "is not JSON"),
    "no text": (json.dumps({"chat_template": 5}), "chat_template must be text"),
    "no template": (json.dumps({"chat_template": "{% for"}), "does not compile"),
    "endless": (json.dumps({"chat_template": ENDLESS}), "100000 steps for a plain chat"),
}


@pytest.fixture(params=FOLDERS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small folder without a chat template, and a store in which it is a model already."""
    folder = tmp_path / "source"
    shutil.copytree(ROOT / request.param, folder)
    (folder / TEMPLATE).unlink(missing_ok=True)
    (folder / CONFIG).write_text("{}")
    return folder


def precisions(source: Path) -> Sequence[str] | None:
    """One where there are several."""
    return ["int8"] if source.suffix or list(source.glob("*.safetensors")) else None


def refusal(source: Path, store: ModelStore, importer: str | None = None) -> str:
    """Return what is said of an import in place of models that stay as they are."""
    served = {path: folder_sha256(path) for path in store.root.iterdir()}
    assert served
    with pytest.raises(RouterError) as raised:
        import_checkpoint(source, "tiny", store, precisions(source), importer=importer)
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert {path: folder_sha256(path) for path in store.root.iterdir()} == served
    return raised.value.message


@pytest.mark.parametrize(("content", "problem"), BROKEN.values(), ids=BROKEN.keys())
def test_a_configuration_that_no_load_takes_replaces_nothing(
    source: Path, tmp_path: Path, content: str, problem: str
) -> None:
    store = ModelStore(tmp_path / "store")
    import_checkpoint(source, "tiny", store, precisions(source))
    (source / CONFIG).write_text(content)
    told = refusal(source, store)
    assert f"source becomes a model that is refused, {CONFIG}: " in told
    assert problem in told
    assert told.endswith("; import another checkpoint")


@pytest.mark.parametrize("name", [CONFIG, TEMPLATE])
def test_a_folder_in_place_of_a_file_is_no_file_wherever_it_lies(
    source: Path, tmp_path: Path, name: str
) -> None:
    store = ModelStore(tmp_path / "store")
    import_checkpoint(source, "tiny", store, precisions(source))
    (source / name).unlink(missing_ok=True)
    (source / name).mkdir()
    assert f"{name}: is not a file; fetch or export the checkpoint again" in refusal(source, store)


@pytest.mark.parametrize("template", ["{% for", ENDLESS], ids=["no template", "endless"])
@pytest.mark.parametrize("importer", [None, "gguf-ctranslate2"])
def test_a_gguf_whose_template_no_load_takes_replaces_nothing(
    tmp_path: Path, importer: str | None, template: str
) -> None:
    if importer is not None:
        pytest.importorskip("ctranslate2", reason="needs the extra `ctranslate2`")
    store, file = ModelStore(tmp_path / "store"), tmp_path / "tiny.gguf"
    write_tiny_gguf(file, Tiny())
    import_checkpoint(file, "tiny", store, precisions(file), importer=importer)
    write_tiny_gguf(file, Tiny(fields={"tokenizer.chat_template": template}))
    told = refusal(file, store, importer)
    assert f"tiny.gguf becomes a model that is refused, {CONFIG}: the chat template " in told
