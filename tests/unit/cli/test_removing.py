"""`models remove` deletes what is named and meant, and tells who leads to it or serves it still."""

from __future__ import annotations

import pytest
from tests.unit.cli.driving import AWAY, lines, run
from tests.unit.cli.test_loading import Models, serving
from tests.unit.inference.models.fake_backend import put

from llmrouter.cli import removing
from llmrouter.inference.models.alias_file import AliasFile
from llmrouter.inference.models.versions import VersionKey
from llmrouter.v1 import inference_pb2, model_pb2


class Holding(Models):
    def __init__(self, *held):
        super().__init__()
        self.held = held

    async def List(self, request, context):  # noqa: N802 - the proto's name
        return model_pb2.ModelServiceListResponse(models=self.held)


def loaded(name, label, version, state="READY"):
    return inference_pb2.LoadedModel(
        name=name, label=label, version=version, state=f"MODEL_STATE_{state}"
    )


@pytest.fixture
def store(tmp_path):
    for name in ("a", "a@v2"):
        put(tmp_path, name, f"print-{name[-1]}")
    return tmp_path


def remove(store, *arguments, inference=AWAY, stdin=None):
    given = ("--store", str(store), "--inference", inference)
    return run("models", "remove", *arguments, *given, stdin=stdin)


def names(store):
    return sorted(one.name for one in store.iterdir() if one.name[0] != ".")


def test_what_is_named_is_deleted_and_nothing_else(store):
    done = remove(store, "a@v2", "--yes")
    assert (done.exit_code, done.stderr) == (0, "")
    removed, served = done.stdout.splitlines()
    assert removed == "removed a@v2"
    assert served.startswith(f"no service answers at {AWAY}; one that has loaded it serves it")
    assert served.endswith("`llmrouter models unload a@v2`")
    assert names(store) == ["a"]


def test_what_is_broken_can_be_removed_as_well(store):
    (store / "a" / "llmrouter.json").write_text("{")
    assert remove(store, "a", "--yes").exit_code == 0
    assert names(store) == ["a@v2"]


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [("b", 1, "b is not in"), ("../a", 2, "must be 1 to 128"), ("a@v3", 1, "there are: a, a@v2")],
)
def test_what_is_not_there_is_refused(store, name, code, told):
    done = remove(store, name, "--yes")
    assert done.exit_code == code
    assert told in done.stderr
    assert names(store) == ["a", "a@v2"]


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, ["a@v2"]), ("n", 1, ["a", "a@v2"])])
def test_on_a_terminal_somebody_is_asked(store, monkeypatch, answer, code, left):
    monkeypatch.setattr(removing, "_asks", lambda: True)
    done = remove(store, "a", stdin=f"{answer}\n")
    assert done.exit_code == code
    assert f"Delete {store / 'a'}?" in done.stderr
    assert names(store) == left


def test_where_nobody_can_be_asked_the_flag_is_needed(store):
    for extra in ((), ("--json",)):
        done = remove(store, "a", *extra)
        assert done.exit_code == 2
        assert "--yes" in done.stderr + done.stdout
    assert names(store) == ["a", "a@v2"]


def test_aliases_that_pointed_to_it_are_told(store):
    AliasFile(store).move(VersionKey("a", "v2"), ["canary", "stable"])
    AliasFile(store).move(VersionKey("a"), ["old"])
    told = remove(store, "a@v2", "--yes").stdout
    assert "alias canary pointed to it; point it to another version by" in told
    assert "`llmrouter models load a@LABEL --alias stable`" in told
    assert "old" not in told


@pytest.mark.parametrize(
    ("held", "served"),
    [
        (loaded("a", "", "print-a"), True),
        (loaded("a", "", "print-a", "UNLOADED"), False),
        (loaded("a", "", "of another store"), False),
        (loaded("a", "v2", "print-a"), False),
    ],
)
def test_who_serves_it_still_is_told(store, held, served):
    with serving(Holding(held)) as address:
        done = remove(store, "a", "--yes", inference=address)
    told = f"{address} serves it until `llmrouter models unload a@print-a`"
    assert (told in done.stdout) is served
    assert "no service answers" not in done.stdout


def test_for_machines_it_is_one_object(store):
    AliasFile(store).move(VersionKey("a"), ["old"])
    assert lines(remove(store, "a", "--yes", "--json")) == [
        {"event": "removed", "name": "a", "aliases": ["old"], "served": None}
    ]
