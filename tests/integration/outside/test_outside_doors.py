"""A backend and an importer of another distribution, found by their entry points alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from llmrouter import suite
from llmrouter.common.errors import RouterError
from llmrouter.inference.importers import run
from llmrouter.inference.importers.base import find_importer
from llmrouter.inference.models.opening import find_backend
from llmrouter.inference.models.store import ModelStore
from llmrouter_client import AsyncClient

DISTRIBUTION = Path(__file__).parent / "distribution"


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """As good as installed: what is on the path is found with its entry points."""
    monkeypatch.syspath_prepend(str(DISTRIBUTION))


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "cake.recipe"
    file.write_text(json.dumps({"layers": 1}))
    return file


async def test_what_an_importer_from_outside_makes_a_backend_from_outside_serves(tmp_path, recipe):
    store = ModelStore(tmp_path / "store")
    stages = []
    run.import_checkpoint(recipe, "cake", store, ["fp32"], lambda *told: stages.append(told))
    assert ("cook", 1, 1) in stages
    card = store.model("cake-fp32").card
    assert (card.licence, card.quality.kl_divergence) == ("CC0-1.0", 0)
    config = tmp_path / "llmrouter.yaml"
    settings = {"inference": {"backend": "outside-echo", "store": str(store.root)}}
    config.write_text(yaml.safe_dump(settings | {"cache": {"disk_max_bytes": 0}}))
    async with (
        suite.running(config, ports="free") as addresses,
        AsyncClient(addresses.gateway) as client,
    ):
        answer = await client.generate("to be or not to be", raw=True, max_tokens=12)
        assert (answer.text, answer.model) == ("to be or not", "cake-fp32")
        [model] = [one for one in await client.models() if one.name == "cake-fp32"]
        assert set(model.capabilities) == {"chat", "completion"}


def test_an_importer_from_outside_is_found_by_name_and_by_format(recipe):
    assert find_importer(recipe).__name__ == "RecipeImporter"
    assert find_importer(recipe, "outside-recipe").__name__ == "RecipeImporter"


def test_what_is_wrong_with_the_source_is_told_in_the_importers_own_words(tmp_path):
    (tmp_path / "bad.recipe").write_text("{}")
    with pytest.raises(RouterError, match="is no recipe with a number of layers"):
        run.import_checkpoint(tmp_path / "bad.recipe", "cake", ModelStore(tmp_path / "store"))
    assert ModelStore(tmp_path / "store").names() == []


def test_one_whose_dependency_is_missing_is_named_with_the_remedy(recipe):
    with pytest.raises(RouterError, match=r"outside-missing cannot be used.*install"):
        find_importer(recipe, "outside-missing")
    with pytest.raises(RouterError, match=r"outside-missing cannot be used.*install"):
        find_backend("outside-missing")


def test_an_unknown_backend_is_refused_with_those_there_are():
    with pytest.raises(RouterError, match=r"registered: .*onnxruntime, outside-echo"):
        find_backend("nobody")
